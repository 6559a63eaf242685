//! Strangers with good papers whose first words are none, too few, too many, of another version or nonsense:
//! refused, counted under their topic, told of once, and they learn why.

use std::time::Duration;

use beatmesh_mesh::wire::message::{Hello, Refusal, kind};
use beatmesh_mesh::wire::{self, HEADER, from_payload, to_payload};
use beatmesh_tests::replay::Dice;
use beatmesh_tests::stranger::hello;
use beatmesh_tests::{Papers, Stranger, Target};
use quinn::ConnectionError;

/// A stranger with good papers as `guest`, and its hello.
async fn guest() -> (Target, Stranger, Hello) {
    let target = Target::start().await;
    let stranger = Stranger::new(&Papers::of(&target.secret(), "guest"));
    let hello = hello(&target.store, "guest", 1_000, stranger.addr());
    (target, stranger, hello)
}

fn framed(hello: &Hello) -> Vec<u8> {
    wire::encode(kind::HELLO, &to_payload(hello)).to_vec()
}

/// The code and the reason with which the node closed.
fn closed(error: &ConnectionError) -> (u64, String) {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => panic!("it was not refused: {other}"),
    }
}

/// All of these end with a refusal of the hello itself.
async fn refused(first_words: impl Fn(&Hello) -> Vec<Vec<u8>>) -> String {
    let (mut target, stranger, hello) = guest().await;
    let node = target.mesh.nodes[0].mesh_addr();
    let all = first_words(&hello);
    for words in &all {
        let said = stranger.say(node, words).await;
        let error = said.expect_err("it was answered");
        assert_eq!(closed(&error), (3, "refused".to_owned()));
    }
    target.assert_refused(&[("handshake", all.len() as u64)]).await;
    target.told(0).remove(0)
}

#[tokio::test]
async fn a_peer_of_another_version_is_refused_told_and_counted_whether_older_or_newer() {
    let (mut target, stranger, hello) = guest().await;
    for version in [0, 2, 255] {
        let mut words = framed(&hello);
        words[2] = version;
        let said = stranger.say(target.mesh.nodes[0].mesh_addr(), &words).await;
        assert_eq!(closed(&said.unwrap_err()), (5, "1".to_owned()), "the peer learns which one is spoken");
    }
    target.assert_refused(&[("version", 3)]).await;
    let told = target.told(0).remove(0);
    println!("{told}");
    assert!(
        told.contains("version 0") && told.contains("version 1") && told.contains("one release"),
        "{told}"
    );
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_refused_after_a_while() {
    let (mut target, stranger, _) = guest().await;
    let node = target.mesh.nodes[0].mesh_addr();
    let mute = stranger.dial(node).await.unwrap();
    let idle = stranger.dial(node).await.unwrap();
    // A stream that is opened and left, with half a header on it.
    let (mut half, _answer) = idle.open_bi().await.unwrap();
    half.write_all(&[0xbe, 0xa7, 1]).await.unwrap();
    for connection in [mute, idle] {
        let end = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await;
        assert_eq!(closed(&end.expect("it is closed in time")), (3, "refused".to_owned()));
    }
    target.assert_refused(&[("handshake", 2)]).await;
    assert!(target.told(0)[0].contains("did not say hello"), "{:?}", target.told(0));
}

#[tokio::test]
async fn a_hello_that_is_cut_short_is_refused() {
    let told = refused(|hello| {
        let whole = framed(hello);
        let cuts = [0, 1, HEADER - 1, HEADER, HEADER + 1, whole.len() / 2, whole.len() - 1];
        cuts.iter().map(|cut| whole[..*cut].to_vec()).collect()
    })
    .await;
    assert!(told.contains("did not say hello"), "the first one is empty: {told}");
}

#[tokio::test]
async fn a_hello_with_a_payload_that_is_cut_or_longer_is_refused() {
    let told = refused(|hello| {
        let payload = to_payload(hello);
        let mut longer = payload.clone();
        longer.extend_from_slice(b"and more");
        [&payload[..payload.len() - 1], &longer, &[]]
            .map(|payload| wire::encode(kind::HELLO, payload).to_vec())
            .into()
    })
    .await;
    assert!(told.contains("does not hold its message"), "{told}");
}

#[tokio::test]
async fn a_hello_that_says_it_is_huge_is_refused_before_it_comes() {
    let told = refused(|hello| {
        let sizes = [300 * 1024, 1 << 30, u32::MAX as usize];
        sizes
            .iter()
            .map(|size| [&wire::header(kind::HELLO, *size)[..], &to_payload(hello)].concat())
            .collect()
    })
    .await;
    assert!(told.contains("over the limit"), "{told}");
}

#[tokio::test]
async fn a_first_word_that_is_no_hello_is_refused() {
    let told = refused(|hello| {
        let kinds = [kind::WELCOME, kind::REFUSED, kind::GOSSIP, kind::GOODBYE, kind::FACTS, kind::OPEN, 77];
        kinds.iter().map(|kind| wire::encode(*kind, &to_payload(hello)).to_vec()).collect()
    })
    .await;
    assert!(told.contains("did not say hello"), "{told}");
}

#[tokio::test]
async fn first_words_that_are_noise_are_refused() {
    let told = refused(|hello| {
        let mut dice = Dice::of(7);
        let noise = (0..20).map(|_| {
            let length = 8 + dice.below(2_000);
            dice.bytes(length)
        });
        let mut all: Vec<Vec<u8>> = noise.collect();
        all.push(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_vec());
        // A hello of which each byte of the payload is another one, which may be another text, but is none.
        let mut scrambled = framed(hello);
        scrambled[HEADER..].iter_mut().for_each(|byte| *byte = !*byte);
        all.push(scrambled);
        all
    })
    .await;
    assert!(told.contains("not frames of beatmesh"), "{told}");
}

/// The first stream carries one frame. What comes after the hello is not read, and does no harm.
#[tokio::test]
async fn a_hello_that_is_followed_by_junk_is_a_hello() {
    let (mut target, stranger, hello) = guest().await;
    let words = [framed(&hello), Dice::of(3).bytes(100_000)].concat();
    let said = stranger.say(target.mesh.nodes[0].mesh_addr(), &words).await.unwrap();
    assert_eq!(said[0].kind, kind::WELCOME);
    drop(stranger);
    target.assert_refused(&[]).await;
}

#[tokio::test]
async fn a_hello_that_says_what_cannot_be_is_refused_with_the_reason() {
    let (mut target, stranger, good) = guest().await;
    let node = target.mesh.nodes[0].mesh_addr();
    let long = |bytes: usize| "x".repeat(bytes);
    let with_facts = |entries: Vec<(String, String)>| {
        let mut bad = good.clone();
        bad.facts.entries = entries.into_iter().collect();
        bad
    };
    let at = |addr: &str| Hello { advertise: addr.parse().unwrap(), ..good.clone() };
    let mut other_mesh = good.clone();
    other_mesh.mesh = "other".parse().unwrap();
    let cases = [
        (at("0.0.0.0:7946"), Refusal::Malformed),
        (at("127.0.0.1:0"), Refusal::Malformed),
        (with_facts(vec![(long(65), "1".into())]), Refusal::Malformed),
        (with_facts(vec![("key".into(), long(4_097))]), Refusal::Malformed),
        (with_facts((0..65).map(|n| (format!("k{n}"), "1".into())).collect()), Refusal::Malformed),
        (other_mesh, Refusal::OtherMesh("beatmesh".parse().unwrap())),
        (Hello { store: long(100_000), ..good.clone() }, Refusal::OtherStore(target.store.clone())),
    ];
    for (bad, wanted) in &cases {
        let said = stranger.say(node, &framed(bad)).await.unwrap();
        assert_eq!(said[0].kind, kind::REFUSED);
        assert_eq!(&from_payload::<Refusal>(said[0].kind, &said[0].payload).unwrap(), wanted);
    }
    target.assert_refused(&[("facts", 5), ("mesh", 1), ("store", 1)]).await;
}

/// Five hundred at once that never say a word, and once more: what they took is given back.
#[tokio::test]
async fn many_that_say_nothing_keep_nobody_out() {
    // A handshake and a connection take 90 KiB (measured).
    let mut target = Target::start().await.most_memory(64 << 20);
    let node = target.mesh.nodes[0].mesh_addr();
    let strangers = Stranger::new(&Papers::of(&target.secret(), "guest"));
    let dial = async {
        for _ in 0..2 {
            let mut open = Vec::new();
            for _ in 0..500 {
                open.push(strangers.dial(node).await.expect("there is room"));
            }
            for connection in open {
                connection.closed().await;
            }
        }
    };
    target.under(dial).await;
    target.assert_refused(&[("handshake", 1_000)]).await;
}
