//! How fast the detector goes, and how sure it wants to be.

use std::time::Duration;

use super::health::SLOWEST;
use super::suspicion::ALONE;

/// The numbers of one kind of network. All nodes of a mesh use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// One member is probed in each, and each member by one other: within one and a half, mostly within one,
    /// somebody asks a member that has died.
    pub period: Duration,
    /// The least that an answer to a ping is waited for. Far above a round trip: what it must outlast is a
    /// busy scheduler.
    pub ping_timeout: Duration,
    /// How long the answer through others is waited for, after that.
    pub indirect_timeout: Duration,
    /// Who was asked to help says after this that the member is silent for it, too. What is left of the asker's
    /// patience is for the ways there and back, on a busy machine; an answer that comes later is passed on yet.
    pub nack_after: Duration,
    /// The least time that a suspect has to refute, in a mesh of up to ten; it grows with the logarithm of the
    /// members, as the way of a rumour does.
    pub suspicion: Duration,
    /// News waits so long for company before it goes out in a datagram.
    pub gather: Duration,
    /// One member that is held for dead is probed in each: a healed partition is found from both sides.
    pub probe_dead_every: Duration,
    /// A timer that is so late says that this process did not run.
    pub stopped_after: Duration,
    /// And for so long after that this node judges nobody.
    pub no_verdicts_for: Duration,
    /// Verdicts with one cause, a cut say, come within this: as long as a suspect has at most on a node in the
    /// worst health, which is where whoever is cut off is, and half as much again, because that time grows with
    /// the mesh. Simulated: of a mesh of 200, a third holds half of it for dead 6 s (WAN: 29 s) after the first.
    pub at_once: Duration,
}

impl Pace {
    /// One data centre, one machine: a dead member is gone everywhere in less than a second. Prototyped with
    /// four busy loops on two cores without a false suspicion.
    pub const LAN: Self = Self {
        period: Duration::from_millis(320),
        ping_timeout: Duration::from_millis(80),
        indirect_timeout: Duration::from_millis(100),
        nack_after: Duration::from_millis(50),
        suspicion: Duration::from_millis(400),
        gather: Duration::from_millis(5),
        probe_dead_every: Duration::from_secs(1),
        stopped_after: Duration::from_millis(500),
        no_verdicts_for: Duration::from_secs(1),
        at_once: Duration::from_secs(10),
    };

    /// Far apart, over lines that stall now and then: three to eight times slower. Guess: a
    /// quarter of a second there and back, and a stall of two seconds, must kill nobody.
    pub const WAN: Self = Self {
        period: Duration::from_millis(800),
        ping_timeout: Duration::from_millis(400),
        indirect_timeout: Duration::from_millis(1_000),
        nack_after: Duration::from_millis(400),
        suspicion: Duration::from_millis(2_500),
        gather: Duration::from_millis(20),
        probe_dead_every: Duration::from_secs(2),
        stopped_after: Duration::from_millis(2_000),
        no_verdicts_for: Duration::from_secs(4),
        at_once: Duration::from_secs(40),
    };

    /// Whether the numbers fit together: a word of others comes before the probe is given up, and a paused node keeps silent for longer than a probe takes.
    const fn is_sound(&self) -> bool {
        self.indirect_timeout.as_millis() >= 2 * self.nack_after.as_millis()
            && self.no_verdicts_for.as_millis()
                > self.ping_timeout.as_millis() + self.indirect_timeout.as_millis()
            && self.stopped_after.as_millis() > self.period.as_millis()
            && self.at_once.as_millis() > (ALONE * SLOWEST) as u128 * self.suspicion.as_millis()
    }
}

const _: () = assert!(Pace::LAN.is_sound() && Pace::WAN.is_sound());

/// What a late timer speaks against this node: its process gets too little time, so others may have answered long ago.
/// More than the answer of one period makes good.
pub(super) const LATENESS: u32 = 2;

/// Members that are asked to ping somebody who does not answer (SWIM, section 4.1: k).
pub(super) const RELAYS: usize = 3;

/// Probes in a row without any answer after which a node is cut off itself: three members, or the same
/// one again, were asked twice, and up to nine for help. It comes to that within three seconds, and to no verdict before.
pub(super) const CUT_OFF: u32 = 3;

/// Members that news goes to at once. Three reach a thousand in seven hops.
pub(super) const FANOUT: usize = 3;

/// A ping waits for at least so many round trips.
pub(super) const ROUND_TRIPS: u32 = 4;

/// A ping to a member without a link is waited for so many times as long: on its way a link comes up, with three round
/// trips and the work of signatures on both sides.
pub(super) const FIRST_PING: u32 = 3;

/// However long round trips are, a ping is not waited for longer.
pub(super) const LONGEST_PING: Duration = Duration::from_secs(2);

/// Members that look themselves when somebody is suspected, on average. Enough that the confirmations wanted
/// come even when some are lost; few enough that a suspect among a thousand is not run over.
pub(super) const JURY: usize = 8;

/// A timeout in a mesh of `members`: that of ten grows with their logarithm, as the hops of a rumour do. Half as
/// much for each factor of ten: the accused is told by its accuser and by the jury, so its refutation does not
/// wait for the rumour.
pub(super) fn scaled(timeout: Duration, members: usize) -> Duration {
    timeout.mul_f64(1.0 + ((members as f64).log10() - 1.0).max(0.0) / 2.0)
}
