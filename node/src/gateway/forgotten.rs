//! What is said of a task that is not there, as far as its id tells: an id of version 7 holds the time of its making.

use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::Gateway;
use super::reply;
use crate::problem::Problem;
use crate::queue::task::TaskId;
use crate::units::Span;

/// Ids are made by the clocks of nodes. What is further ahead than these can be wrong was made by nobody here.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// How long ended tasks are kept, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// `queue.keep_tasks`.
    pub tasks: Span,
    /// `queue.max_kept_tasks`.
    pub most: u32,
}

impl Gateway {
    /// 404 for a task, with the reason.
    pub(super) fn no_task(&self, id: TaskId) -> Problem {
        self.kept.no_task(id, self.env.clock.wall())
    }
}

impl Kept {
    fn no_task(&self, id: TaskId, now: UnixMs) -> Problem {
        let Self { tasks, most } = self;
        let kept = format!(
            "ended tasks are kept for {tasks} (queue.keep_tasks), and the latest {most} of them (queue.max_kept_tasks)"
        );
        let (reason, what) = match id.made_at() {
            Some(made) if made > now.plus(CLOCKS_DIFFER) => (
                "never_given",
                "its id says that it was made in the future, so this mesh has never given it".to_owned(),
            ),
            Some(made) if made.plus(tasks.0) < now => {
                ("forgotten", format!("made at {}, it has ended and is forgotten: {kept}", reply::time(made)))
            }
            Some(_) => (
                "not_stored",
                format!(
                    "its id is younger than what is kept, so it was never stored, or very many have ended since: {kept}"
                ),
            ),
            None => (
                "not_known",
                format!(
                    "its id is that of a key or of a due time, which does not tell whether there was one: {kept}"
                ),
            ),
        };
        Problem::new(404, "task_not_found", "no such task", format!("there is no task {id}: {what}"))
            .with("reason", reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_told_apart_is_told_apart() {
        let kept = Kept { tasks: "1h".parse().unwrap(), most: 1_000 };
        let now = UnixMs(1_800_000_000_000);
        let of = |age_ms: i64| TaskId::new(UnixMs(now.0 - age_ms), 7);
        let hour = 3_600_000;
        for (id, reason) in [
            (of(hour + 1), "forgotten"),
            (of(hour), "not_stored"),
            (of(0), "not_stored"),
            (of(-60_000), "not_stored"),
            (of(-60_001), "never_given"),
            (TaskId::of_key(&"f".parse().unwrap(), b"k"), "not_known"),
        ] {
            let problem = serde_json::to_value(kept.no_task(id, now)).unwrap();
            assert_eq!(problem["reason"], reason, "{problem}");
            let detail = problem["detail"].as_str().unwrap();
            assert!(reason == "never_given" || detail.contains("kept for 1h"), "{detail}");
        }
    }
}
