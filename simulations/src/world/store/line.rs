//! The way between one node and the store, and what may be wrong with it.

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
    trouble: Trouble,
    dice: StdRng,
    /// Requests that met a trouble.
    troubled: u64,
}

/// What becomes of one request.
pub(super) enum Way {
    /// It arrives after this.
    Arrives(Duration),
    /// Nobody answers.
    Silence,
    /// It is turned away.
    Refused,
}

impl Line {
    /// A healthy line.
    #[must_use]
    pub fn new(dice: StdRng) -> Self {
        Self(Mutex::new(Inner { trouble: Trouble::None, dice, troubled: 0 }))
    }

    /// From now on.
    pub fn set(&self, trouble: Trouble) {
        self.0.lock().trouble = trouble;
    }

    /// Requests that met a trouble so far.
    #[must_use]
    pub fn troubled(&self) -> u64 {
        self.0.lock().troubled
    }

    /// A request leaves the node.
    pub(super) fn there(&self) -> Way {
        let mut line = self.0.lock();
        line.troubled += u64::from(line.trouble != Trouble::None);
        let way = line.draw();
        match line.trouble {
            Trouble::None | Trouble::Mute => Way::Arrives(way),
            Trouble::Slow(by) => Way::Arrives(way + by),
            Trouble::Cut => Way::Silence,
            Trouble::Refusing => Way::Refused,
        }
    }

    /// An answer leaves the store: how long it takes, `None` when it is lost.
    pub(super) fn back(&self) -> Option<Duration> {
        let mut line = self.0.lock();
        let way = line.draw();
        (!matches!(line.trouble, Trouble::Cut | Trouble::Mute)).then_some(way)
    }
}

impl Inner {
    fn draw(&mut self) -> Duration {
        Duration::from_micros(self.dice.random_range(ONE_WAY_MICROS))
    }
}
