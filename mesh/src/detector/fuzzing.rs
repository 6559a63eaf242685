//! How much a detector holds, for the fuzz targets: whatever members send, it must stay bounded.

use super::probing::MOST_RELAYS;
use super::{Detector, MOST_KNOWN};
use crate::detector::claims::MOST_TOPICS;

/// What is wrong with how much a detector holds; `None` when nothing is.
#[must_use]
pub fn excess(detector: &Detector) -> Option<String> {
    let known = detector.subjects.len();
    let counts = [
        ("members known", known, MOST_KNOWN),
        ("topics", detector.topics.len(), MOST_TOPICS),
        ("rumours", detector.rumours.len(), known + 1 + MOST_TOPICS),
        ("probes", detector.probes.len(), known),
        ("pings for others", detector.relays.len(), MOST_RELAYS),
        ("members that are in", detector.inside, known),
    ];
    let inside = detector.subjects.values().filter(|subject| subject.is_in()).count();
    if inside != detector.inside {
        return Some(format!("{inside} members are in, {} were counted", detector.inside));
    }
    if detector.crowd.len() != inside {
        return Some(format!("{inside} members are in, {} are asked for help", detector.crowd.len()));
    }
    let over = counts.into_iter().find(|(_, count, most)| count > most);
    over.map(|(what, count, most)| format!("{count} {what}, {most} at most"))
}

/// How many timers are set. Each belongs to something that was sent or suspected, and goes when it is due.
#[must_use]
pub fn timers(detector: &Detector) -> usize {
    detector.timers.len()
}
