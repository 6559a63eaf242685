//! What becomes of the ring on the smaller side of a cut: one member alone keeps it because nobody answers, a third
//! of the mesh because more than half die at once, as fast as such a third finds them.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::alone::Alone;
use beatmesh_mesh::detector::pace::Pace;
use beatmesh_mesh::id::NodeId;
use beatmesh_mesh::ring::Ring;

use super::town::Town;
use super::{Book, Setting};

/// How long the cut is, and how long after it the ring is looked at: shorter than a ring is kept, so that it must not
/// lose anybody.
const CUT: Duration = Duration::from_secs(25);
const AFTER: Duration = Duration::from_secs(20);

/// Longer than a third of the mesh needs to find the others.
const LONG: Duration = Duration::from_secs(200);

/// A node looks when its timers are due, a few times in each period.
const LOOKS_EVERY: Duration = Duration::from_millis(50);

/// The one whose ring is looked at.
const OBSERVER: usize = 0;

pub(super) fn play(book: &mut Book, setting: &Setting, seed: u64) {
    one(book, setting, seed);
    if setting.nodes >= 6 {
        third(book, setting, seed);
    }
}

fn one(book: &mut Book, setting: &Setting, seed: u64) {
    const LOST: &str = "one cut off: members that its ring loses";
    let mut town = Town::new(setting, seed);
    let (mut alone, mut ring) = (Alone::default(), ring_of(&town));
    let (mut least, mut least_live) = (setting.nodes, setting.nodes);
    town.split(|node| usize::from(node != OBSERVER));
    let healed = town.now() + CUT;
    while town.now() < healed + AFTER {
        town.run_for(LOOKS_EVERY);
        if town.now() >= healed {
            town.split(|_| 1);
        }
        let live = town.views.held_in(OBSERVER).count() + 1;
        if live != ring.members().len() {
            ring = ring_of(&town);
        }
        let _ = alone.note(town.time(), town.hears_nobody(OBSERVER), &ring);
        least = least.min(alone.ring(&ring, |_| false).members().len());
        least_live = least_live.min(live);
    }
    if least_live == setting.nodes && setting.pace == Pace::LAN {
        book.wrong(LOST, setting, "nobody noticed the cut".to_owned());
    }
    book.rare(LOST, setting, (setting.nodes - least, setting.nodes as u64 - 1), Some(0.0));
    let most = (setting.nodes - least_live) as f64;
    book.value("one cut off: members held for dead meanwhile", setting, "members", most, None);
}

fn third(book: &mut Book, setting: &Setting, seed: u64) {
    const SPREAD: &str = "a third cut off: from the first verdict to more than half";
    let mut town = Town::new(setting, seed);
    town.split(|node| if node < setting.nodes / 3 { 1 } else { 2 });
    let (count, end) = (setting.nodes, town.now() + LONG);
    let lost = move |town: &Town| count - town.views.held_in(OBSERVER).count() - 1;
    let first = town.run_until(end, |town| lost(town) > 0);
    let half = town.run_until(end, |town| lost(town) * 2 > count);
    match first.zip(half) {
        Some((first, half)) => {
            let goal = setting.pace.at_once.as_secs_f64() * 1_000.0;
            book.time(SPREAD, setting, half - first, Some(goal));
        }
        None => book.wrong(SPREAD, setting, format!("most are not dead after {LONG:?}")),
    }
}

/// That of the members which the observer has not given up.
fn ring_of(town: &Town) -> Arc<Ring> {
    let name = |node: usize| -> NodeId { format!("node-{node:04}").parse().expect("letters and digits") };
    let members = town.views.held_in(OBSERVER).chain([OBSERVER]);
    Arc::new(Ring::new(members.map(|node| (name(node), 1))))
}
