//! Order keys: which task of a line may start. The rule is that of `beatmesh_node::queue::order`.

use beatmesh_node::catalogue::name::FunctionName;
use beatmesh_node::queue::order::{BEGUN, LET_IN, OrderKey};
use beatmesh_node::queue::task::TaskId;

use super::guards::Guard;
use super::state::{Phase, Row, StoreState};

/// Whose line.
type Whose = (FunctionName, OrderKey);

impl StoreState {
    /// A task has become ready: with an order key it goes to the end of its line, unless it has its place there.
    pub(super) fn join(&mut self, id: TaskId) {
        let Some(whose) = self.whose(id) else { return };
        let last = self.line(&whose).filter_map(|row| row.place).max().unwrap_or(LET_IN).max(LET_IN);
        let Some(row) = self.tasks.get_mut(&id) else { return };
        if row.phase == Phase::Ready && row.place.is_none() {
            (row.phase, row.place, row.record.waits_for_order) = (Phase::Behind, Some(last + 1), true);
            self.let_in(&whose);
        }
    }

    /// A task was claimed.
    pub(super) fn begin(&mut self, id: TaskId) {
        let Some(whose) = self.whose(id) else { return };
        let Some(row) = self.tasks.get_mut(&id) else { return };
        row.place = Some(BEGUN);
        if row.order.as_ref().is_some_and(|order| order.at_once > 1) {
            self.let_in(&whose);
        }
    }

    /// A task has ended.
    pub(super) fn leave(&mut self, id: TaskId) {
        let Some(whose) = self.whose(id) else { return };
        let Some(row) = self.tasks.get_mut(&id) else { return };
        (row.place, row.record.waits_for_order) = (None, false);
        self.let_in(&whose);
    }

    /// Lets in who is next, when it may.
    fn let_in(&mut self, whose: &Whose) {
        loop {
            let waiting = self.line(whose).filter(|row| row.place > Some(LET_IN));
            let Some(next) = waiting.min_by_key(|row| row.place) else { return };
            let (id, at_once) = (next.record.id, next.order.as_ref().map_or(1, |order| order.at_once));
            let inside = || self.line(whose).filter_map(|row| row.place).filter(|place| *place <= LET_IN);
            let is_full = inside().count() >= at_once as usize || inside().any(|place| place == LET_IN);
            if is_full && self.guards.has(Guard::OneOfAKey) {
                return;
            }
            let next = self.tasks.get_mut(&id).expect("it was found there");
            (next.phase, next.place, next.record.waits_for_order) = (Phase::Ready, Some(LET_IN), false);
        }
    }

    fn whose(&self, id: TaskId) -> Option<Whose> {
        let row = self.tasks.get(&id)?;
        Some((row.record.function.clone(), row.order.as_ref()?.key.clone()))
    }

    fn line<'s>(&'s self, (function, key): &'s Whose) -> impl Iterator<Item = &'s Row> {
        let rows = self.tasks.values().filter(|row| row.place.is_some());
        rows.filter(move |row| row.record.function == *function && row.record.order_key.as_ref() == Some(key))
    }
}
