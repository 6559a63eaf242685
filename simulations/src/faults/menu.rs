//! Plans drawn from menus: for each seed a random subset of kinds of faults, and times for each. Seeds that
//! have few kinds go deeper than seeds that have all of them (swarm testing, Groce et al. 2012).

use std::ops::Range;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{Fault, FaultKind, Group, Harm, Links, Target, Trouble};

/// When a plan's faults may happen, in milliseconds since the world's start: none begins before the first,
/// all are healed by the last.
pub type Window = Range<u64>;

/// A fault that begins and heals within the window, and lasts as long as the dice say.
pub fn within(dice: &mut StdRng, window: &Window, lasts_ms: Range<u64>, kind: FaultKind) -> Fault {
    let lasts = dice.random_range(lasts_ms).min(window.end - window.start - 1);
    let at = dice.random_range(window.start..window.end - lasts);
    Fault { at: Duration::from_millis(at), lasts: Duration::from_millis(lasts), kind }
}

/// Two different nodes.
pub fn pair(dice: &mut StdRng, nodes: usize) -> (usize, usize) {
    let a = dice.random_range(0..nodes);
    (a, (a + dice.random_range(1..nodes)) % nodes)
}

/// So many nodes, whichever.
pub fn group(dice: &mut StdRng, nodes: usize, count: usize) -> Group {
    let mut all: Vec<_> = (0..nodes).collect();
    all.shuffle(dice);
    Group::of(&all[..count])
}

/// Kinds from which a seed chooses. Two faults of a process never meet the same node, because a node that is
/// down cannot be paused; everything else may overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dish {
    Crash,
    PowerCut,
    Move,
    Disk,
    Pause,
    Leave,
    Pair,
    OneWay,
    Split,
    Bridge,
    Isolation,
    EverybodyAlone,
    Flapping,
    Loss,
    Late,
    Twice,
    Store,
    ClockJump,
    ClockDrift,
    StoreClock,
    StoreForgets,
}

const MENU: [Dish; 21] = [
    Dish::Crash,
    Dish::PowerCut,
    Dish::Move,
    Dish::Disk,
    Dish::Pause,
    Dish::Leave,
    Dish::Pair,
    Dish::OneWay,
    Dish::Split,
    Dish::Bridge,
    Dish::Isolation,
    Dish::EverybodyAlone,
    Dish::Flapping,
    Dish::Loss,
    Dish::Late,
    Dish::Twice,
    Dish::Store,
    Dish::ClockJump,
    Dish::ClockDrift,
    Dish::StoreClock,
    Dish::StoreForgets,
];

/// A plan for so many nodes: each kind is in it with the same chance, which is drawn first.
pub fn swarm(dice: &mut StdRng, nodes: usize, window: &Window) -> Vec<Fault> {
    let share = dice.random_range(0.1..0.6);
    let mut processes: Vec<_> = (0..nodes).collect();
    processes.shuffle(dice);
    let mut faults = Vec::new();
    for dish in MENU {
        if dice.random_bool(share) {
            for _ in 0..dice.random_range(1..=2) {
                faults.extend(dish.serve(dice, nodes, &mut processes, window));
            }
        }
    }
    if faults.is_empty() {
        faults.extend(Dish::Split.serve(dice, nodes, &mut processes, window));
    }
    faults
}

impl Dish {
    /// One fault of this kind; `None` when all processes have one.
    fn serve(
        self,
        dice: &mut StdRng,
        nodes: usize,
        processes: &mut Vec<usize>,
        window: &Window,
    ) -> Option<Fault> {
        let mut process = || processes.pop().map(Target::Node);
        let millis = Duration::from_millis;
        let (lasts, kind) = match self {
            Self::Crash => (200..8_000, FaultKind::Crash(process()?)),
            Self::PowerCut => (200..8_000, FaultKind::PowerCut(process()?)),
            Self::Move => (200..8_000, FaultKind::Move(process()?)),
            Self::Disk => (200..8_000, FaultKind::Disk(process()?, dice.random_range(0..4))),
            Self::StoreClock => (500..12_000, FaultKind::StoreClock(dice.random_range(-8_000..8_000))),
            Self::StoreForgets => (50..5_000, FaultKind::StoreForgets),
            Self::Pause => (300..12_000, FaultKind::Pause(process()?)),
            Self::Leave => (4_000..10_000, FaultKind::Leave(process()?)),
            Self::Store => {
                let trouble = trouble(dice);
                (1_000..8_000, FaultKind::Store(somebody(dice, nodes), trouble))
            }
            Self::ClockJump => {
                let by_ms = dice.random_range(-3_600_000..=3_600_000);
                (2_000..15_000, FaultKind::ClockJump(somebody(dice, nodes), by_ms))
            }
            Self::ClockDrift => {
                let gain_ms = dice.random_range(1..=100) * if dice.random() { 1 } else { -1 };
                (2_000..15_000, FaultKind::ClockDrift(somebody(dice, nodes), gain_ms))
            }
            _ => {
                let (a, b) = pair(dice, nodes);
                let side = dice.random_range(1..nodes);
                let side = group(dice, nodes, side);
                let everywhere = [Links::All, Links::Of(Target::Node(a))][dice.random_range(0..2)];
                let (links, harm) = match self {
                    Self::Pair => (Links::Between(a, b), Harm::Cut),
                    Self::OneWay => (Links::OneWay(a, b), Harm::Cut),
                    Self::Bridge => (Links::Bridged(Group::of(&[a]), b), Harm::Cut),
                    Self::Isolation => (Links::Of(Target::Node(a)), Harm::Cut),
                    Self::EverybodyAlone => (Links::All, Harm::Cut),
                    Self::Flapping => {
                        (Links::Across(side), Harm::Flapping(millis(dice.random_range(200..3_000))))
                    }
                    Self::Loss => (everywhere, Harm::Loss(dice.random_range(3..60))),
                    Self::Late => {
                        let most = millis(dice.random_range(10..400));
                        (everywhere, Harm::Late(dice.random_range(5..=100), Duration::ZERO, most))
                    }
                    Self::Twice => (everywhere, Harm::Twice(dice.random_range(5..=100))),
                    _ => (Links::Across(side), Harm::Cut),
                };
                (1_000..12_000, FaultKind::Network(links, harm))
            }
        };
        Some(within(dice, window, lasts, kind))
    }
}

/// One node, the Beat, or all.
fn somebody(dice: &mut StdRng, nodes: usize) -> Target {
    match dice.random_range(0..4) {
        0 => Target::BeatOwner,
        1 => Target::Group(Group::first(nodes)),
        _ => Target::Node(dice.random_range(0..nodes)),
    }
}

/// Any trouble with the store.
pub fn trouble(dice: &mut StdRng) -> Trouble {
    match dice.random_range(0..5) {
        0 => Trouble::Cut,
        1 => Trouble::Refusing,
        2 => Trouble::Mute,
        3 => Trouble::Failing(dice.random_range(10..60)),
        _ => Trouble::Slow(Duration::from_millis(dice.random_range(100..3_000))),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_swarm_begins_and_heals_within_its_window_and_seeds_differ() {
        let plan = |seed| swarm(&mut StdRng::seed_from_u64(seed), 5, &(6_000..30_000));
        for seed in 0..200 {
            let faults = plan(seed);
            let is_inside = |fault: &Fault| {
                fault.at >= Duration::from_secs(6) && fault.at + fault.lasts <= Duration::from_secs(30)
            };
            assert!(!faults.is_empty() && faults.iter().all(is_inside), "seed {seed}: {faults:?}");
            assert_eq!(faults, plan(seed));
        }
        assert_ne!(plan(1), plan(2));
    }
}
