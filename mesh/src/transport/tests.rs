//! Transports on loopback: of two processes under one id, and of many links to one peer.

use std::sync::atomic::Ordering;

use super::*;
use crate::system::{Ending, SystemSpawner, environment};
use crate::wire::VERSION;

struct Nobody;

impl Inbox for Nobody {
    fn on_channel(&self, _: NodeId, _: u16, _: Bytes, _: Channel) {}
    fn on_notice(&self, _: NodeId, _: Bytes) {}
    fn on_news(&self, _: u16, _: u64) {}
}

/// How long a refused twin waits here before it asks again.
const DEAD_WITHIN: Duration = Duration::from_millis(300);

/// A process's transport, and what it tells of its links.
pub(super) fn process(
    name: &str,
    process: u64,
    waiting: usize,
) -> (Arc<Transport>, mpsc::Receiver<LinkEvent>) {
    let spawner = Arc::new(SystemSpawner::new(tokio::runtime::Handle::current(), Ending::default()));
    let env = environment(spawner.clone(), spawner);
    // On all addresses, so that 127.0.0.2 leads here too.
    let socket = env.network.bind_udp(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap();
    let advertise = SocketAddr::from(([127, 0, 0, 1], socket.local_addr().unwrap().port()));
    let node: NodeId = name.parse().unwrap();
    let secret = b"sixteen bytes or more".to_vec().into();
    let credentials = tls::credentials(&secret, &node, &*env.entropy, env.clock.clone()).unwrap();
    let (generation, process) = (Generation(1), ProcessId(process));
    let identity = Identity { node: node.clone(), generation, process, advertise };
    let (mesh, store) = ("m".parse().unwrap(), "s".to_owned());
    let demands = Demands {
        mesh,
        store,
        node,
        process,
        version: VERSION,
        same_mesh: true,
        same_store: true,
        one_process: true,
    };
    let ((events, told), (gossip, _)) = (mpsc::channel(waiting), mpsc::channel(1));
    let deliveries = Deliveries { events, gossip, inbox: Arc::new(Nobody) };
    let transport =
        Transport::start(&env, socket, credentials, identity, demands, DEAD_WITHIN, deliveries).unwrap();
    (transport, told)
}

pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twins_on_either_side_of_a_cut_the_same_one_stays_everywhere() {
    let ((b, _b), (c, _c)) = (process("b", 10, 64), process("c", 20, 64));
    let ((lower, _lower), (higher, _higher)) = (process("a", 1, 64), process("a", 2, 64));
    lower.dial(b.identity.advertise).await.unwrap();
    higher.dial(c.identity.advertise).await.unwrap();
    // The cut has healed: each comes to the other one's side.
    let refused = lower.dial(c.identity.advertise).await.unwrap_err();
    assert_eq!(refused, LinkError::TwinIsLinked(ProcessId(2)));
    assert_eq!(lower.taken.get(), None, "the other one may have died just now");
    higher.dial(b.identity.advertise).await.unwrap();
    until("one has gone", || lower.taken.get().is_some()).await;
    assert_eq!(lower.taken.get(), Some(&Taken::Twin { process: ProcessId(2) }));
    tokio::time::sleep(2 * DEAD_WITHIN).await;
    assert_eq!(higher.taken.get(), None, "nobody is left");
    for member in [&b, &c] {
        let linked: Vec<_> = member.links.lock().all().map(|link| link.process).collect();
        assert_eq!(linked, [ProcessId(2)]);
    }
    // It says no goodbye: the life goes on.
    lower.leave(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_known_without_a_link_until_its_life_is_held_for_dead() {
    let (b, mut told) = process("b", 10, 64);
    let (a, node) = (b.identity.advertise, "a".parse::<NodeId>().unwrap());
    let (first, _first) = process("a", 2, 64);
    first.dial(a).await.unwrap().connection.close(CLOSE_SILENT, b"nothing to say");
    until("the link is gone", || b.links.lock().all().next().is_none()).await;

    // The node's next life, begun with the same generation.
    let (second, _second) = process("a", 1, 64);
    assert_eq!(second.dial(a).await.unwrap_err(), LinkError::TwinIsLinked(ProcessId(2)));
    b.unlink(&node, Generation(1));
    until("it has asked again", || b.links.lock().all().count() == 1).await;
    tokio::time::sleep(2 * DEAD_WITHIN).await;
    assert_eq!(second.taken.get(), None, "it has ended for a dead process");

    // A life that has left is over, whichever process comes.
    b.links.lock().note_goodbye(&node, Generation(1));
    let (third, _third) = process("a", 3, 64);
    assert_eq!(third.dial(a).await.unwrap_err(), LinkError::TwinIsLinked(ProcessId(1)));
    while let Ok(event) = told.try_recv() {
        assert!(!matches!(event, LinkEvent::Down { goodbye: true, .. }), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_may_have_a_twin_says_no_goodbye() {
    let ((b, mut told), (c, _c)) = (process("b", 10, 64), process("c", 20, 64));
    let ((lower, _lower), (higher, _higher)) = (process("a", 1, 64), process("a", 2, 64));
    lower.dial(b.identity.advertise).await.unwrap();
    higher.dial(c.identity.advertise).await.unwrap();
    lower.dial(c.identity.advertise).await.unwrap_err();
    lower.leave(Duration::from_secs(1)).await;
    assert!(lower.may_be_taken(), "the doubt ends with the process");
    assert!(matches!(told.recv().await, Some(LinkEvent::Up(_))));
    let ended = tokio::time::timeout(Duration::from_secs(5), told.recv()).await;
    assert!(matches!(ended, Ok(Some(LinkEvent::Down { goodbye: false, .. }))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_dialled_at_another_address_than_its_own_has_one_link() {
    let ((here, _here), (there, _there)) = (process("a", 1, 64), process("b", 2, 64));
    let alias = SocketAddr::from(([127, 0, 0, 2], there.identity.advertise.port()));
    let first = here.link_to(None, alias).await.unwrap();
    // It carries a call, so a second one would stay beside it.
    first.waiting.store(1, Ordering::Relaxed);
    for _ in 0..3 {
        let again = here.link_to(None, alias).await.unwrap();
        assert_eq!(again.connection.stable_id(), first.connection.stable_id());
    }
    assert_eq!(here.links.lock().all().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_carry_calls_do_not_make_way_for_another_one() {
    let ((here, _here), (there, _there)) = (process("a", 1, 64), process("b", 2, 64));
    let addr = there.identity.advertise;
    for _ in 0..8 {
        here.dial(addr).await.unwrap();
        for transport in [&here, &there] {
            transport.links.lock().all().for_each(|link| link.waiting.store(1, Ordering::Relaxed));
        }
    }
    // Only the other side counts eight busy ones, then only this one.
    let busy: Vec<_> = here.links.lock().all().cloned().collect();
    here.dial(addr).await.unwrap_err();
    there.dial(here.identity.advertise).await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(busy.len(), 8);
    assert!(busy.iter().all(|link| link.connection.close_reason().is_none()), "a call was broken off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_goes_no_further_leaves_nothing_running() {
    let (transport, _events) = process("a", 1, 64);
    transport.abandon();
    let left = Arc::downgrade(&transport);
    drop(transport);
    until("its tasks have ended", || left.upgrade().is_none()).await;
}
