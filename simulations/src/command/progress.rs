//! How far a run is, on stderr: a bar where a person looks on, a line now and then where a log is written.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// A bar that moves often enough to be seen, seldom enough to cost nothing.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// Lines in a log.
const LINE_EVERY: Duration = Duration::from_secs(20);

/// Characters of the bar.
const WIDTH: usize = 24;

/// The progress of one scenario.
pub struct Progress {
    name: &'static str,
    /// How many seeds there will be; `None` when only the time is known.
    total: Option<u64>,
    /// When it will be over, if that is what ends it.
    deadline: Option<Instant>,
    began: Instant,
    shown: Instant,
    is_bar: bool,
    done: u64,
    failed: u64,
}

impl Progress {
    /// Begins now.
    pub fn new(name: &'static str, total: Option<u64>, deadline: Option<Instant>) -> Self {
        let now = Instant::now();
        let is_bar = stderr().is_terminal();
        Self { name, total, deadline, began: now, shown: now, is_bar, done: 0, failed: 0 }
    }

    /// One more seed has ended.
    pub fn step(&mut self, failed: bool) {
        self.done += 1;
        self.failed += u64::from(failed);
        if self.shown.elapsed() < if self.is_bar { BAR_EVERY } else { LINE_EVERY } {
            return;
        }
        self.shown = Instant::now();
        if self.is_bar {
            let filled = (self.share() * WIDTH as f64) as usize;
            let bar = "#".repeat(filled) + &"-".repeat(WIDTH - filled.min(WIDTH));
            // A terminal that has gone is no reason to stop.
            let _ = write!(stderr(), "\r\x1b[K[{bar}] {}", self.text());
        } else {
            let _ = writeln!(stderr(), "{}", self.text());
        }
    }

    /// Makes room for what goes to stdout.
    pub fn clear(&self) {
        if self.is_bar {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    fn text(&self) -> String {
        let rate = self.done as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
        let of = self.total.map_or_else(String::new, |total| format!(" of {total}"));
        format!("{}: {}{of} seeds, {rate:.1} seeds/s, {} failed", self.name, self.done, self.failed)
    }

    fn share(&self) -> f64 {
        let by_time = |deadline: Instant| {
            let whole = deadline.saturating_duration_since(self.began).as_secs_f64();
            self.began.elapsed().as_secs_f64() / whole.max(1e-9)
        };
        let by_count = |total: u64| self.done as f64 / total.max(1) as f64;
        let share = self.deadline.map(by_time).or(self.total.map(by_count));
        share.unwrap_or(0.0).clamp(0.0, 1.0)
    }
}
