//! Strangers whose certificate is missing, of another mesh, out of date or somebody else's: refused in the
//! handshake or at the hello, counted under its topic, told of once.

use beatmesh_mesh::wire::message::{Refusal, kind};
use beatmesh_mesh::wire::{self, from_payload, to_payload};
use beatmesh_tests::stranger::hello;
use beatmesh_tests::{Papers, Stranger, Target};

/// One stranger dials as often.
const TIMES: u64 = 5;

/// Dials `node-1` with these papers, which must not get through TLS; answers what the node says of it.
async fn refused_in_the_handshake(papers: impl FnOnce(&[u8]) -> Papers) -> String {
    let mut target = Target::start().await;
    let stranger = Stranger::new(&papers(&target.secret()));
    let hello =
        wire::encode(kind::HELLO, &to_payload(&hello(&target.store, "guest", 1_000, stranger.addr())));
    for _ in 0..TIMES {
        let said = stranger.say(target.mesh.nodes[0].mesh_addr(), &hello).await;
        assert!(said.is_err(), "it was answered: {said:?}");
    }
    target.assert_refused(&[("handshake", TIMES)]).await;
    let told = target.told(0).remove(0);
    println!("{told}");
    told
}

#[tokio::test]
async fn a_stranger_without_a_certificate_is_refused() {
    let told = refused_in_the_handshake(|_| Papers::none()).await;
    assert!(told.contains("no certificates"), "{told}");
}

#[tokio::test]
async fn a_stranger_with_another_authority_is_refused() {
    let told = refused_in_the_handshake(|_| Papers::of(b"another secret of enough bytes", "node-2")).await;
    assert!(told.contains("certificate") && told.contains("another secret"), "{told}");
}

#[tokio::test]
async fn a_stranger_with_a_certificate_that_has_expired_is_refused() {
    let told = refused_in_the_handshake(|secret| Papers::of(secret, "guest").years(1975, 2001)).await;
    assert!(told.contains("expired") && told.contains("clock"), "{told}");
}

#[tokio::test]
async fn a_stranger_with_a_certificate_that_is_not_valid_yet_is_refused() {
    let told = refused_in_the_handshake(|secret| Papers::of(secret, "guest").years(3000, 3001)).await;
    assert!(told.contains("not valid yet"), "{told}");
}

#[tokio::test]
async fn a_stranger_that_speaks_another_protocol_inside_tls_is_refused() {
    let told = refused_in_the_handshake(|secret| Papers::of(secret, "guest").protocol(b"h3")).await;
    assert!(told.contains("another release, or no node"), "{told}");
}

/// Says hello under `claimed` with the papers of `guest`; answers the refusal.
async fn refused_at_the_hello(claimed: &str) -> (Target, Refusal) {
    let target = Target::start().await;
    let stranger = Stranger::new(&Papers::of(&target.secret(), "guest"));
    let hello =
        wire::encode(kind::HELLO, &to_payload(&hello(&target.store, claimed, 1_000, stranger.addr())));
    let said = stranger.say(target.mesh.nodes[0].mesh_addr(), &hello).await.expect("an answer");
    assert_eq!(said[0].kind, kind::REFUSED, "{said:?}");
    let refusal = from_payload(said[0].kind, &said[0].payload).expect("nodes speak well");
    (target, refusal)
}

#[tokio::test]
async fn whoever_claims_the_name_of_another_member_is_refused_by_its_certificate() {
    let (mut target, refusal) = refused_at_the_hello("node-2").await;
    assert_eq!(refusal, Refusal::NotItsCertificate);
    target.assert_refused(&[("identity", 1)]).await;
    assert!(target.told(0)[0].contains("certificate"), "{:?}", target.told(0));
}

#[tokio::test]
async fn whoever_claims_the_name_of_the_node_that_it_dials_is_refused() {
    let (mut target, refusal) = refused_at_the_hello("node-1").await;
    assert!(matches!(refusal, Refusal::SameIdentity(_)), "{refusal:?}");
    target.assert_refused(&[("identity", 1)]).await;
}

/// Without this the others could be refused for any reason.
#[tokio::test]
async fn good_papers_made_by_the_same_scheme_are_taken() {
    let mut target = Target::start().await;
    let nodes = [0, 1].map(|index| target.mesh.nodes[index].mesh_addr());
    let guest = beatmesh_tests::Guest::join(&target.secret(), &target.store, "guest", &nodes).await;
    let seen = async || target.mesh.nodes[0].view().await["members"][0].clone();
    let is_seen = |member: &serde_json::Value| member["id"] == "guest" && member["liveness"] == "alive";
    beatmesh_tests::until("the guest is a member", std::time::Duration::from_secs(5), seen, is_seen).await;
    guest.leave().await;
    target.assert_refused(&[]).await;
}
