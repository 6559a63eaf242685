//! One dial at a time to one address, and a pause after one that failed.
//!
//! Whoever wants a link waits for the dial that is under way. It runs in a task of its own: a caller that goes
//! away in the middle neither breaks it off nor leaves a link behind that nobody serves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Transport;
use super::hello::LinkError;
use super::links::Link;
use crate::env::OnExit;
use crate::id::NodeId;

/// Pauses after failed dials: doubling, so that a dead address costs little, but never so long that a
/// restarted node waits for us.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Addresses with a past. Beyond, those that are free to be dialled are forgotten.
const MOST: usize = 2_048;

/// What is known of the dials to one address.
#[derive(Debug, Default)]
struct Past {
    pause: Duration,
    failed: Option<(Instant, LinkError)>,
}

impl Past {
    /// Why the last dial failed, while another one would be too soon.
    fn forbids(&self, now: Instant) -> Option<&LinkError> {
        self.failed.as_ref().filter(|(until, _)| now < *until).map(|(_, error)| error)
    }

    fn note(&mut self, now: Instant, outcome: &Result<Arc<Link>, LinkError>) {
        match outcome {
            Ok(_) => *self = Self::default(),
            Err(error) => {
                self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                self.failed = Some((now + self.pause, error.clone()));
            }
        }
    }
}

type Turn = Arc<tokio::sync::Mutex<Past>>;

/// The dials of one node.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    by_addr: Mutex<BTreeMap<SocketAddr, Turn>>,
}

impl Dials {
    fn turn(&self, addr: SocketAddr, now: Instant) -> Turn {
        let mut by_addr = self.by_addr.lock();
        if by_addr.len() >= MOST {
            // Whoever has a turn in hand keeps it from being forgotten.
            let is_free = |turn: &Turn| turn.try_lock().is_ok_and(|past| past.forbids(now).is_none());
            by_addr.retain(|_, turn| Arc::strong_count(turn) > 1 || !is_free(turn));
        }
        by_addr.entry(addr).or_default().clone()
    }
}

impl Transport {
    /// The link to whoever is at `addr`, or to `node` if that is given: an open one, that of the dial which is
    /// under way, or that of a new dial.
    ///
    /// # Errors
    /// [`LinkError`], also when it is not `node` that answers; for a while after a failed dial its error, without
    /// another one.
    pub(crate) async fn link_to(
        self: &Arc<Self>,
        node: Option<&NodeId>,
        addr: SocketAddr,
    ) -> Result<Arc<Link>, LinkError> {
        if let Some(link) = self.open_link(node, addr) {
            return Ok(link);
        }
        let turn = self.dials.turn(addr, self.clock.now());
        let mut past = turn.lock_owned().await;
        if let Some(link) = self.open_link(node, addr) {
            return Ok(link);
        }
        // Somebody else has the address now, and has just been met there perhaps: it would answer again.
        let other = self.links.lock().to_addr(addr);
        if let (Some(node), Some(other)) = (node, other) {
            return is_wanted(other, Some(node));
        }
        if let Some(error) = past.forbids(self.clock.now()) {
            return Err(error.clone());
        }
        let (answer, dialled) = oneshot::channel();
        let (transport, node) = (self.clone(), node.cloned());
        let dialling = async move {
            let outcome = transport.dial(addr).await.and_then(|link| is_wanted(link, node.as_ref()));
            past.note(transport.clock.now(), &outcome);
            // Others may have their turn before the answer is read.
            drop(past);
            // An error means that nobody waits any more.
            let _ = answer.send(outcome);
        };
        self.spawner.spawn("mesh dial", OnExit::Fine, Box::pin(dialling));
        dialled.await.unwrap_or_else(|_| Err(LinkError::NoConnection("the mesh is stopping".to_owned())))
    }

    fn open_link(&self, node: Option<&NodeId>, addr: SocketAddr) -> Option<Arc<Link>> {
        let links = self.links.lock();
        node.map_or_else(|| links.to_addr(addr), |node| links.to(node))
    }
}

fn is_wanted(link: Arc<Link>, node: Option<&NodeId>) -> Result<Arc<Link>, LinkError> {
    match node {
        Some(node) if link.node != *node => {
            Err(LinkError::NoConnection(format!("node {} answers there", link.node)))
        }
        _ => Ok(link),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use super::*;
    use crate::id::Generation;
    use crate::member::Facts;
    use crate::transport::LinkEvent;
    use crate::transport::tests::{process, until};

    #[tokio::test(flavor = "multi_thread")]
    async fn all_who_want_a_link_share_one_dial_and_one_that_goes_away_breaks_nothing() {
        let ((here, mut met_here), (there, _met_there)) = (process("a", 1, 1), process("b", 2, 1));
        let addr = there.identity.advertise;
        let before =
            LinkEvent::Down { node: "c".parse().unwrap(), generation: Generation(1), goodbye: false };
        here.events.try_send(before).unwrap();
        let first = tokio::spawn({
            let here = here.clone();
            async move { here.link_to(None, addr).await }
        });
        until("the link is there", || here.links.lock().all().next().is_some()).await;
        // The link is in the table, and its news waits for room: then its caller goes away.
        first.abort();
        let calls = (0..50).map(|_| {
            let here = here.clone();
            tokio::spawn(async move { here.link_to(Some(&"b".parse().unwrap()), addr).await.unwrap() })
        });
        let links = futures_util::future::join_all(calls.collect::<Vec<_>>()).await;
        let ids: std::collections::BTreeSet<_> =
            links.iter().map(|link| link.as_ref().unwrap().connection.stable_id()).collect();
        assert_eq!((ids.len(), here.links.lock().all().count()), (1, 1));
        assert!(matches!(met_here.recv().await, Some(LinkEvent::Down { .. })));
        let met = tokio::time::timeout(Duration::from_secs(5), met_here.recv()).await;
        assert!(matches!(met, Ok(Some(LinkEvent::Up(_)))), "{met:?}");
        // It is served: its end is noticed.
        there.leave(Duration::from_secs(1)).await;
        let ended = tokio::time::timeout(Duration::from_secs(5), met_here.recv()).await;
        assert!(matches!(ended, Ok(Some(LinkEvent::Down { goodbye: true, .. }))), "{ended:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn facts_that_were_stated_while_the_link_came_up_are_told_on_it() {
        let ((here, _events), (there, mut met_there)) = (process("a", 1, 64), process("b", 2, 64));
        let link = here.link_to(None, there.identity.advertise).await.unwrap();
        let facts = |version| Facts { version, ..Facts::default() };
        here.set_facts(facts(5));
        here.say_what_is_new(&link, 5);
        here.set_facts(facts(6));
        here.say_what_is_new(&link, 5);
        let told = async {
            loop {
                if let Some(LinkEvent::Facts { facts, .. }) = met_there.recv().await {
                    return facts.version;
                }
            }
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), told).await, Ok(6));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_nobody_answers_is_not_dialled_again_for_a_while() {
        let ((here, _events), (there, _met)) = (process("a", 1, 64), process("b", 2, 64));
        let addr = there.identity.advertise;
        there.leave(Duration::from_secs(1)).await;
        drop(there);
        let error = here.link_to(None, addr).await.unwrap_err();
        assert!(matches!(error, LinkError::NoConnection(_)), "{error}");
        // The pause, made longer than any machine stalls. What is remembered tells apart whether it was dialled.
        let turn = here.dials.turn(addr, here.clock.now());
        let (until, _) = turn.lock().await.failed.clone().unwrap();
        let far = until + Duration::from_secs(3_600);
        turn.lock().await.failed = Some((far, LinkError::NoHello));
        assert_eq!(here.link_to(None, addr).await.unwrap_err(), LinkError::NoHello);
        turn.lock().await.failed = Some((here.clock.now(), LinkError::NoHello));
        let again = here.link_to(None, addr).await.unwrap_err();
        assert!(matches!(again, LinkError::NoConnection(_)), "{again}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_node_that_answers_is_dialled_once_however_many_ask_for_the_one_before() {
        let ((here, _events), (there, mut met_there)) = (process("a", 1, 64), process("b", 2, 64));
        let addr = there.identity.advertise;
        let calls = (0..20).map(|_| {
            let here = here.clone();
            tokio::spawn(async move { here.link_to(Some(&"gone".parse().unwrap()), addr).await.unwrap_err() })
        });
        for error in futures_util::future::join_all(calls.collect::<Vec<_>>()).await {
            assert_eq!(error.unwrap().to_string(), "no connection: node b answers there");
        }
        let met = std::iter::from_fn(|| met_there.try_recv().ok()).count();
        assert_eq!((met, here.links.lock().all().count()), (1, 1));
        assert!(here.dials.turn(addr, here.clock.now()).lock().await.failed.is_some(), "with a pause");
        assert_eq!(here.link_to(None, addr).await.unwrap().node.as_str(), "b", "who wants anybody has it");
    }

    #[test]
    fn pauses_after_failures_double_and_end() {
        let now = Instant::now();
        let failure = || Err(LinkError::NoHello);
        let mut past = Past::default();
        assert!(past.forbids(now).is_none());
        let mut pauses = Vec::new();
        for _ in 0..6 {
            past.note(now, &failure());
            let (until, _) = past.failed.clone().unwrap();
            assert_eq!(past.forbids(now), Some(&LinkError::NoHello));
            assert!(past.forbids(until).is_none());
            pauses.push((until - now).as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn many_addresses_do_not_grow_the_memory_and_a_pause_is_not_forgotten() {
        let (now, dials) = (Instant::now(), Dials::default());
        let addr = |n: usize| SocketAddr::from(([127, 0, 0, 1], u16::try_from(n + 1).unwrap()));
        let paused = dials.turn(addr(0), now);
        paused.try_lock().unwrap().note(now, &Err(LinkError::NoHello));
        let held = dials.turn(addr(1), now);
        drop(paused);
        for n in 2..3 * MOST {
            dials.turn(addr(n), now);
        }
        assert!(dials.by_addr.lock().len() <= MOST);
        assert!(dials.turn(addr(0), now).try_lock().unwrap().forbids(now).is_some());
        assert!(Arc::ptr_eq(&dials.turn(addr(1), now), &held));
    }
}
