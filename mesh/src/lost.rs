//! Where members were last that are forgotten: a cut that lasts longer than the memory of the detector must heal
//! as soon as a shorter one. Only addresses; who answers there is proven on the link.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Whoever was away for longer is found through the node table or a seed.
const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// As many as one mesh may have members.
const MOST: usize = 1_024;

/// One address is dialled in each.
const DIAL_EVERY: Duration = Duration::from_secs(1);

/// The addresses, in the order of their turns.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    addrs: VecDeque<(SocketAddr, Instant)>,
    dialled: Option<Instant>,
}

impl Lost {
    /// A member is forgotten that was last at `addr`.
    pub(crate) fn add(&mut self, now: Instant, addr: SocketAddr) {
        self.found(addr);
        self.addrs.push_back((addr, now));
        if self.addrs.len() > MOST {
            self.addrs.pop_front();
        }
    }

    /// Somebody answers there.
    pub(crate) fn found(&mut self, addr: SocketAddr) {
        self.addrs.retain(|(known, _)| *known != addr);
    }

    /// The address to dial now, if it is time.
    pub(crate) fn due(&mut self, now: Instant) -> Option<SocketAddr> {
        if self.dialled.is_some_and(|dialled| now.saturating_duration_since(dialled) < DIAL_EVERY) {
            return None;
        }
        self.addrs.retain(|(_, since)| now.saturating_duration_since(*since) < KEPT);
        let (addr, since) = self.addrs.pop_front()?;
        self.addrs.push_back((addr, since));
        self.dialled = Some(now);
        Some(addr)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_until_it_is_found_or_a_day_has_passed() {
        let now = Instant::now();
        let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut lost = Lost::default();
        assert_eq!(lost.due(now), None);
        (1..=3).for_each(|port| lost.add(now, addr(port)));
        lost.add(now, addr(1));
        let at = |seconds| now + Duration::from_secs(seconds);
        let turns: Vec<_> = (0..4).filter_map(|second| lost.due(at(second))).collect();
        assert_eq!(turns, [2, 3, 1, 2].map(addr));
        assert_eq!(lost.due(at(3) + DIAL_EVERY / 2), None, "not so soon");
        lost.found(addr(3));
        assert_eq!(lost.due(at(5)), Some(addr(1)));
        assert_eq!(lost.due(now + KEPT), None);
    }
}
