//! chitchat behind the same door as in a node, fed with whatever a peer may send; for tests and fuzz targets.
#![expect(clippy::disallowed_methods, reason = "a script has no clock but tokio's, which tests pause")]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatId, ChitchatMessage, Serializable};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::ids::Ids;
use super::{ROUND, config, heard, read, set};
use crate::member::{Facts, fact};

pub(crate) const ME: &str = "me";
pub(crate) const GENERATION: u64 = 1;

/// A node in the mesh `m`, whose peer sends these messages and then stays silent
/// for some rounds. Panics when gossip ends, or an answer cannot be read again.
pub async fn gossip(messages: Vec<Bytes>) {
    let me = ChitchatId::new(ME, GENERATION, SocketAddr::from(([127, 0, 0, 1], 1)));
    let mesh = "m".parse().expect("a label");
    let script = Script { messages: Arc::new(Mutex::new(messages.into())), ids: Arc::default() };
    let handle = chitchat::spawn_chitchat(config(&mesh, me), Vec::new(), &script).await;
    let handle = handle.expect("a script opens");
    for version in 1..=3 {
        let chitchat = handle.chitchat();
        let facts = Facts { version, entries: [(fact::READY.to_owned(), version.to_string())].into() };
        set(chitchat.lock().await.self_node_state(), &facts);
        tokio::time::sleep(ROUND + Duration::from_millis(1)).await;
        let chitchat = chitchat.lock().await;
        for (id, state) in chitchat.node_states() {
            if let Some(heard) = heard(id, state) {
                assert!(heard.facts.is_within_limits());
            }
        }
        let own = chitchat.node_state(chitchat.self_chitchat_id()).expect("a node knows itself");
        assert_eq!(own.get(fact::READY), Some(version.to_string().as_str()), "a peer has changed own facts");
    }
    handle.shutdown().await.expect("gossip goes on whatever a peer sends");
}

/// A peer that sends what it is given.
#[derive(Clone)]
struct Script {
    messages: Arc<Mutex<VecDeque<Bytes>>>,
    ids: Arc<Mutex<Ids>>,
}

/// Before whom every message passes as it is.
const NOBODY: (&str, u64) = ("", 0);

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2);

#[async_trait]
impl Transport for Script {
    async fn open(&self, _listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Socket for Script {
    async fn send(&mut self, _to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let bytes = message.serialize_to_vec();
        drop(read(&bytes, NOBODY, &mut Ids::default(), Instant::now()).expect("it reads what it writes"));
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let message = self.messages.lock().pop_front();
            match message {
                Some(bytes) => {
                    let read = read(&bytes, (ME, GENERATION), &mut self.ids.lock(), Instant::now());
                    if let Ok((message, _)) = read {
                        return Ok((PEER, message));
                    }
                }
                None => return std::future::pending().await,
            }
        }
    }
}
