//! What a node is told of a change while the simulated Redis loses its replica, its master, or both.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::Env;
use beatmesh_node::catalogue::entry::ScheduleEntry;
use beatmesh_node::config::Durability;
use beatmesh_node::queue::redis::{RedisQueue, RedisSettings};
use beatmesh_node::queue::task::{NewTask, TaskId};
use beatmesh_node::queue::{StoreError, TaskQueue};
use beatmesh_simulations::history::History;
use beatmesh_simulations::world::Failures;
use beatmesh_simulations::world::clock::{SimClock, WallClock};
use beatmesh_simulations::world::entropy::SimEntropy;
use beatmesh_simulations::world::files::Disk;
use beatmesh_simulations::world::gate::Gate;
use beatmesh_simulations::world::network::SimNetwork;
use beatmesh_simulations::world::redis::hosts::{MASTER, RedisHosts, SENTINEL_PORT};
use beatmesh_simulations::world::spawner::SimSpawner;
use beatmesh_simulations::world::store::guards::Guards;
use beatmesh_simulations::world::weather::Weather;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn env(failures: &Failures) -> Env {
    let spawner = Arc::new(SimSpawner::new("node", failures.clone(), Gate::default()));
    let (weather, history) = (Weather::default(), History::default());
    let (host, dice) = (turmoil::lookup("node"), StdRng::seed_from_u64(1));
    Env {
        clock: Arc::new(SimClock::new(Arc::new(WallClock::new(0)))),
        entropy: Arc::new(SimEntropy::new(1, 0, 1)),
        network: Arc::new(SimNetwork::new(0, host, weather, Gate::default(), dice, history)),
        files: Arc::new(Disk::default()),
        spawner: spawner.clone(),
        mesh_spawner: spawner,
    }
}

fn task(key: &str) -> NewTask {
    let function = "f".parse().expect("a name");
    NewTask::new(TaskId::of_key(&function, key.as_bytes()), function)
}

/// Tells a story to a node whose queue is in a Redis with a replica and a sentinel.
fn tell<F>(durability: Durability, story: impl FnOnce(RedisQueue, Arc<RedisHosts>) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let mut sim = turmoil::Builder::new().simulation_duration(Duration::from_secs(60)).rng_seed(1).build();
    let (failures, history, dice) = (Failures::default(), History::default(), StdRng::seed_from_u64(1));
    let names = ["redis-0", "redis-1"].map(ToOwned::to_owned).to_vec();
    let redis = RedisHosts::new(names, "m", history, failures.clone(), Guards::default(), dice);
    let redis = Arc::new(redis);
    for (number, name) in redis.names().iter().enumerate() {
        let redis = redis.clone();
        sim.host(name.as_str(), move || redis.clone().serve(number));
    }
    let sentinel = redis.clone();
    sim.host("sentinel", move || sentinel.clone().serve_sentinel());
    let told = failures.clone();
    sim.client("node", async move {
        // turmoil knows the host's time only inside its first step.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let settings = RedisSettings {
            url: format!("redis+sentinel://{}:{SENTINEL_PORT}/{MASTER}", turmoil::lookup("sentinel"))
                .parse()?,
            mesh: "m".to_owned(),
            store_id: "s".to_owned(),
            durability,
            replicas: 1,
            keep_tasks: Duration::from_secs(60),
            max_kept_tasks: u32::MAX,
            keep_ticks: Duration::from_secs(60),
        };
        let queue = RedisQueue::open(&env(&told), settings).await?;
        story(queue, redis).await;
        Ok(())
    });
    sim.run().expect("the story ends");
    assert_eq!(failures.all(), Vec::<String>::new());
}

fn now() -> Duration {
    turmoil::sim_elapsed().expect("this is a host's software")
}

/// Enqueues again until that is acknowledged, as callers do; a new master is looked for meanwhile.
async fn enqueue_at_last(queue: &RedisQueue, key: &str) {
    let trying = async {
        while queue.enqueue(vec![task(key)]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), trying).await.expect("the new master takes it");
}

#[test]
fn what_no_replica_has_is_unknown_and_a_later_failover_loses_nothing_that_was_acknowledged() {
    tell(Durability::Replicated, |queue, redis| async move {
        queue.enqueue(vec![task("replicated")]).await.expect("the replica has it");
        redis.cut_link(now());
        let alone = queue.enqueue(vec![task("alone")]).await;
        assert!(matches!(alone, Err(StoreError::Unknown(_))), "{alone:?}");
        redis.fail_over(now());
        enqueue_at_last(&queue, "after").await;
        for (key, is_there) in [("replicated", true), ("alone", false), ("after", true)] {
            let found = queue.task(task(key).id).await.expect("read");
            assert_eq!(found.is_some(), is_there, "{key}");
        }
    });
}

/// A node that finds the change made already must not say so before a replica has it.
#[test]
fn what_another_caller_still_waits_for_is_not_acknowledged() {
    tell(Durability::Replicated, |queue, redis| async move {
        let schedule = "s".parse().expect("a name");
        let definition = serde_json::json!({"cron": "* * * * *", "function": "f"});
        let definition = serde_json::from_value(definition).expect("a schedule");
        let (revision, definition) = (7, Arc::new(definition));
        let entry = ScheduleEntry {
            name: "s".parse().expect("a name"),
            revision,
            times_revision: revision,
            paused_until: None,
            enabled: true,
            definition,
        };
        redis.cut_link(now());
        for what in ["made", "found made"] {
            let told = queue.fence(&schedule, revision, Some(&entry)).await;
            assert!(matches!(told, Err(StoreError::Unknown(_))), "{what}: {told:?}");
            let told = queue.enqueue(vec![task("twice")]).await;
            assert!(matches!(told, Err(StoreError::Unknown(_))), "{what}: {told:?}");
        }
    });
}

#[test]
fn with_fast_durability_a_failover_loses_what_the_replica_had_not_heard_of() {
    tell(Durability::Fast, |queue, redis| async move {
        redis.cut_link(now());
        queue.enqueue(vec![task("fast")]).await.expect("nobody asks the replica");
        redis.fail_over(now());
        enqueue_at_last(&queue, "after").await;
        assert_eq!(queue.task(task("fast").id).await.expect("read"), None);
    });
}

/// The server made the change and then said, in place of a confirmation, that it is no master any more.
#[test]
fn a_change_whose_confirmation_is_an_error_is_unknown_and_not_undone() {
    tell(Durability::Replicated, |queue, redis| async move {
        redis.cut_link(now());
        let failing_over = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            redis.fail_over(now());
        };
        let tasks = vec![task("waits")];
        let (told, ()) = tokio::join!(queue.enqueue(tasks), failing_over);
        assert!(matches!(told, Err(StoreError::Unknown(_))), "{told:?}");
    });
}
