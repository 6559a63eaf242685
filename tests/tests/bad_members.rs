//! Members that have the secret and misbehave: what they send is dropped, counted and told of once a minute, the
//! link stays up, and the others do not notice. Who has the secret may say anything about anybody; what is tested
//! here is that it cannot break or fill a node.

use std::net::SocketAddr;
use std::time::Duration;

use beatmesh_mesh::detector::message::{Body, Packet};
use beatmesh_mesh::id::Incarnation;
use beatmesh_mesh::wire::message::{Open, kind};
use beatmesh_mesh::wire::{self, HEADER, probe, to_payload};
use beatmesh_tests::replay::Dice;
use beatmesh_tests::{Guest, Target, until};
use bytes::Bytes;
use serde_json::Value;

/// A message takes a round trip; a busy machine gets a multiple.
const SOON: Duration = Duration::from_secs(5);

/// What QUIC lets one peer have under way (windows of 16 MiB for a connection, 1 MiB for datagrams), and as much
/// again for what is read of it and not done with yet.
const MEMBERS_MEMORY: u64 = 34 << 20;

/// Left open at once.
const CHANNELS: usize = 1_000;

/// A mesh of two with a guest that both know.
async fn with_guest() -> (Target, Guest) {
    let target = Target::start().await.most_memory(MEMBERS_MEMORY);
    let nodes: Vec<SocketAddr> = target.mesh.nodes.iter().map(|node| node.mesh_addr()).collect();
    let guest = Guest::join(&target.secret(), &target.store, "guest", &nodes).await;
    for index in 0..2 {
        let is_alive = |member: &Value| member["liveness"] == "alive";
        until("the guest is a member", SOON, async || seen(&target, index).await, is_alive).await;
    }
    (target, guest)
}

/// The guest as a node shows it; null when it does not.
async fn seen(target: &Target, index: usize) -> Value {
    let view = target.mesh.nodes[index].view().await;
    let members = view["members"].as_array().cloned().unwrap_or_default();
    members.into_iter().find(|member| member["id"] == "guest").unwrap_or_default()
}

/// Waits until both nodes show the guest's zone as this: what was sent before has been read then.
async fn until_zone(target: &Target, zone: &str) {
    for index in 0..2 {
        let shown = async || seen(target, index).await["zone"].clone();
        until("the facts are shown", SOON, shown, |shown| shown == zone).await;
    }
}

/// The guest is still a member, is heard, and leaves.
async fn still_in_and_leaves(target: &Target, guest: Guest, version: u64) {
    assert!(guest.is_in(), "the link is up");
    let generation = guest.hello.generation.0;
    guest.state(generation, version, &[("zone", "last"), ("ready", "0")]).await;
    until_zone(target, "last").await;
    let liveness = seen(target, 0).await["liveness"].clone();
    // Who floods its line hears a ping late.
    assert!(liveness == "alive" || liveness == "suspect", "{liveness}");
    guest.leave().await;
    for index in 0..2 {
        let has_left = |member: &Value| member["liveness"] == "left";
        until("the guest has left", SOON, async || seen(target, index).await, has_left).await;
    }
}

/// A member's messages of which each is one that cannot be read.
async fn assert_dropped(messages: impl Fn(&Guest) -> Vec<Bytes>) {
    let (mut target, guest) = with_guest().await;
    let messages = messages(&guest);
    let count = messages.len() as u64;
    // On a stream of its own each arrives, so all are counted.
    for message in &messages {
        guest.send_raw(message).await;
    }
    still_in_and_leaves(&target, guest, 9).await;
    target.assert_refused(&[("message", count)]).await;
    println!("{count} messages: {}", target.told(0)[0]);
}

#[tokio::test]
async fn noise_from_a_member_is_dropped_and_counted() {
    assert_dropped(|_| {
        let mut dice = Dice::of(11);
        let noise = (0..200).map(|_| {
            let length = 1 + dice.below(3_000);
            dice.bytes(length).into()
        });
        noise.collect()
    })
    .await;
}

#[tokio::test]
async fn frames_of_a_member_that_are_cut_or_say_that_they_are_huge_are_dropped_and_counted() {
    assert_dropped(|guest| {
        let facts = wire::encode(kind::FACTS, &to_payload(&guest.hello.facts));
        let mut all: Vec<Bytes> = (0..facts.len()).map(|cut| facts.slice(..cut)).collect();
        for size in [66 * 1024 + 1, 1 << 30, u32::MAX as usize] {
            all.push([&wire::header(kind::GOSSIP, size)[..], b"a little"].concat().into());
        }
        all
    })
    .await;
}

#[tokio::test]
async fn messages_of_known_kinds_that_hold_something_else_are_dropped_and_counted() {
    assert_dropped(|_| {
        let mut dice = Dice::of(5);
        let kinds = [kind::FACTS, kind::PROBE, kind::GOODBYE];
        // A generation is a number of at most nine bytes; 0xff begins none.
        kinds.iter().map(|kind| wire::encode(*kind, &[&[0xff][..], &dice.bytes(200)].concat())).collect()
    })
    .await;
}

/// Asserts that messages were refused, however many, nothing else was, and one line tells of it.
async fn assert_only_messages_refused(target: &mut Target) {
    let refused = target.refusals(0).await;
    println!("{refused:?}: {:?}", target.told(0));
    assert_eq!(refused.keys().collect::<Vec<_>>(), ["message"], "{refused:?}");
    assert_eq!(target.told(0).len(), 1, "{:?}", target.told(0));
    target.assert_unharmed().await;
}

#[tokio::test]
async fn gossip_that_is_noise_or_cut_short_stops_nobodys_gossip() {
    let (mut target, guest) = with_guest().await;
    let is_gossip = |frame: &Bytes| frame[3] == kind::GOSSIP;
    let heard = async || guest.heard().into_iter().filter(is_gossip).collect::<Vec<_>>();
    let real = until("the nodes gossip", SOON, heard, |heard| heard.len() >= 2).await;
    let mut dice = Dice::of(17);
    for frame in &real[..2] {
        for cut in 0..frame.len() - HEADER {
            guest.send(kind::GOSSIP, &frame[HEADER..HEADER + cut]).await;
        }
    }
    for _ in 0..300 {
        let length = dice.below(1_000);
        guest.send(kind::GOSSIP, &dice.bytes(length)).await;
    }
    still_in_and_leaves(&target, guest, 9).await;
    for node in &target.mesh.nodes {
        assert!(!node.log().contains("gossip has stopped"), "{}", node.name());
    }
    assert_only_messages_refused(&mut target).await;
}

#[tokio::test]
async fn messages_of_a_later_version_are_ignored_and_the_link_stays_up() {
    let (mut target, guest) = with_guest().await;
    for kind in (kind::SIGN_OF_LIFE..=255).chain([0]) {
        guest.send(kind, b"what a later version says").await;
    }
    still_in_and_leaves(&target, guest, 9).await;
    target.assert_refused(&[]).await;
}

#[tokio::test]
async fn facts_over_the_limits_or_of_another_life_are_not_taken_and_unknown_ones_harm_nobody() {
    let (mut target, guest) = with_guest().await;
    let (generation, long) = (guest.hello.generation.0, "x".repeat(4_097));
    let unknown = [("a-key-of-a-later-version", "1"), ("ready", "0"), ("zone", "one"), ("ä key", "{\"\n")];
    guest.state(generation, 2, &unknown).await;
    until_zone(&target, "one").await;

    let names: Vec<String> = (0..65).map(|number| format!("key-{number}")).collect();
    let many: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), "1")).chain([("zone", "bad")]).collect();
    guest.state(generation, 3, &many).await;
    guest.state(generation, 3, &[("zone", &long)]).await;
    guest.state(generation, 3, &[(&long[..65], "1"), ("zone", "bad")]).await;
    guest.state(generation - 1, 3, &[("zone", "bad")]).await;
    guest.state(generation + 1, 3, &[("zone", "bad")]).await;
    guest.state(generation, 1, &[("zone", "bad")]).await;
    // All were read before the last one, and one of them would have been a later version than its.
    for _ in 0..20 {
        assert_eq!(seen(&target, 0).await["zone"], "one");
    }
    still_in_and_leaves(&target, guest, 3).await;
    target.assert_refused(&[("facts", 3)]).await;
}

#[tokio::test]
async fn a_goodbye_of_another_life_ends_nothing() {
    let (mut target, guest) = with_guest().await;
    let generation = guest.hello.generation.0;
    for other in [0, generation - 1, generation + 1, u64::MAX] {
        for _ in 0..3 {
            guest.say_goodbye(other).await;
        }
    }
    still_in_and_leaves(&target, guest, 9).await;
    target.assert_refused(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_half_a_million_datagrams_delays_nobody() {
    let (mut target, guest) = with_guest().await;
    let ack = Packet { incarnation: Incarnation(0), body: Body::Ack { seq: 4 }, rumours: Vec::new() };
    let kinds = [
        wire::encode(kind::NOTICE, b"nothing that is known"),
        wire::encode(kind::GOSSIP, b"no gossip"),
        wire::encode(kind::PROBE, &probe::encode(&ack)),
        wire::encode(99, b"of a later version"),
        Bytes::from_static(b"noise"),
    ];
    target.under(guest.flood((0..500_000).map(|number| kinds[number % kinds.len()].clone()))).await;
    still_in_and_leaves(&target, guest, 9).await;
    let refused = target.refusals(0).await;
    assert!(refused["message"] > 10_000, "two fifths of them are noise, and QUIC may drop some: {refused:?}");
    assert_only_messages_refused(&mut target).await;
}

/// Each is given up after five seconds; a peer may have 64 open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way_streams_that_are_left_open_take_bounded_memory_and_are_given_up() {
    let (mut target, guest) = with_guest().await;
    let link = guest.links[0].clone();
    let attack = async {
        let mut open = Vec::new();
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(6) {
            let opening = tokio::time::timeout(Duration::from_millis(100), link.open_uni());
            if let Ok(stream) = opening.await {
                let mut stream = stream.expect("the link is up");
                let filling = stream.write_all(&[0; 60_000]);
                let _ = tokio::time::timeout(Duration::from_millis(100), filling).await;
                open.push(stream);
            }
        }
        open.len()
    };
    let opened = target.under(attack).await;
    println!("{opened} streams could be left open");
    assert!(
        (64..=2 * 64).contains(&opened),
        "{opened}: as many as may be, and once more after they were given up"
    );
    still_in_and_leaves(&target, guest, 9).await;
    assert_only_messages_refused(&mut target).await;
}

/// Nearly as many channels as one peer may have, which is 1,024: silent ones, some that say that their first frame
/// is huge, some that begin a call and never go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_that_never_go_on_take_bounded_memory_and_are_given_up() {
    let (mut target, guest) = with_guest().await;
    let link = guest.links[0].clone();
    let call = wire::encode(kind::OPEN, &to_payload(&Open { service: 1, header: Vec::new() }));
    let other = wire::encode(kind::OPEN, &to_payload(&Open { service: 999, header: vec![1; 1_000] }));
    let first_words: [&[u8]; 5] =
        [&[0xbe], &wire::header(kind::OPEN, 256 * 1024), &call, &other, b"GET / HTTP/1.1"];
    let attack = async {
        let mut open = Vec::new();
        for number in 0..CHANNELS {
            let mut channel = link.open_bi().await.expect("there is room");
            channel.0.write_all(first_words[number % first_words.len()]).await.expect("the link is up");
            open.push(channel);
        }
        let all = open.len();
        for (_, mut answers) in open {
            // A refusal, a reset or nothing: it ends.
            let _ = tokio::time::timeout(Duration::from_secs(20), answers.read_to_end(100_000))
                .await
                .expect("it ends");
        }
        all
    };
    let opened = target.under(attack).await;
    println!("{opened} channels came to an end");
    still_in_and_leaves(&target, guest, 9).await;
    let refused = target.refusals(0).await;
    assert_eq!(refused["message"], CHANNELS as u64 * 3 / 5, "all but those that began a call: {refused:?}");
    assert_only_messages_refused(&mut target).await;
}
