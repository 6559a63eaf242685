//! What became of the due times of a schedule that is due every second: in the ledger, and in what its function has
//! written down itself.

use std::collections::{BTreeMap, BTreeSet};

use beatmesh_tests::ledger::Tick;
use beatmesh_tests::{Client, SideFile, ledger};

use crate::report::Report;

/// Between two due times, in milliseconds.
const PERIOD: i64 = 1_000;

/// How many due times there were, and which of them were not dealt with once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Owed, from the first one to the last one of the ledger.
    pub due: usize,
    /// Owed and not in the ledger as fired.
    pub lost: usize,
    /// Lines of the ledger beyond the first of the same due time.
    pub double: usize,
    /// Fired, and its function has not run.
    pub never_ran: usize,
    /// One attempt of its function ran twice: nothing may do that.
    pub ran_double: usize,
    /// Further attempts, after a worker was lost: at least once is what is promised.
    pub ran_again: usize,
}

impl Audit {
    /// Waits until the ledger reaches past now and all that was fired has ended, then counts.
    pub async fn of(client: &Client, since: i64, side: &SideFile) -> (Self, Vec<Tick>) {
        let ticks = ledger::caught_up(client, "tick").await;
        ledger::all_executed(client, &fired(&ticks)).await;
        (Self::count(&ticks, since, &side.lines()), ticks)
    }

    /// `lines` are `due attempt node`.
    fn count(ticks: &[Tick], since: i64, lines: &[String]) -> Self {
        let fired: Vec<i64> = fired(ticks).iter().map(|tick| tick.due).collect();
        let once: BTreeSet<i64> = fired.iter().copied().collect();
        let last = ticks.iter().map(|tick| tick.due).max().unwrap_or(since);
        let first = (since.div_euclid(PERIOD) + 1) * PERIOD;
        let owed: Vec<i64> = (0..).map(|nth| first + nth * PERIOD).take_while(|due| *due <= last).collect();
        let mut runs: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
        for line in lines {
            let mut words = line.split(' ');
            let due = words.next().and_then(|due| due.parse().ok()).expect("a due time");
            runs.entry(due).or_default().push(words.next().expect("an attempt"));
        }
        let mut audit = Self {
            due: owed.len(),
            lost: owed.iter().filter(|due| !once.contains(due)).count(),
            double: fired.len() - once.len(),
            never_ran: once.iter().filter(|due| !runs.contains_key(due)).count(),
            ..Self::default()
        };
        for attempts in once.iter().filter_map(|due| runs.get(due)) {
            let different: BTreeSet<&&str> = attempts.iter().collect();
            audit.ran_double += attempts.len() - different.len();
            audit.ran_again += different.len() - 1;
        }
        audit
    }

    /// As rows of the report.
    pub fn tell(&self, what: &str, report: &mut Report) {
        let row = |report: &mut Report, figure: &str, goal, count| {
            report.count(format!("{what}: {figure}"), goal, count, self.due);
        };
        row(report, "due times lost", "0", self.lost);
        row(report, "due times fired twice", "0", self.double);
        row(report, "fired and never executed", "0", self.never_ran);
        row(report, "one attempt executed twice", "0", self.ran_double);
        row(report, "executed again by a further attempt, because its worker died", "", self.ran_again);
    }
}

fn fired(ticks: &[Tick]) -> Vec<Tick> {
    ticks.iter().filter(|tick| tick.state == "fired").cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(due: i64, state: &str) -> Tick {
        let (state, task, node) = (state.to_owned(), Some(due.to_string()), "n".to_owned());
        Tick { due, state, reason: None, task, node, lateness: 3, count: 1 }
    }

    #[test]
    fn what_was_lost_skipped_doubled_or_never_executed_is_counted() {
        let ticks =
            [(2_000, "fired"), (3_000, "skipped"), (5_000, "fired"), (5_000, "fired"), (6_000, "fired")];
        let ticks = ticks.map(|(due, state)| tick(due, state));
        let lines = ["2000 1 a", "2000 1 b", "5000 1 a", "5000 2 b"].map(str::to_owned);
        let audit = Audit::count(&ticks, 1_500, &lines);
        let expected = Audit { due: 5, lost: 2, double: 1, never_ran: 1, ran_double: 1, ran_again: 1 };
        assert_eq!(audit, expected);
    }

    #[test]
    fn a_ledger_without_fault_has_no_counts() {
        let ticks = [2_000, 3_000].map(|due| tick(due, "fired"));
        let lines = ["2000 1 a", "3000 1 b"].map(str::to_owned);
        assert_eq!(Audit::count(&ticks, 1_000, &lines), Audit { due: 2, ..Audit::default() });
    }
}
