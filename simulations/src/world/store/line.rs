//! The way between one node and the store, and what may be wrong with it.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::faults::Trouble;

/// One way takes so many microseconds when nothing is wrong: a database in the same building.
const ONE_WAY_MICROS: std::ops::Range<u64> = 300..3_000;

/// One node's way to the store.
pub struct Line(Mutex<Inner>);

struct Inner {
    /// By the number of the fault. The last one rules.
    troubles: BTreeMap<usize, Met>,
    dice: StdRng,
}

/// A trouble and the requests since it began.
struct Met {
    trouble: Trouble,
    /// That were made.
    made: u64,
    /// That it touched.
    met: u64,
}

/// What becomes of one request.
pub(in crate::world) enum Way {
    /// It arrives after this.
    Arrives(Duration),
    /// It arrives after this, and whatever it did, the answer is an error.
    Botched(Duration),
    /// Nobody answers.
    Silence,
    /// It is turned away: with an error, or by a closed connection.
    Refused { with_words: bool },
}

impl Line {
    /// A healthy line.
    #[must_use]
    pub fn new(dice: StdRng) -> Self {
        Self(Mutex::new(Inner { troubles: BTreeMap::new(), dice }))
    }

    /// A fault begins.
    pub fn begin(&self, fault: usize, trouble: Trouble) {
        self.0.lock().troubles.insert(fault, Met { trouble, made: 0, met: 0 });
    }

    /// It ends; answers how many requests met it.
    pub fn end(&self, fault: usize) -> u64 {
        self.0.lock().troubles.remove(&fault).map_or(0, |trouble| trouble.met)
    }

    /// A request leaves the node.
    pub(in crate::world) fn there(&self) -> Way {
        let mut line = self.0.lock();
        let way = line.draw();
        let number = line.troubles.last_entry().map_or(0, |mut last| {
            last.get_mut().made += 1;
            last.get().made - 1
        });
        let (outcome, is_met) = match line.trouble() {
            Trouble::None => (Way::Arrives(way), false),
            Trouble::Mute => (Way::Arrives(way), true),
            Trouble::Slow(by) => (Way::Arrives(way + by), true),
            Trouble::Cut => (Way::Silence, true),
            Trouble::Refusing => (Way::Refused { with_words: false }, true),
            Trouble::Once(wanted, _) if number != u64::from(wanted) => (Way::Arrives(way), false),
            Trouble::Once(_, true) => (Way::Botched(way), true),
            Trouble::Once(_, false) => (Way::Refused { with_words: true }, true),
            Trouble::Failing(percent) => match line.dice.random_range(0..200) {
                drawn if drawn < u16::from(percent) => (Way::Refused { with_words: true }, true),
                drawn if drawn < 2 * u16::from(percent) => (Way::Botched(way), true),
                _ => (Way::Arrives(way), false),
            },
        };
        // The one that rules; the others leave no mark.
        if let Some(mut last) = line.troubles.last_entry() {
            last.get_mut().met += u64::from(is_met);
        }
        outcome
    }

    /// An answer leaves the store: how long it takes, `None` when it is lost.
    pub(in crate::world) fn back(&self) -> Option<Duration> {
        let mut line = self.0.lock();
        let way = line.draw();
        (!matches!(line.trouble(), Trouble::Cut | Trouble::Mute)).then_some(way)
    }
}

impl Inner {
    fn trouble(&self) -> Trouble {
        self.troubles.last_key_value().map_or(Trouble::None, |(_, last)| last.trouble)
    }

    fn draw(&mut self) -> Duration {
        Duration::from_micros(self.dice.random_range(ONE_WAY_MICROS))
    }
}
