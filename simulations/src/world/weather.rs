//! The faults of the network that are under way, and what becomes of each packet between two nodes. Counted per
//! fault, because a partition that nobody ran into proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::faults::{Group, Harm, Links};

/// A packet that comes twice comes again within this.
const AGAIN_WITHIN_MS: std::ops::Range<u64> = 0..30;

/// All of it; clones share it.
#[derive(Clone, Default)]
pub struct Weather(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    nodes: BTreeMap<IpAddr, usize>,
    /// Machines without a process: nobody keeps what comes for it.
    down: BTreeSet<usize>,
    /// By the number of the fault.
    harms: BTreeMap<usize, Active>,
}

struct Active {
    links: Links,
    harm: Harm,
    /// Whom its target means.
    met: Group,
    began: Duration,
    /// Packets that it harmed.
    harmed: u64,
}

/// What becomes of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Fate {
    pub(super) is_lost: bool,
    /// It is sent this much later.
    pub(super) late: Duration,
    /// It is sent once more, this much after that.
    pub(super) again: Option<Duration>,
}

impl Weather {
    /// Says which node lives at which address.
    pub fn locate(&self, addr: IpAddr, node: usize) {
        self.0.lock().nodes.insert(addr, node);
    }

    /// Says whether a node's machine has a process that takes packets.
    pub fn set_down(&self, node: usize, is_down: bool) {
        let mut state = self.0.lock();
        if is_down {
            state.down.insert(node)
        } else {
            state.down.remove(&node)
        };
    }

    /// A fault begins.
    pub fn begin(&self, fault: usize, links: Links, harm: Harm, met: Group, now: Duration) {
        let active = Active { links, harm, met, began: now, harmed: 0 };
        self.0.lock().harms.insert(fault, active);
    }

    /// It ends; answers how many packets it harmed.
    pub fn end(&self, fault: usize) -> u64 {
        self.0.lock().harms.remove(&fault).map_or(0, |active| active.harmed)
    }

    /// Decides about one packet. Draws dice only where chance has a say.
    pub(super) fn fate(&self, from: usize, to: IpAddr, now: Duration, dice: &mut StdRng) -> Fate {
        let mut state = self.0.lock();
        let mut fate = Fate::default();
        let Some(to) = state.nodes.get(&to).copied() else { return fate };
        for active in state.harms.values_mut().filter(|active| active.links.mean(from, to, active.met)) {
            let harm = active.draw(now, dice);
            active.harmed += u64::from(harm != Fate::default());
            fate.is_lost |= harm.is_lost;
            fate.late += harm.late;
            fate.again = harm.again.or(fate.again);
        }
        fate.is_lost |= state.down.contains(&to);
        fate
    }
}

impl Active {
    /// What this fault does to one packet, whatever the others do.
    fn draw(&self, now: Duration, dice: &mut StdRng) -> Fate {
        let mut fate = Fate::default();
        match self.harm {
            Harm::Cut => fate.is_lost = true,
            Harm::Flapping(period) => {
                let turn = now.saturating_sub(self.began).as_millis() / period.as_millis().max(1);
                fate.is_lost = turn.is_multiple_of(2);
            }
            Harm::Loss(percent) => fate.is_lost = is_one_of(percent, dice),
            Harm::Late(percent, least, most) if is_one_of(percent, dice) => {
                fate.late = dice.random_range(least..=most);
            }
            Harm::Twice(percent) if is_one_of(percent, dice) => {
                fate.again = Some(Duration::from_millis(dice.random_range(AGAIN_WITHIN_MS)));
            }
            Harm::Late(..) | Harm::Twice(_) => {}
        }
        fate
    }
}

fn is_one_of(percent: u8, dice: &mut StdRng) -> bool {
    dice.random_range(0..100) < percent
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rand::SeedableRng;

    use super::*;

    fn addr(node: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, node).into()
    }

    #[test]
    fn faults_that_overlap_heal_one_by_one() {
        let (weather, mut dice) = (Weather::default(), StdRng::seed_from_u64(1));
        (0..3).for_each(|node| weather.locate(addr(node), usize::from(node)));
        let mut is_lost = |from, to| weather.fate(from, addr(to), Duration::ZERO, &mut dice).is_lost;
        weather.begin(0, Links::Between(0, 1), Harm::Cut, Group::default(), Duration::ZERO);
        weather.begin(1, Links::All, Harm::Cut, Group::default(), Duration::ZERO);
        assert!(is_lost(0, 1) && is_lost(1, 2));
        assert_eq!(weather.end(1), 2, "it counts what it meets, also where another one is");
        assert!(is_lost(1, 0) && !is_lost(1, 2));
        assert_eq!(weather.end(0), 2);
        assert!(!is_lost(0, 1));
    }

    #[test]
    fn flapping_begins_with_silence() {
        let (weather, mut dice) = (Weather::default(), StdRng::seed_from_u64(1));
        (0..2).for_each(|node| weather.locate(addr(node), usize::from(node)));
        let second = Duration::from_secs(1);
        weather.begin(0, Links::All, Harm::Flapping(second), Group::default(), second);
        let mut is_lost = |at| weather.fate(0, addr(1), at, &mut dice).is_lost;
        assert!(is_lost(second) && !is_lost(second * 2) && is_lost(second * 3));
    }
}
