//! Seeds that once failed because the product was wrong, each with what was found: they stay green from then on.
//!
//! A seed tells its story only as long as its scenario draws the same; a change of that is a change of this file.
//! And where more than one thing now stands in the way of a fault, its seed stays green when one is taken away.

/// One seed that found something.
#[derive(Clone, Copy, Debug)]
pub struct Regression {
    /// The scenario's name.
    pub scenario: &'static str,
    /// Its seed.
    pub seed: u64,
    /// What was wrong.
    pub found: &'static str,
}

const STARTED_BLIND: &str = "a node that started while the store refused it answered 404 for functions that it had \
                             never heard of, and failed their tasks for good";

const BURIED_WITH_POISON: &str = "a task that was claimed together with one that takes nodes down lost its leases \
                                  with it each time, and was put aside as dead without having run";

const REVISION_TWICE: &str = "after the store had forgotten an edit, the next one got its revision, and a node that \
                              still had the forgotten definition fired by it";

const NEVER_AHEAD: &str = "a node whose disk lost its last write while its clock was back ended because a later \
                           generation of it was seen, and began an old one at each further start";

const OLD_LIFE_LET_IN: &str = "a process of an earlier generation was let in by nodes that knew the later one only by \
                               hearsay; they ignored what it said, and it held all of them for dead";

const VERDICTS_TAKEN_OVER: &str =
    "after a cut each side took over the other's verdicts about members that were well";

const WAITS_FOR_EVER: &str = "a node whose identity was taken while it still started waited for ever to see itself in \
    the ring, and so never ended; it must look whether it is taken as well";

const REPAIRED_FROM_MEMORY: &str = "after the store had forgotten an edit, a node that remembered it wrote its fence \
    there once more: due times from before were never decided, and the schedule of the store stood still";

const ONE_FENCE_FOR_TWO: &str = "with the queue in a Redis that was away, one fence stood for a pause and its end, and \
                                  what had been due before vanished without a line in the ledger";

const UNCONFIRMED: &str = "an edit that was found made already was acknowledged while no replica of the Redis had it, \
                           and a failover lost it";

/// All of them.
pub const ALL: [Regression; 14] = [
    Regression { scenario: "beat_owner_crashes", seed: 166, found: STARTED_BLIND },
    Regression { scenario: "beat_owner_crashes", seed: 179, found: STARTED_BLIND },
    Regression { scenario: "beat_owner_crashes", seed: 180, found: STARTED_BLIND },
    Regression { scenario: "beat_owner_crashes", seed: 251, found: STARTED_BLIND },
    Regression { scenario: "poison_task", seed: 10, found: BURIED_WITH_POISON },
    Regression { scenario: "store_forgets", seed: 13, found: REVISION_TWICE },
    Regression { scenario: "rollback_is_skipped", seed: 2, found: REPAIRED_FROM_MEMORY },
    Regression { scenario: "disk_and_clock_go_back", seed: 0, found: NEVER_AHEAD },
    Regression { scenario: "swarm", seed: 123, found: OLD_LIFE_LET_IN },
    Regression { scenario: "split_brain", seed: 5, found: VERDICTS_TAKEN_OVER },
    Regression { scenario: "swarm", seed: 215_839_391, found: WAITS_FOR_EVER },
    Regression { scenario: "redis_away", seed: 0, found: ONE_FENCE_FOR_TWO },
    Regression { scenario: "redis_errors", seed: 2, found: ONE_FENCE_FOR_TWO },
    Regression { scenario: "redis_fails_over", seed: 1, found: UNCONFIRMED },
];
