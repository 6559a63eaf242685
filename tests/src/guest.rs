//! A stranger who was let in: it has the secret, says hello as a node does, answers pings so that it is held for
//! alive, and otherwise does what a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use beatmesh_mesh::detector::message::{Body, Packet};
use beatmesh_mesh::id::{Generation, Incarnation};
use beatmesh_mesh::member::Facts;
use beatmesh_mesh::wire::message::{FactsUpdate, Goodbye, Hello, kind};
use beatmesh_mesh::wire::{self, probe, to_payload};
use bytes::Bytes;
use quinn::{Connection, SendStream};
use tokio::task::JoinHandle;

use crate::stranger::{Papers, Stranger, frames, hello};

/// What members say when they close a connection because they leave.
const CLOSE_GOODBYE: quinn::VarInt = quinn::VarInt::from_u32(1);

/// A stranger who was let in: a member that is never ready, so that it owns nothing.
#[derive(Debug)]
pub struct Guest {
    /// The connections to the nodes that it dialled, in their order.
    pub links: Vec<Connection>,
    /// What it said.
    pub hello: Hello,
    heard: Arc<Mutex<Vec<Bytes>>>,
    answering: Vec<JoinHandle<()>>,
    stranger: Stranger,
}

impl Guest {
    /// Joins these nodes under this name. It answers the pings, so that it is held for alive.
    ///
    /// # Panics
    /// When it is not let in.
    pub async fn join(secret: &[u8], store: &str, name: &str, nodes: &[SocketAddr]) -> Self {
        let stranger = Stranger::new(&Papers::of(secret, name));
        let hello = hello(store, name, 1_000, stranger.addr());
        let (mut links, mut answering, heard) = (Vec::new(), Vec::new(), Arc::<Mutex<Vec<Bytes>>>::default());
        for node in nodes {
            let link = stranger.dial(*node).await.expect("the papers are good");
            let (mut send, mut recv) = link.open_bi().await.expect("a fresh connection");
            send.write_all(&wire::encode(kind::HELLO, &to_payload(&hello))).await.expect("it listens");
            send.finish().expect("not finished before");
            let answer = recv.read_to_end(1 << 20).await.expect("an answer");
            assert_eq!(frames(&answer.into())[0].kind, kind::WELCOME);
            answering.push(tokio::spawn(answer_pings(link.clone(), heard.clone())));
            links.push(link);
        }
        Self { links, hello, heard, answering, stranger }
    }

    /// Sends a frame to each node, on a stream of its own. Streams overtake each other.
    pub async fn send(&self, kind: u8, payload: &[u8]) {
        self.send_raw(&wire::encode(kind, payload)).await;
    }

    /// The same with bytes that may be no frame.
    pub async fn send_raw(&self, bytes: &[u8]) {
        for link in &self.links {
            drop(send_on(link, bytes).await);
        }
    }

    /// Sends a frame to each node and waits until they have it all.
    async fn send_in_turn(&self, kind: u8, payload: &[u8]) {
        for link in &self.links {
            let _ = send_on(link, &wire::encode(kind, payload)).await.stopped().await;
        }
    }

    /// States facts as a member does.
    pub async fn state(&self, generation: u64, version: u64, entries: &[(&str, &str)]) {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let update = FactsUpdate { generation: Generation(generation), facts: Facts { version, entries } };
        self.send_in_turn(kind::FACTS, &to_payload(&update)).await;
    }

    /// Says goodbye for one of its lives, in a datagram as members do.
    ///
    /// # Panics
    /// When a connection has ended.
    pub async fn say_goodbye(&self, generation: u64) {
        let goodbye = Goodbye { generation: Generation(generation) };
        for link in &self.links {
            let sent = link.send_datagram_wait(wire::encode(kind::GOODBYE, &to_payload(&goodbye))).await;
            sent.expect("the link is up");
        }
    }

    /// Leaves as a member does.
    pub async fn leave(self) {
        self.say_goodbye(self.hello.generation.0).await;
        for link in &self.links {
            link.close(CLOSE_GOODBYE, b"goodbye");
        }
        self.stranger.endpoint.wait_idle().await;
    }

    /// Frames that the nodes have sent it as datagrams, the first few hundred.
    ///
    /// # Panics
    /// When a test has panicked.
    #[must_use]
    pub fn heard(&self) -> Vec<Bytes> {
        self.heard.lock().expect("nobody panics there").clone()
    }

    /// Sends datagrams to the first node, as fast as it takes them.
    ///
    /// # Panics
    /// When the connection has ended.
    pub async fn flood(&self, datagrams: impl Iterator<Item = Bytes>) {
        for (number, datagram) in datagrams.enumerate() {
            if number.is_multiple_of(200) {
                tokio::task::yield_now().await;
            }
            self.links[0].send_datagram_wait(datagram).await.expect("the link is up");
        }
    }

    /// Whether all its links are up.
    #[must_use]
    pub fn is_in(&self) -> bool {
        self.links.iter().all(|link| link.close_reason().is_none())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.answering.iter().for_each(JoinHandle::abort);
    }
}

async fn send_on(link: &Connection, bytes: &[u8]) -> SendStream {
    let mut stream = link.open_uni().await.expect("the link is up");
    // Whoever has read enough stops reading.
    let _ = stream.write_all(bytes).await;
    let _ = stream.finish();
    stream
}

/// Answers pings, and takes what else comes.
async fn answer_pings(link: Connection, heard: Arc<Mutex<Vec<Bytes>>>) {
    loop {
        let taken = tokio::select! {
            datagram = link.read_datagram() => datagram.map(|bytes| {
                let mut heard = heard.lock().expect("nobody panics there");
                if heard.len() < 300 {
                    heard.push(bytes.clone());
                }
                answer(&link, &bytes);
            }),
            stream = link.accept_uni() => stream.map(drop),
            stream = link.accept_bi() => stream.map(drop),
        };
        if taken.is_err() {
            return;
        }
    }
}

fn answer(link: &Connection, bytes: &Bytes) {
    let frame = wire::decode(bytes, 1 << 16).expect("nodes speak well");
    if frame.kind != kind::PROBE {
        return;
    }
    let packet = probe::decode(&frame.payload).expect("nodes speak well");
    if let Body::Ping { seq } = packet.body {
        let ack = Packet { incarnation: Incarnation(0), body: Body::Ack { seq }, rumours: Vec::new() };
        let _ = link.send_datagram(wire::encode(kind::PROBE, &probe::encode(&ack)));
    }
}
