//! What a core run measured, and many of them together.

use std::fmt;
use std::time::Duration;

use crate::measures::{Distribution, Measures};
use crate::properties::Violation;

/// The figures of one seed, or of many.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// What was wrong; nothing in a good run.
    pub violations: Vec<Violation>,
    /// How many seeds these are.
    pub runs: u64,
    /// Entries of the heap.
    pub happenings: u64,
    /// True changes of the membership: deaths, returns, joins.
    pub changes: u64,
    /// Keys that moved, as a multiple of 1/N for each change.
    pub moved: f64,
    /// Keys of the busiest member, as a multiple of the mean.
    pub busiest: f64,
    /// The most nodes at one moment that believed to be the Beat.
    pub believers: i64,
    /// For how long there were two or more.
    pub several: Duration,
    /// For how long there was none.
    pub none: Duration,
    /// Commits that the store refused.
    pub refused: u64,
    /// Due times that were decided more than once.
    pub doubles: u64,
    /// Reads of the schedules' states.
    pub reads: u64,
    /// Completions that came after their lease.
    pub stale: u64,
    /// Leases that ran out.
    pub lost_leases: u64,
    /// How late ticks were.
    pub measures: Measures,
    /// From a death of the Beat to the next commit of anybody, itself in a new life included.
    pub handover: Distribution,
}

impl Figures {
    /// Adds those of other seeds.
    pub fn join(&mut self, other: Self) {
        let (mine, theirs) = (self.runs as f64, other.runs as f64);
        self.moved = (self.moved * mine + other.moved * theirs) / (mine + theirs);
        self.busiest = self.busiest.max(other.busiest);
        self.believers = self.believers.max(other.believers);
        self.violations.extend(other.violations);
        self.measures.join(&other.measures);
        self.handover.join(&other.handover);
        self.several += other.several;
        self.none += other.none;
        for (mine, theirs) in [
            (&mut self.runs, other.runs),
            (&mut self.happenings, other.happenings),
            (&mut self.changes, other.changes),
            (&mut self.refused, other.refused),
            (&mut self.doubles, other.doubles),
            (&mut self.reads, other.reads),
            (&mut self.stale, other.stale),
            (&mut self.lost_leases, other.lost_leases),
        ] {
            *mine += theirs;
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  membership changes:                    {}", self.changes)?;
        writeln!(f, "  keys moved by each, of 1/N:            {:.2}", self.moved)?;
        writeln!(f, "  busiest member, of the mean:           {:.2}", self.busiest)?;
        writeln!(
            f,
            "  believe to be the Beat at once:        at most {}; two or more for {:.1} s, none for {:.1} s",
            self.believers,
            self.several.as_secs_f64(),
            self.none.as_secs_f64()
        )?;
        writeln!(f, "  lateness of all ticks:                 {}", self.measures.lateness)?;
        writeln!(f, "  of those due within 3 s after a death: {}", self.measures.lateness_after_crash)?;
        writeln!(f, "  the Beat's death to the next commit:   {}", self.handover)?;
        writeln!(f, "  double commits:                        {} ({} refused)", self.doubles, self.refused)?;
        writeln!(f, "  leases lost, completions too late:     {}, {}", self.lost_leases, self.stale)?;
        writeln!(f, "  reads of the cursors, happenings:      {}, {}", self.reads, self.happenings)
    }
}
