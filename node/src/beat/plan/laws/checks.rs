//! What must be true of a world that has run: predicates over the store's lines.

use beatmesh_mesh::env::UnixMs;

use super::world::{END, Line, START, World};
use crate::queue::tick::{EARLIEST_MS, Verdict};

impl World {
    /// T1, T2, T3: the lines of each schedule hold every due time once, in order, none early.
    pub(super) fn check_ledger(&self) -> Result<(), String> {
        for row in &self.rows {
            let name = row.state.schedule.as_str();
            let (mut cursor, mut revision) = (UnixMs(START), 1);
            for line in &row.lines {
                match line {
                    Line::Fenced { revision: next, cursor: at } => (revision, cursor) = (*next, *at),
                    Line::Decided { at, revision: of, decision } => {
                        let shown = format!("{name} at {}: {decision:?}", at - START);
                        if decision.from <= cursor {
                            return Err(format!("decided twice: {shown}"));
                        }
                        if decision.due.0 > at + EARLIEST_MS {
                            return Err(format!("early: {shown}"));
                        }
                        let timetable = &row.planned[revision as usize - 1].timetable;
                        let due: Vec<_> =
                            timetable.after(cursor).take_while(|due| *due <= decision.due).collect();
                        let whole = (due.first(), due.last()) == (Some(&decision.from), Some(&decision.due))
                            && due.len() == decision.count as usize;
                        let single = decision.verdict != Verdict::Fire || decision.count == 1;
                        if !whole || !single || *of != revision {
                            return Err(format!("a due time is lost or wrong: {shown}"));
                        }
                        cursor = decision.due;
                    }
                }
            }
            if cursor != row.state.cursor {
                return Err(format!("{name}: cursor and ledger disagree"));
            }
        }
        Ok(())
    }

    pub(super) fn check_conduct(&self) -> Result<(), String> {
        self.misconduct.first().map_or(Ok(()), |first| Err(first.clone()))
    }

    /// Some time after the last fault nothing is left undecided.
    pub(super) fn check_progress(&self) -> Result<(), String> {
        for row in &self.rows {
            let next = row.planned.last().unwrap().timetable.next_after(row.state.cursor).unwrap();
            if next.0 < START + END - 1_500 {
                let late = START + END - next.0;
                return Err(format!("{} is {late} ms late at the end", row.state.schedule));
            }
        }
        Ok(())
    }

    pub(super) fn check_nothing_skipped_nor_later_than(&self, most: i64) -> Result<(), String> {
        for line in self.rows.iter().flat_map(|row| &row.lines) {
            if let Line::Decided { at, decision, .. } = line
                && (decision.verdict != Verdict::Fire || at - decision.due.0 > most)
            {
                return Err(format!("skipped or late: {} {decision:?}", at - decision.due.0));
            }
        }
        self.check_progress()
    }
}
