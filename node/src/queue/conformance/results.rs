//! What is kept of a task that has ended, and how tasks are listed.

use std::time::Duration;

use super::given::{LONG, done, task};
use super::{FOREVER, Subject};
use crate::queue::TaskFilter;
use crate::queue::task::{NewTask, Origin, TaskId, TaskState};

/// One task is read with its answer; a list would be too heavy with all of them.
pub async fn a_result_is_kept_and_lists_do_without_it(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let id = nodes[0].enqueue(task()).await;
    let attempt = nodes[0].claim_one(LONG).await.attempt;
    nodes[0].queue.complete(id, attempt, done(), "the end of stderr".to_owned()).await.expect("recorded");
    let kept = nodes[1].task(id).await;
    assert_eq!(kept.output.as_deref(), Some(&b"out\0put"[..]));
    assert_eq!((kept.output_type.as_deref(), kept.error.as_ref()), (Some("text/x-output"), None));
    assert_eq!(kept.log_tail.as_deref(), Some("the end of stderr"));
    let (started, finished) = (kept.started_at.expect("begun"), kept.finished_at.expect("ended"));
    assert!(kept.created_at <= started && started <= finished);
    let listed = nodes[2].queue.tasks(&TaskFilter { limit: 8, ..TaskFilter::default() }).await.expect("read");
    let mut expected = kept;
    expected.output = None;
    assert_eq!(listed, [expected], "everything but the answer");
}

/// By state, function, queue and schedule, and all of them at once.
pub async fn lists_are_filtered_limited_and_newest_first(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let mut ids: Vec<TaskId> = Vec::new();
    for n in 0..6_i64 {
        let schedule = "s".parse().expect("a name");
        let due = beatmesh_mesh::env::UnixMs(n);
        let given = NewTask {
            function: if n % 2 == 0 { "even" } else { "odd" }.parse().expect("a name"),
            queue: if n < 3 { "low" } else { "high" }.parse().expect("a name"),
            delay: if n == 5 { LONG } else { Duration::ZERO },
            origin: if n == 4 { Origin::Schedule { schedule, due } } else { Origin::Api },
            ..task()
        };
        ids.push(nodes[0].enqueue(given).await);
        subject.pass(Duration::from_millis(3)).await;
    }
    let all = TaskFilter { limit: 100, ..TaskFilter::default() };
    for (filter, expected) in [
        (all.clone(), vec![5, 4, 3, 2, 1, 0]),
        (TaskFilter { limit: 2, ..all.clone() }, vec![5, 4]),
        (TaskFilter { state: Some(TaskState::Scheduled), ..all.clone() }, vec![5]),
        (TaskFilter { state: Some(TaskState::Done), ..all.clone() }, vec![]),
        (TaskFilter { function: Some("odd".parse().expect("a name")), ..all.clone() }, vec![5, 3, 1]),
        (TaskFilter { queue: Some("low".parse().expect("a name")), ..all.clone() }, vec![2, 1, 0]),
        (TaskFilter { schedule: Some("s".parse().expect("a name")), ..all.clone() }, vec![4]),
        (
            TaskFilter {
                state: Some(TaskState::Ready),
                function: Some("odd".parse().expect("a name")),
                queue: Some("high".parse().expect("a name")),
                ..all.clone()
            },
            vec![3],
        ),
    ] {
        let listed = nodes[1].queue.tasks(&filter).await.expect("read");
        let listed: Vec<_> = listed.into_iter().map(|task| task.id).collect();
        let expected: Vec<_> = expected.into_iter().map(|n: usize| ids[n]).collect();
        assert_eq!(listed, expected, "{filter:?}");
    }
}
