//! The keys of a mesh in Redis.
//!
//! All begin with `{beatmesh:NAME}:`. The braces are the hash tag of Redis Cluster: all keys lie in one slot, so
//! one node of a cluster holds them all and one script may touch any of them.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `store` | string | the id of the database that this queue belongs to |
//! | `task:ID` | string | one task, see [`super::codec`] |
//! | `input:ID` | string | its input, if there is one, until it is done |
//! | `output:ID` | string | its media type, a line feed, its output |
//! | `error:ID`, `log:ID` | strings | the last attempt's error, as JSON, and the end of its log |
//! | `ready` | sorted set, all scores 0 | `QUEUE FUNCTION` of which tasks may be ready |
//! | `ready:QUEUE:FUNCTION` | sorted set, all scores 0 | ready tasks: urgency, waiting since, id |
//! | `again:QUEUE:FUNCTION` | sorted set, all scores 0 | those that have lost leases; at the end how many |
//! | `wait` | sorted set | ids of scheduled tasks and of those that wait for a retry, by their time |
//! | `leases` | sorted set | ids of leased tasks, by the end of their lease |
//! | `expiry` | sorted set | ids of tasks that nobody has begun, by the time at which it is too late |
//! | `line:LINE` | sorted set | ids of a function's tasks with one order key that may run and have not ended, by their [place](crate::queue::order); one that waits is `BEHIND` and stands in no ready set |
//! | `ended:STATE` | sorted set | ids of ended tasks, by their end |
//! | `all` | sorted set | ids of all tasks, by their making |
//! | `waits:SCHEDULE`, `runs:SCHEDULE` | sets | ids of a schedule's tasks that have not ended |
//! | `schedules` | hash | where each schedule stands: revision, enabled, cursor, cron, zone |
//! | `ticks:SCHEDULE` | sorted set | the ledger's lines, by due time |
//! | `lines` | sorted set | `SCHEDULE DUE` of all lines, by the time they were written |
//! | `counts` | hash | how many tasks: `QUEUE STATE`, and on leases `leased:FUNCTION` |
//! | `recount` | hash | while tasks are counted anew: up to where (`at`, `id` in `all`), how far it goes, and the sums so far |
//! | `aside` | sorted set | ids whose task is missing or none of ours, by the time that was found |
//! | `aside:NAME` | any | what stood under NAME and was of another kind |
//!
//! Times are milliseconds since 1970 by the server's clock.

/// What all keys of one mesh begin with.
#[derive(Clone, Debug)]
pub(super) struct Keys(String);

impl Keys {
    /// `mesh` is a label: nothing in it means anything to Redis.
    pub(super) fn of(mesh: &str) -> Self {
        Self(format!("{{beatmesh:{mesh}}}:"))
    }

    /// The beginning itself, which every script gets as its only declared key.
    pub(super) fn prefix(&self) -> &str {
        &self.0
    }

    /// The key of this name.
    pub(super) fn named(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }

    /// The key of this kind for one thing.
    pub(super) fn of_one(&self, kind: &str, which: impl std::fmt::Display) -> String {
        format!("{}{kind}:{which}", self.0)
    }
}
