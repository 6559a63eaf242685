//! A queue whose master dies, freezes or moves: other callers go on by themselves, and what is lost is what the
//! durability says.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use beatmesh_node::queue::redis::RedisSettings;
use beatmesh_node::queue::task::TaskState;
use beatmesh_node::queue::{StoreError, TaskQueue};
use beatmesh_tests::redis_queue::{
    BACK, PREFIX, TestQueue, assert_not_taken, id, number, replicated, settings,
};
use beatmesh_tests::servers::{Cluster, MASTER, Redis, Sentinels};
use beatmesh_tests::wait::until_so;
use beatmesh_tests::{Signal, until, until_some};

/// A failover, with the long times of a Sentinel and a busy machine.
const FAILED_OVER: Duration = Duration::from_secs(30);

/// A master with replicas, and who watches them.
struct Watched {
    servers: Vec<Redis>,
    sentinels: Sentinels,
}

impl Watched {
    fn start(replicas: usize) -> Self {
        let servers: Vec<Redis> = (0..=replicas).map(|_| Redis::start()).collect();
        for replica in &servers[1..] {
            replica.replica_of(&servers[0]);
        }
        let sentinels = Sentinels::start(3, &servers[0], 2);
        Self { servers, sentinels }
    }

    fn url(&self) -> String {
        self.sentinels.url(MASTER)
    }

    /// The index of the master, once there is another one than this.
    fn another_than(&self, old: usize) -> usize {
        let addr = self.sentinels.wait_for_another(self.servers[old].addr(), FAILED_OVER);
        self.servers.iter().position(|server| server.addr() == addr).expect("it is one of ours")
    }
}

/// Enqueues tasks of rising numbers until it is told to stop; answers the acknowledged ones, those of unknown outcome,
/// and the longest time between two acknowledgements.
struct Producer {
    stop: tokio::sync::oneshot::Sender<()>,
    producing: tokio::task::JoinHandle<Produced>,
}

#[derive(Debug, Default)]
struct Produced {
    acknowledged: BTreeSet<u32>,
    unknown: BTreeSet<u32>,
    longest_gap: Duration,
}

impl Producer {
    async fn start(settings: RedisSettings) -> Self {
        let queue = TestQueue::open(settings).await;
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let producing = tokio::spawn(async move {
            let mut produced = Produced::default();
            let mut last = Instant::now();
            for number in 0.. {
                if stopped.try_recv().is_ok() {
                    break;
                }
                match queue.enqueue(number).await {
                    Ok(()) => {
                        produced.acknowledged.insert(number);
                        produced.longest_gap = produced.longest_gap.max(last.elapsed());
                        last = Instant::now();
                    }
                    Err(StoreError::Unknown(_)) => drop(produced.unknown.insert(number)),
                    Err(StoreError::Unavailable(_)) => {}
                    Err(StoreError::Refused(reason)) => panic!("{reason}"),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            produced
        });
        Self { stop, producing }
    }

    async fn stop(self) -> Produced {
        let _ = self.stop.send(());
        self.producing.await.expect("it does not panic")
    }
}

/// Which of the acknowledged tasks are not there any more. All others are run to their ends, once each.
async fn lost(queue: &TestQueue, produced: &Produced) -> usize {
    let begin = Instant::now();
    let mut done = BTreeSet::new();
    until_some("the queue is empty", BACK, async || {
        let claimed = queue.claim().await.ok()?;
        for claimed in &claimed {
            until_some("an end is recorded", BACK, async || queue.complete(claimed).await.ok()).await;
            assert!(done.insert(number(claimed.id)), "{} came twice", claimed.id);
        }
        claimed.is_empty().then_some(())
    })
    .await;
    let known: BTreeSet<u32> = produced.acknowledged.union(&produced.unknown).copied().collect();
    let strange: Vec<_> = done.difference(&known).collect();
    assert!(
        strange.is_empty(),
        "refused with the word that nothing has changed, and there all the same: {strange:?}"
    );
    let lost = produced.acknowledged.difference(&done).count();
    println!(
        "  {} acknowledged, {} unknown, longest gap {:?}, {} ended in {:?}, lost {lost}",
        produced.acknowledged.len(),
        produced.unknown.len(),
        produced.longest_gap,
        done.len(),
        begin.elapsed(),
    );
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_dies_or_freezes_is_left_for_its_replica_by_callers_that_go_on() {
    for signal in [Signal::Kill, Signal::Stop] {
        println!("{signal:?}");
        let mut watched = Watched::start(1);
        let producer = Producer::start(settings(&watched.url())).await;
        let queue = TestQueue::open(settings(&watched.url())).await;
        until_some("tasks arrive", BACK, async || queue.state(50).await).await;
        // Sentinels that have just begun to watch may set up the replica anew.
        let there = format!("{PREFIX}task:{}", id(50));
        tokio::task::block_in_place(|| {
            until_so("the replica has them", BACK, || watched.servers[1].cli(&["exists", &there]) == "1");
        });
        let begin = Instant::now();
        match signal {
            Signal::Kill => watched.servers[0].kill(),
            other => watched.servers[0].signal(other),
        }
        tokio::task::block_in_place(|| watched.another_than(0));
        let promoted = begin.elapsed();
        // Long after whatever was acknowledged before.
        queue.until_enqueued(900_000).await;
        println!("  another master after {promoted:?}, and tasks taken after {:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut produced = producer.stop().await;
        produced.acknowledged.insert(900_000);
        // Links were up: at most what was on its way to the replica in the last instant.
        assert!(lost(&queue, &produced).await <= 3, "more than what was on its way");
        assert!(produced.longest_gap < FAILED_OVER);
        if signal == Signal::Stop {
            // It believes for a moment that it is the master still; whoever finds it so has nothing from it.
            watched.servers[0].signal(Signal::Continue);
            tokio::task::block_in_place(|| {
                until_so("it obeys", FAILED_OVER, || !watched.servers[0].is_master());
            });
            queue.until_enqueued(900_001).await;
            assert_eq!(queue.work_off(1).await, [900_001]);
        }
    }
}

/// What `fast` may lose and `replicated` does not: the link to the replica is cut before the master dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_while_replication_was_cut_is_lost_by_fast_and_kept_by_replicated() {
    for replicas in [0, 1] {
        let mut watched = Watched::start(1);
        let chosen = |url: &str| if replicas == 0 { settings(url) } else { replicated(url, replicas) };
        println!("{}", chosen(&watched.url()).durability.as_str());
        let producer = Producer::start(chosen(&watched.url())).await;
        let queue = TestQueue::open(settings(&watched.url())).await;
        until_some("tasks arrive", BACK, async || queue.state(50).await).await;
        // It goes on asking, and is never let in again: the replica stays where it is.
        watched.servers[0].config_set("requirepass", "cut");
        let login = ["--no-auth-warning", "-a", "cut"];
        watched.servers[0].cli(&[&login[..], &["client", "kill", "type", "replica"]].concat());
        // This pause is the fault itself.
        tokio::time::sleep(Duration::from_millis(800)).await;
        watched.servers[0].kill();
        tokio::task::block_in_place(|| watched.another_than(0));
        let mut produced = producer.stop().await;
        until_so("a replica may be missing now", BACK, || watched.servers[1].is_master());
        let queue = TestQueue::open(settings(&watched.url())).await;
        queue.until_enqueued(900_000).await;
        produced.acknowledged.insert(900_000);
        let lost = lost(&queue, &produced).await;
        match replicas {
            0 => assert!(lost > 20, "the cut met nothing: {lost}"),
            _ => assert_eq!(lost, 0),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_replica_a_replicated_queue_acknowledges_nothing_and_runs_what_it_has() {
    let (server, mut replica) = (Redis::start(), Redis::start());
    replica.replica_of(&server);
    let queue = TestQueue::open(replicated(&server.url(), 1)).await;
    for number in 1..=3 {
        queue.enqueue(number).await.expect("enqueued");
    }
    replica.signal(Signal::Stop);
    let error = assert_not_taken(queue.enqueue(4).await, "not confirmed as `replicated`");
    assert!(matches!(error, StoreError::Unknown(_)), "it is there, and perhaps not for ever: {error}");
    assert_eq!(queue.state(4).await, Some(TaskState::Ready));
    let claimed = queue.claim().await.expect("claims need no confirmation");
    assert_eq!(claimed.len(), 4);
    assert_not_taken(queue.complete(&claimed[0]).await, "not confirmed");
    replica.kill();
    assert_not_taken(queue.enqueue(5).await, "not confirmed");
    // Also over connections that are made now: they tell the replica's absence at once.
    server.cli(&["client", "kill", "type", "normal"]);
    let look = async || queue.enqueue(6).await;
    let is_said = |answer: &Result<(), StoreError>| {
        answer.as_ref().is_err_and(|error| error.to_string().contains("0 connected replicas"))
    };
    let _ = until("it is said what is missing", BACK, look, is_said).await;
    assert_eq!(queue.state(4).await, Some(TaskState::Leased), "what is there can be read");
    let leases: Vec<_> = claimed.iter().map(|claimed| (claimed.id, claimed.attempt)).collect();
    let lost = queue.0.renew(&leases, Duration::from_secs(60)).await;
    assert_eq!(lost, Ok(vec![claimed[0].id]), "what runs keeps its lease");
    replica.start_again();
    replica.replica_of(&server);
    queue.until_enqueued(6).await;
    // 5 is there as well: to be in doubt means that it may be so.
    for claimed in &claimed[1..] {
        until_some("an end is recorded", BACK, async || queue.complete(claimed).await.ok()).await;
    }
    assert_eq!(queue.work_off(2).await, [5, 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_taken_down_while_it_waits_for_its_replica_leaves_the_outcome_open() {
    let (server, replica, other) = (Redis::start(), Redis::start(), Redis::start());
    replica.replica_of(&server);
    let queue = TestQueue::open(replicated(&server.url(), 1)).await;
    queue.enqueue(1).await.expect("enqueued");
    replica.signal(Signal::Stop);
    let waits = || server.info("blocked_clients").as_deref() == Some("1");
    let take_down = async {
        until("it waits", BACK, async || waits(), |waits| *waits).await;
        server.cli(&["replicaof", "127.0.0.1", &other.port().to_string()]);
    };
    let (answer, ()) = tokio::join!(queue.enqueue(2), take_down);
    // The task is written, and other replicas may have it.
    let error = assert_not_taken(answer, "did not say whether it was done");
    assert!(matches!(error, StoreError::Unknown(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_go_in_and_out_while_their_slot_moves_and_its_master_dies_and_none_is_lost_or_doubled() {
    let mut cluster = tokio::task::block_in_place(Cluster::start);
    let producer = Producer::start(settings(&cluster.url())).await;
    let queue = TestQueue::open(settings(&cluster.url())).await;
    until_some("tasks arrive", BACK, async || queue.state(50).await).await;
    let begin = Instant::now();
    // The new master has no key yet: the old one answers ASK for those that it does not have.
    let from = cluster.owner(PREFIX);
    let to = cluster.masters().into_iter().find(|node| *node != from).expect("there are three");
    let moving = cluster.begin_move(PREFIX, to);
    assert_not_taken(queue.enqueue(900_000).await, "");
    cluster.move_keys(&moving);
    assert_not_taken(queue.enqueue(900_000).await, "");
    tokio::task::block_in_place(|| cluster.finish_move(moving));
    queue.until_enqueued(900_000).await;
    println!("a slot has moved within {:?}", begin.elapsed());
    assert_eq!(cluster.owner(PREFIX), to);
    // Replication is asynchronous: at most what was on its way is lost.
    let begin = Instant::now();
    cluster.nodes[to].kill();
    tokio::task::block_in_place(|| cluster.wait_for_another(to, PREFIX));
    queue.until_enqueued(900_001).await;
    println!("the master has died and tasks are taken after {:?}", begin.elapsed());
    let mut produced = producer.stop().await;
    produced.acknowledged.extend([900_000, 900_001]);
    assert!(lost(&queue, &produced).await <= 3, "more than what was on its way");
}
