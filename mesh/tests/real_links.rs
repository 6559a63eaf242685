//! Meshes of several nodes over real QUIC on loopback, in one process.
#![expect(clippy::disallowed_methods, reason = "a test owns its deadlines")]

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::detector::pace::Pace;
use beatmesh_mesh::id::{Generation, ProcessId};
use beatmesh_mesh::identity::Taken;
use beatmesh_mesh::member::Liveness;
use beatmesh_mesh::system::{Ending, OwnThread, SystemSpawner, environment};
use beatmesh_mesh::transport::Inbox;
use beatmesh_mesh::transport::channel::Channel;
use beatmesh_mesh::wire::dialect::Dialect;
use beatmesh_mesh::{JoinError, Mesh, MeshConfig, MeshParts, View};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Echoes every channel, keeps every notice.
struct Echo {
    handle: tokio::runtime::Handle,
    notices: mpsc::UnboundedSender<(String, Bytes)>,
}

impl Inbox for Echo {
    fn on_channel(&self, _: beatmesh_mesh::id::NodeId, service: u16, header: Bytes, mut channel: Channel) {
        self.handle.spawn(async move {
            channel.writer.send(40, &[&service.to_be_bytes()[..], &header].concat()).await.unwrap();
            while let Some(frame) = channel.reader.next().await.unwrap() {
                channel.writer.send(frame.kind, &frame.payload).await.unwrap();
            }
            channel.writer.finish();
        });
    }

    fn on_notice(&self, from: beatmesh_mesh::id::NodeId, notice: Bytes) {
        let _ = self.notices.send((from.to_string(), notice));
    }

    fn on_news(&self, topic: u16, value: u64) {
        let _ = self.notices.send((format!("topic {topic}"), Bytes::from(value.to_string())));
    }
}

struct Node {
    mesh: Mesh,
    notices: mpsc::UnboundedReceiver<(String, Bytes)>,
    _thread: OwnThread,
}

struct Who<'a> {
    name: &'a str,
    generation: u64,
    mesh: &'a str,
    store: &'a str,
    secret: &'a [u8],
    dialect: Dialect,
}

const SECRET: &[u8] = b"sixteen bytes or more";

fn who(name: &str) -> Who<'_> {
    Who { name, generation: 1, mesh: "m", store: "s", secret: SECRET, dialect: Dialect::Own }
}

async fn join(who: Who<'_>, bind: &str) -> Result<Node, JoinError> {
    let thread = OwnThread::start("mesh").unwrap();
    let spawner = |handle| Arc::new(SystemSpawner::new(handle, Ending::default()));
    let env = environment(spawner(tokio::runtime::Handle::current()), spawner(thread.handle()));
    let (sender, notices) = mpsc::unbounded_channel();
    let config = MeshConfig {
        mesh: who.mesh.parse().unwrap(),
        store: who.store.into(),
        node: who.name.parse().unwrap(),
        generation: Generation(who.generation),
        bind: bind.parse().unwrap(),
        advertise: None,
        secret: who.secret.to_vec().into(),
        facts: [("ready".to_owned(), "1".to_owned())].into(),
        pace: Pace::LAN,
        parts: MeshParts { dialect: who.dialect, ..MeshParts::default() },
    };
    let echo = Echo { handle: tokio::runtime::Handle::current(), notices: sender };
    let mesh = Mesh::join(&env, config, Arc::new(echo)).await?;
    Ok(Node { mesh, notices, _thread: thread })
}

/// Waits until the node's view is as wanted, at most ten seconds.
async fn see(node: &Node, what: &str, wanted: impl Fn(&View) -> bool) {
    let mut views = node.mesh.watch();
    let waiting = async {
        while !wanted(&views.borrow_and_update()) {
            views.changed().await.unwrap();
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok();
    assert!(in_time, "{what}: {:#?}", node.mesh.view());
}

fn liveness(view: &View, name: &str) -> Option<Liveness> {
    view.members.get(&name.parse().unwrap()).map(|member| member.liveness)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_meet_through_one_seed_and_agree_on_the_ring() {
    let a = join(who("a"), "127.0.0.1:0").await.unwrap();
    let b = join(who("b"), "127.0.0.1:0").await.unwrap();
    let c = join(who("c"), "127.0.0.1:0").await.unwrap();
    b.mesh.introduce(a.mesh.advertise());
    c.mesh.introduce(a.mesh.advertise());
    for node in [&a, &b, &c] {
        see(node, "all three alive", |view| view.alive().count() == 3 && view.ring.members().len() == 3)
            .await;
    }
    let prints: Vec<_> = [&a, &b, &c].iter().map(|node| node.mesh.view().ring.fingerprint()).collect();
    assert!(prints.iter().all(|print| *print == prints[0]));

    // Facts travel, also to who is not linked with the one who states them.
    b.mesh.set_facts([("ready", "0".to_owned())]).await;
    for node in [&a, &c] {
        see(node, "b is not ready", |view| view.ring.members().len() == 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_carries_frames_both_ways_and_notices_arrive() {
    let a = join(who("a"), "127.0.0.1:0").await.unwrap();
    let mut b = join(who("b"), "127.0.0.1:0").await.unwrap();
    a.mesh.introduce(b.mesh.advertise());
    see(&a, "b alive", |view| liveness(view, "b") == Some(Liveness::Alive)).await;
    let b_id = "b".parse().unwrap();

    let mut channel = a.mesh.open(&b_id, 7, b"header").await.unwrap();
    assert_eq!(&channel.reader.next().await.unwrap().unwrap().payload[..], b"\0\x07header");
    let body = Bytes::from(vec![9_u8; 3_000_000]);
    let (mut writer, mut reader) = (channel.writer, channel.reader);
    let sent = body.clone();
    let sending = tokio::spawn(async move {
        writer.send_body(41, &sent).await.unwrap();
        writer.finish();
        writer
    });
    let mut received = Vec::new();
    while let Some(frame) = reader.next().await.unwrap() {
        assert_eq!(frame.kind, 41);
        received.extend_from_slice(&frame.payload);
    }
    sending.await.unwrap();
    assert_eq!(received, body);

    a.mesh.notify(&b_id, b"short");
    let big = vec![1_u8; 20_000];
    a.mesh.notify_all(&big);
    let deadline = Duration::from_secs(5);
    let first = tokio::time::timeout(deadline, b.notices.recv()).await.unwrap().unwrap();
    let second = tokio::time::timeout(deadline, b.notices.recv()).await.unwrap().unwrap();
    assert_eq!((first.0.as_str(), &first.1[..]), ("a", &b"short"[..]));
    assert_eq!(second.1.len(), big.len());
    assert!(a.mesh.open(&"nobody".parse().unwrap(), 7, b"").await.is_err());
}

/// A link has places for few channels at first.
#[tokio::test(flavor = "multi_thread")]
async fn many_channels_at_once_have_room_on_one_link() {
    let a = join(who("a"), "127.0.0.1:0").await.unwrap();
    let b = join(who("b"), "127.0.0.1:0").await.unwrap();
    b.mesh.introduce(a.mesh.advertise());
    see(&b, "a alive", |view| liveness(view, "a") == Some(Liveness::Alive)).await;
    let to = "a".parse().unwrap();
    let opening = (0..1_000).map(|_| b.mesh.open(&to, 1, b""));
    let all = tokio::time::timeout(Duration::from_secs(20), futures_util::future::try_join_all(opening));
    let mut all = all.await.expect("all are open at the same time").unwrap();
    for channel in &mut all {
        assert_eq!(channel.reader.next().await.unwrap().unwrap().kind, 40);
    }
    assert!(a.mesh.counters().links <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_is_known_to_have_left_and_comes_back_in_its_next_life() {
    let a = join(who("a"), "127.0.0.1:0").await.unwrap();
    let b = join(who("b"), "127.0.0.1:0").await.unwrap();
    let addr = b.mesh.advertise().to_string();
    a.mesh.introduce(b.mesh.advertise());
    see(&a, "b alive", |view| liveness(view, "b") == Some(Liveness::Alive)).await;
    b.mesh.leave(Duration::from_secs(1)).await;
    see(&a, "b left", |view| liveness(view, "b") == Some(Liveness::Left)).await;
    drop(b);
    let b = join(Who { generation: 2, ..who("b") }, &addr).await.unwrap();
    let until_unlinked = async {
        while a.mesh.counters().links > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        a.mesh.counters().udp
    };
    let past = tokio::time::timeout(Duration::from_secs(5), until_unlinked).await.unwrap();
    assert!(past.bytes_in > past.datagrams_in && past.bytes_out > past.datagrams_out, "{past:?}");
    b.mesh.introduce(a.mesh.advertise());
    see(&a, "b alive again", |view| liveness(view, "b") == Some(Liveness::Alive)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_are_stated_at_the_same_time_do_not_undo_each_other() {
    let a = Arc::new(join(who("a"), "127.0.0.1:0").await.unwrap());
    let stating: Vec<_> = (0..30)
        .map(|number| {
            let a = a.clone();
            tokio::spawn(async move { a.mesh.set_facts([(&*format!("key-{number}"), "1".to_owned())]).await })
        })
        .collect();
    for stated in stating {
        stated.await.unwrap();
    }
    let has_all = |view: &View| {
        let has = |number| view.myself().facts.get(&format!("key-{number}")) == Some("1");
        (0..30).all(has) && view.myself().facts.is_ready()
    };
    see(&a, "all facts", has_all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_and_never_become_members() {
    let a = join(who("a"), "127.0.0.1:0").await.unwrap();
    let friend = join(who("friend"), "127.0.0.1:0").await.unwrap();
    let strangers = [
        join(Who { secret: b"another secret of enough bytes", ..who("b") }, "127.0.0.1:0").await.unwrap(),
        join(Who { mesh: "other", ..who("c") }, "127.0.0.1:0").await.unwrap(),
        join(Who { store: "other", ..who("d") }, "127.0.0.1:0").await.unwrap(),
        join(Who { dialect: Dialect::Foreign, ..who("e") }, "127.0.0.1:0").await.unwrap(),
    ];
    for stranger in &strangers {
        // Each dials the other, and each dial is decided when this returns. Nobody has another's identity.
        assert!(!stranger.mesh.challenge(a.mesh.advertise()).await);
        assert!(!a.mesh.challenge(stranger.mesh.advertise()).await);
    }
    // What the dials told the rosters was told before the friend came.
    friend.mesh.introduce(a.mesh.advertise());
    see(&a, "the friend alive", |view| liveness(view, "friend") == Some(Liveness::Alive)).await;
    for name in ["b", "c", "d", "e"] {
        assert_eq!(liveness(&a.mesh.view(), name), None, "{name} was admitted");
    }
    let refusals = a.mesh.counters().refusals;
    for (topic, count) in refusals {
        let is_met = ["handshake", "version", "mesh", "store"].contains(&topic);
        assert_eq!(count > 0, is_met, "{topic}: {count}");
    }
    for stranger in &strangers {
        assert_eq!(stranger.mesh.view().members.len(), 1, "a stranger sees a member");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_the_same_id_finds_out() {
    let old = join(who("a"), "127.0.0.1:0").await.unwrap();
    let clone = join(Who { generation: 2, ..who("a") }, "127.0.0.1:0").await.unwrap();
    assert!(clone.mesh.challenge(old.mesh.advertise()).await);
    let found = tokio::time::timeout(Duration::from_secs(5), clone.mesh.identity_taken()).await;
    assert_eq!(found, Ok(Taken::Elsewhere), "the clone did not learn that its id is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_next_generation_is_in_the_mesh_finds_out() {
    let a = join(who("a"), "127.0.0.1:0").await.unwrap();
    let new = join(Who { generation: 2, ..who("b") }, "127.0.0.1:0").await.unwrap();
    new.mesh.introduce(a.mesh.advertise());
    see(&a, "b alive", |view| liveness(view, "b") == Some(Liveness::Alive)).await;
    let old = join(who("b"), "127.0.0.1:0").await.unwrap();
    old.mesh.introduce(a.mesh.advertise());
    let found = tokio::time::timeout(Duration::from_secs(5), old.mesh.identity_taken()).await;
    assert_eq!(found, Ok(Taken::Outdated { later: Generation(2) }));
    assert_eq!(a.mesh.view().members[&"b".parse().unwrap()].generation, Generation(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_twin_is_linked_with_a_member_finds_out() {
    let a = join(who("a"), "127.0.0.1:0").await.unwrap();
    let b = join(who("b"), "127.0.0.1:0").await.unwrap();
    b.mesh.introduce(a.mesh.advertise());
    see(&a, "b alive", |view| liveness(view, "b") == Some(Liveness::Alive)).await;
    let addr = a.mesh.view().members[&"b".parse().unwrap()].addr;
    let twin = join(who("b"), "127.0.0.1:0").await.unwrap();
    twin.mesh.introduce(a.mesh.advertise());
    let process = |node: &Node| node.mesh.view().myself().process.unwrap();
    let b_stays = process(&b).0 > process(&twin).0;
    let (stays, goes) = if b_stays { (&b, &twin) } else { (&twin, &b) };
    if !b_stays {
        see(&a, "the one that stays", |view| is_process(view, "b", process(stays))).await;
        // It finds out when it looks for the member again.
        b.mesh.introduce(a.mesh.advertise());
    }
    let found = tokio::time::timeout(Duration::from_secs(10), goes.mesh.identity_taken()).await;
    assert_eq!(found, Ok(Taken::Twin { process: process(stays) }));
    // The other one stays, also when it dials the one that goes, and when that one leaves.
    stays.mesh.introduce(goes.mesh.advertise());
    goes.mesh.leave(Duration::from_secs(1)).await;
    let found = tokio::time::timeout(Duration::from_secs(1), stays.mesh.identity_taken()).await;
    assert!(found.is_err(), "it ended for its twin");
    see(&a, "the one that stays, alive", |view| {
        is_process(view, "b", process(stays)) && liveness(view, "b") == Some(Liveness::Alive)
    })
    .await;
    let addr = if b_stays { addr } else { twin.mesh.advertise() };
    assert_eq!(a.mesh.view().members[&"b".parse().unwrap()].addr, addr);
}

fn is_process(view: &View, name: &str, process: ProcessId) -> bool {
    view.members.get(&name.parse().unwrap()).is_some_and(|member| member.process == Some(process))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_begins_its_last_generation_again_is_the_member_and_its_facts_count() {
    let a = join(who("a"), "127.0.0.1:0").await.unwrap();
    let b = join(who("b"), "127.0.0.1:0").await.unwrap();
    b.mesh.introduce(a.mesh.advertise());
    see(&a, "b alive", |view| liveness(view, "b") == Some(Liveness::Alive)).await;
    for number in 0..20 {
        b.mesh.set_facts([("life", format!("first {number}"))]).await;
    }
    let life = |view: &View| view.members[&"b".parse().unwrap()].facts.get("life").map(str::to_owned);
    see(&a, "its facts", |view| life(view).as_deref() == Some("first 19")).await;

    let addr = b.mesh.advertise().to_string();
    drop(b);
    let b = join(who("b"), &addr).await.unwrap();
    b.mesh.introduce(a.mesh.advertise());
    let process = b.mesh.view().myself().process.unwrap();
    see(&a, "the process of now", |view| {
        is_process(view, "b", process) && liveness(view, "b") == Some(Liveness::Alive)
    })
    .await;
    b.mesh.set_facts([("life", "second".to_owned())]).await;
    see(&a, "the facts of now", |view| life(view).as_deref() == Some("second")).await;
    let found = tokio::time::timeout(Duration::from_secs(1), b.mesh.identity_taken()).await;
    assert!(found.is_err(), "it ended for a process that is dead: {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_version_says_is_read_as_far_as_it_is_known() {
    let mut a = join(who("a"), "127.0.0.1:0").await.unwrap();
    let later = join(Who { dialect: Dialect::Later, ..who("b") }, "127.0.0.1:0").await.unwrap();
    later.mesh.introduce(a.mesh.advertise());
    see(&a, "b alive", |view| liveness(view, "b") == Some(Liveness::Alive)).await;
    later.mesh.set_facts([("new", "1".to_owned())]).await;
    let has_fact = |view: &View| view.members[&"b".parse().unwrap()].facts.get("new") == Some("1");
    see(&a, "a fact that nobody knows", has_fact).await;
    later.mesh.spread(40_000, 7).await;
    let news = tokio::time::timeout(Duration::from_secs(5), a.notices.recv()).await.unwrap();
    assert_eq!(news, Some(("topic 40000".to_owned(), Bytes::from("7"))));
    assert!(a.mesh.counters().refusals.iter().all(|(_, count)| *count == 0), "nothing was dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_secret_and_a_taken_port_are_refused_with_the_reason() {
    let short = join(Who { secret: b"short", ..who("a") }, "127.0.0.1:0").await;
    assert!(short.err().unwrap().to_string().contains("5 bytes"));
    let a = join(who("a"), "127.0.0.1:0").await.unwrap();
    let addr = a.mesh.advertise().to_string();
    let taken = join(who("b"), &addr).await.err().unwrap().to_string();
    assert!(taken.contains(&addr), "{taken}");
}
