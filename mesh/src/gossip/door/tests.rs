#![expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]

use bytes::Bytes;

use super::super::scripted::{self, gossip};
use super::*;

/// There is room for all.
fn admit(message: &[u8], me: (&str, u64)) -> Option<Vec<u8>> {
    super::admit(message, me, &mut Ids::default(), Instant::now()).map(|(admitted, _)| admitted)
}

const ME: (&str, u64) = (scripted::ME, scripted::GENERATION);

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat()
}

fn id((node, generation): (&str, u64)) -> Vec<u8> {
    [&text(node)[..], &generation.to_le_bytes(), &[4, 127, 0, 0, 1], &1_u16.to_le_bytes()].concat()
}

fn node(node: (&str, u64)) -> Vec<u8> {
    [&[0][..], &id(node), &[0; 16]].concat()
}

fn fact(key: &str, value: &str, version: u64) -> Vec<u8> {
    [&[1][..], &text(key), &text(value), &version.to_le_bytes(), &[0]].concat()
}

fn version(version: u64) -> Vec<u8> {
    [&[2][..], &version.to_le_bytes()].concat()
}

fn begin(kind: u8) -> Vec<u8> {
    [&45_139_u16.to_le_bytes()[..], &[0, kind]].concat()
}

fn ack(operations: &[Vec<u8>]) -> Vec<u8> {
    let block = operations.concat();
    [&begin(ACK)[..], &[PLAIN], &u16::try_from(block.len()).unwrap().to_le_bytes(), &block, &[END]].concat()
}

/// Makes `node` known.
fn syn(node: (&str, u64), heartbeat: u64) -> Vec<u8> {
    let numbers = [heartbeat, 0, 0].map(u64::to_le_bytes).concat();
    [&begin(0)[..], &1_u16.to_le_bytes(), &id(node), &numbers, &text("m")].concat()
}

fn parts(message: &[u8]) -> Vec<u8> {
    unfold(&mut &message[HEAD..]).unwrap()
}

#[test]
fn what_others_state_passes_unchanged() {
    let operations = [node(("n", 1)), fact("a", "b", 3), fact("c", "", 4), node(("o", 7)), version(9)];
    let plain = ack(&operations);
    assert_eq!(admit(&plain, ME), Some(plain.clone()));
    let squeezed = zstd::bulk::compress(&operations.concat(), 0).unwrap();
    let length = u16::try_from(squeezed.len()).unwrap().to_le_bytes();
    let squeezed = [&begin(ACK)[..], &[ZSTD], &length, &squeezed, &[END]].concat();
    assert_eq!(admit(&squeezed, ME), Some(plain));
    for other in [syn(("n", 1), 1), begin(3)] {
        assert_eq!(admit(&other, ME), Some(other));
    }
}

#[test]
fn what_is_about_this_life_and_what_takes_a_version_back_is_left_out() {
    let about_me = [node(ME), fact("ready", "0", u64::MAX), version(u64::MAX)];
    let former = [node((ME.0, ME.1 - 1)), fact("ready", "0", 5)];
    let back = [node(("n", 1)), fact("a", "b", 9), version(8), version(9)];
    let all = [&about_me[..], &former, &back].concat();
    let wanted = [&former[..], &[node(("n", 1)), fact("a", "b", 9), version(9)]].concat();
    assert_eq!(parts(&admit(&ack(&all), ME).unwrap()), wanted.concat());
}

#[test]
fn nothing_unfolds_to_more_than_there_can_be() {
    let block = zstd::bulk::compress(&[2; 65_535], 0).unwrap();
    let block = [&[ZSTD][..], &u16::try_from(block.len()).unwrap().to_le_bytes(), &block].concat();
    let message = [&begin(ACK)[..], &block.repeat(1_000), &[END]].concat();
    assert!(message.len() < 66 * 1024, "a peer can send it");
    assert_eq!(admit(&message, ME), None);
}

#[tokio::test(start_paused = true)]
async fn gossip_outlives_a_peer_that_takes_a_version_back() {
    let back = ack(&[node(("n", 1)), fact("a", "b", 9), version(8)]);
    gossip(vec![syn(("n", 1), 1).into(), back.into()]).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_cannot_speak_for_this_node() {
    let forged = ack(&[node(ME), fact("ready", "0", u64::MAX)]);
    gossip(vec![forged.into()]).await;
}

fn digest(ids: &[(&str, u64)], numbers: [u64; 3]) -> Vec<u8> {
    let numbers = numbers.map(u64::to_le_bytes).concat();
    let entries = ids.iter().flat_map(|of| [id(*of), numbers.clone()].concat());
    u16::try_from(ids.len()).unwrap().to_le_bytes().into_iter().chain(entries).collect()
}

fn syn_of(ids: &[(&str, u64)], numbers: [u64; 3]) -> Vec<u8> {
    [&begin(SYN)[..], &digest(ids, numbers), &text("m")].concat()
}

#[test]
fn whoever_has_no_place_is_left_out_with_all_that_is_said_of_it() {
    let (mut ids, now) = (Ids::default(), Instant::now());
    let room = id(("n", 1)).len() + DIGITS;
    let mut fillers = 0_u64;
    while ids.has_room(now, &fillers.to_le_bytes(), room) {
        fillers += 1;
    }
    let later = now + super::super::FORGOTTEN;
    // All but two are forgotten: there is room for so many less two.
    (0..2_u64).for_each(|known| assert!(ids.has_room(later, &known.to_le_bytes(), room)));
    for other in 2..fillers - 1 {
        assert!(ids.has_room(later, &(1_000_000 + other).to_le_bytes(), room));
    }
    let mut admit = |message: &[u8]| super::admit(message, ME, &mut ids, later).unwrap();
    let all = [("n", 1), ("o", 7), ("p", 2)];
    assert_eq!(admit(&syn_of(&all, [1, 0, 0])), (syn_of(&all[..1], [1, 0, 0]), 2));
    let said = |name: &str| [node((name, 1)), fact("a", "b", 3)].concat();
    let answer = |ids: &[(&str, u64)], names: &[&str]| {
        let block = names.iter().map(|name| said(name)).collect::<Vec<_>>().concat();
        let length = u16::try_from(block.len()).unwrap().to_le_bytes();
        [&begin(SYN_ACK)[..], &digest(ids, [2, 0, 0]), &[PLAIN], &length, &block, &[END]].concat()
    };
    assert_eq!(admit(&answer(&all, &["n", "o"])), (answer(&all[..1], &["n"]), 3));
}

#[test]
fn what_leaps_beyond_all_that_could_follow_is_left_out() {
    let (mut ids, now) = (Ids::default(), Instant::now());
    let mut admit = |message: &[u8]| super::admit(message, ME, &mut ids, now).unwrap().0;
    let n = [("n", 1)];
    for (heartbeat, is_in) in [(u64::MAX, false), (1, true), (1 << 40, false), (2, true)] {
        let wanted = syn_of(&n[..usize::from(is_in)], [heartbeat, 0, 0]);
        assert_eq!(admit(&syn_of(&n, [heartbeat, 0, 0])), wanted, "{heartbeat}");
    }
    let made_up = [node(n[0]), fact("a", "b", 3), fact("c", "d", u64::MAX), version(u64::MAX)];
    assert_eq!(parts(&admit(&ack(&made_up))), made_up[..2].concat());
    let collected = [&[0][..], &id(n[0]), &9_u64.to_le_bytes(), &[0; 8]].concat();
    assert_eq!(parts(&admit(&ack(&[collected, fact("a", "b", 4)]))), []);
}

/// What peers say of so many nodes, none of which is there.
async fn gossip_of_invented(name: impl Fn(u64, u64) -> Vec<u8>) {
    let invented = |message: u64| {
        let entries = (0..1_000_u64)
            .flat_map(|n| [name(message, n), [9, 0, 0].map(u64::to_le_bytes).concat()].concat());
        let digest: Vec<_> = 1_000_u16.to_le_bytes().into_iter().chain(entries).collect();
        Bytes::from([&begin(SYN)[..], &digest, &text("m")].concat())
    };
    gossip((0..3).map(invented).collect()).await;
}

#[tokio::test(start_paused = true)]
async fn gossip_outlives_a_peer_that_invents_nodes() {
    gossip_of_invented(|message, n| id((&format!("n{message}-{n}"), 1))).await;
}

#[tokio::test(start_paused = true)]
async fn gossip_outlives_a_peer_that_invents_addresses() {
    gossip_of_invented(|message, n| {
        let port = u16::try_from(message * 1_000 + n).unwrap();
        let mut id = id(("a-node-of-forty-letters-in-all-so-it-counts", 1));
        let at = id.len() - 2;
        id[at..].copy_from_slice(&port.to_le_bytes());
        id
    })
    .await;
}
