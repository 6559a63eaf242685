use bytes::Bytes;

use super::super::scripted::{self, gossip};
use super::*;

/// There is room for all.
fn admit(message: &[u8], me: (&str, u64)) -> Option<Vec<u8>> {
    super::admit(message, me, &mut |_, _, _| true)
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

#[test]
fn whoever_has_no_place_is_left_out_with_all_that_is_said_of_it() {
    let mut rooms = Vec::new();
    let mut only_o = |node: &str, generation, bytes| {
        rooms.push((node.to_owned(), generation, bytes));
        node == "o"
    };
    let numbers = |n: u64| [n, 0, 0].map(u64::to_le_bytes).concat();
    let digest = |ids: &[(&str, u64)]| {
        let entries = ids.iter().flat_map(|of| [id(*of), numbers(of.1)].concat());
        let count = u16::try_from(ids.len()).unwrap().to_le_bytes();
        count.into_iter().chain(entries).collect::<Vec<_>>()
    };
    let all = [("n", 1), ("o", 7), ("p", 2)];
    let syn = |ids: &[(&str, u64)]| [&begin(SYN)[..], &digest(ids), &text("m")].concat();
    assert_eq!(super::admit(&syn(&all), ME, &mut only_o), Some(syn(&all[1..2])));
    assert_eq!(rooms[0], ("n".to_owned(), 1, id(("n", 1)).len() + DIGITS));
    let operations = |n: &[&str]| {
        n.iter().flat_map(|name| [node((name, 7)), fact("a", "b", 3)]).collect::<Vec<_>>().concat()
    };
    let answer = |ids: &[(&str, u64)], names: &[&str]| {
        let block = operations(names);
        let length = u16::try_from(block.len()).unwrap().to_le_bytes();
        [&begin(SYN_ACK)[..], &digest(ids), &[PLAIN], &length, &block, &[END]].concat()
    };
    let mut only_o = |node: &str, _, _| node == "o";
    let admitted = super::admit(&answer(&all, &["n", "o"]), ME, &mut only_o);
    assert_eq!(admitted, Some(answer(&all[1..2], &["o"])));
}

#[tokio::test(start_paused = true)]
async fn gossip_outlives_a_peer_that_invents_nodes() {
    let invented = |message: u64| {
        let entries = (0..1_000_u64).flat_map(|n| {
            let name = format!("n{message}-{n}");
            [id((&name, 1)), [9, 0, 0].map(u64::to_le_bytes).concat()].concat()
        });
        let digest: Vec<_> = 1_000_u16.to_le_bytes().into_iter().chain(entries).collect();
        Bytes::from([&begin(SYN)[..], &digest, &text("m")].concat())
    };
    gossip((0..3).map(invented).collect()).await;
}
