//! What stands in the tables may come from a repair by hand, another version or a broken disk: numbers at
//! their ends are answered or refused, and nothing falls over.

use std::time::Duration;

use beatmesh_mesh::id::Generation;
use beatmesh_mesh::seeds::SeedList;
use beatmesh_node::queue::order::Order;
use beatmesh_node::queue::task::{Completion, NewTask, TaskOutcome, TaskState};
use beatmesh_node::queue::{Claimant, StoreError, TaskFilter, TaskQueue};
use beatmesh_node::store::{CatalogueStore, EditError};

use crate::scratch::{Scratch, open, run, stranger, task};

#[tokio::test]
async fn a_task_that_has_lost_as_many_workers_as_can_be_counted_is_dead() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let task = task();
    store.enqueue(vec![task.clone()]).await.expect("enqueued");
    let mut other = stranger(&scratch.0).await;
    run(&mut other, "UPDATE tasks SET phase = 2, wake_at = 0, lost_leases = 4294967295").await;
    let swept = store.sweep(5).await.expect("swept");
    assert_eq!(swept.dead, [task.id]);
    store.close().await;
}

#[tokio::test]
async fn a_task_of_an_urgency_beyond_all_priorities_can_be_read() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let task = task();
    store.enqueue(vec![task.clone()]).await.expect("enqueued");
    let mut other = stranger(&scratch.0).await;
    run(&mut other, "UPDATE tasks SET urgency = -9223372036854775807 - 1").await;
    let record = store.task(task.id).await.expect("read").expect("there");
    assert_eq!(record.priority, 0);
    store.close().await;
}

#[tokio::test]
async fn rows_of_nodes_from_yesterday_and_from_the_future_are_forgotten() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let (here, addr) = ("here".parse().expect("a name"), ([127, 0, 0, 1], 1).into());
    store.announce(&here, Generation(1), addr).await.expect("announced");
    let mut other = stranger(&scratch.0).await;
    for (name, seen) in
        [("old", "last_seen - 90000000"), ("ahead", "last_seen + 120000"), ("odd", "9223372036854775807")]
    {
        let copy = format!(
            "INSERT INTO nodes SELECT '{name}', generation, addr, {seen} FROM nodes WHERE node = 'here'"
        );
        run(&mut other, &copy).await;
    }
    store.prune().await.expect("pruned");
    let rows = SeedList::read(&*store, 10).await.expect("read");
    assert_eq!(rows.iter().map(|row| row.node.as_str()).collect::<Vec<_>>(), ["here"]);
    store.close().await;
}

#[tokio::test]
async fn a_task_that_cannot_be_read_stops_no_other() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let (strange, plain) = (task(), task());
    store.enqueue(vec![strange.clone(), plain.clone()]).await.expect("enqueued");
    let mut other = stranger(&scratch.0).await;
    let set = "UPDATE tasks SET origin = '{\"kind\":\"of a later version\"}' WHERE id =";
    run(&mut other, &format!("{set} '{}'", strange.id)).await;
    let who = Claimant::new("worker");
    let claimed = store.claim(&who, 8, Duration::from_secs(10)).await.expect("claimed");
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [plain.id]);
    let listed = store.tasks(&TaskFilter { limit: 10, ..TaskFilter::default() }).await.expect("listed");
    assert_eq!(listed.iter().map(|task| task.id).collect::<Vec<_>>(), [plain.id]);
    store.close().await;
}

#[tokio::test]
async fn a_line_in_which_all_wait_for_nobody_is_let_go_on_by_a_sweep() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let order = Order::new("k".parse().expect("a key"), 1);
    let tasks = [(); 3].map(|()| NewTask { order: Some(order.clone()), ..task() });
    store.enqueue(tasks.to_vec()).await.expect("enqueued");
    let mut other = stranger(&scratch.0).await;
    run(&mut other, &format!("DELETE FROM tasks WHERE id = '{}'", tasks[0].id)).await;
    let who = Claimant::new("worker");
    let claim = async || store.claim(&who, 8, Duration::from_secs(10)).await.expect("claimed");
    assert_eq!(claim().await, []);
    store.sweep(5).await.expect("swept");
    store.sweep(5).await.expect("swept");
    let claimed = claim().await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [tasks[1].id]);
    // A key that is none stops nobody.
    run(&mut other, &format!("UPDATE tasks SET order_key = '' WHERE id = '{}'", tasks[1].id)).await;
    let plain = task();
    store.enqueue(vec![plain.clone()]).await.expect("enqueued");
    let output = TaskOutcome::Done { output: "".into(), content_type: String::new() };
    let ended = store.complete(tasks[1].id, claimed[0].attempt, output, String::new()).await;
    assert_eq!(ended, Ok(Completion::Recorded(TaskState::Done)));
    store.sweep(5).await.expect("swept");
    store.sweep(5).await.expect("swept");
    let claimed: Vec<_> = claim().await.iter().map(|task| task.id).collect();
    assert_eq!(claimed.len(), 2, "{claimed:?}");
    assert!(claimed.contains(&plain.id) && claimed.contains(&tasks[2].id));
    store.close().await;
}

#[tokio::test]
async fn an_edit_after_the_last_revision_is_refused_with_the_reason() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let noop = serde_json::json!({"runtime": "builtin", "handler": "noop"});
    let noop = serde_json::from_value(noop).expect("a function");
    let name = "f".parse().expect("a name");
    store.put_function(&name, &noop, None).await.expect("stored");
    let mut other = stranger(&scratch.0).await;
    run(&mut other, "UPDATE beatmesh SET value = '18446744073709551615' WHERE name = 'catalogue_revision'")
        .await;
    let refused = store.put_function(&"g".parse().expect("a name"), &noop, None).await;
    match refused {
        Err(EditError::Store(StoreError::Refused(reason))) => {
            assert!(reason.contains("18446744073709551615"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    store.close().await;
}
