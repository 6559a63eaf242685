//! Several nodes with one store.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::wait::until;
use crate::{Client, Network, Node, NodeSpec, Scratch, Watch};

/// From the start of the last node until all see all; about a second on a quiet machine.
const FORMED: Duration = Duration::from_secs(30);

/// A mesh on this machine.
#[derive(Debug)]
pub struct TestMesh {
    /// The nodes, `node-1` first.
    pub nodes: Vec<Node>,
    /// Where everything lies. Declared after the nodes, so that it is removed after their end.
    pub dir: Scratch,
}

impl TestMesh {
    /// So many nodes, as they come without further settings, and all see each other.
    pub async fn start(count: usize) -> Self {
        Self::start_with(count, |spec| spec).await
    }

    /// The same, with settings.
    pub async fn start_with(count: usize, settings: impl Fn(NodeSpec) -> NodeSpec) -> Self {
        let dir = Scratch::new();
        let spec = |number| settings(NodeSpec::new(&dir, &format!("node-{number}")));
        let nodes = (1..=count).map(|number| spec(number).start()).collect();
        let mesh = Self { nodes, dir };
        mesh.until_formed().await;
        mesh
    }

    /// The same, each node in a namespace of its own.
    pub async fn start_in(network: &Network) -> Self {
        let dir = Scratch::new();
        let start = |index: usize| {
            let any = (network.addr(index), 0).into();
            let spec = NodeSpec::new(&dir, &format!("node-{}", index + 1)).space(network.space(index));
            spec.key(&dir, "canary-0123456789-abcdefghijk").http(any).mesh(any).start()
        };
        let nodes = (0..network.len()).map(start).collect();
        let mesh = Self { nodes, dir };
        mesh.until_formed().await;
        mesh
    }

    /// Follows all nodes, each in the order of its index.
    pub async fn watch(&self) -> Vec<Watch> {
        let mut watches = Vec::new();
        for node in &self.nodes {
            watches.push(Watch::of(node).await);
        }
        watches
    }

    /// A client of the node with this index.
    #[must_use]
    pub fn client(&self, index: usize) -> Client {
        self.nodes[index].client()
    }

    /// Waits until all running nodes have all of them, and nobody else, in their rings.
    pub async fn until_formed(&self) {
        self.until_ring(&self.nodes.iter().map(Node::name).collect::<Vec<_>>()).await;
    }

    /// Waits until the nodes of these names, and nobody else, are in their rings, equal in everything.
    pub async fn until_ring(&self, names: &[&str]) {
        let members: Vec<&Node> = self.nodes.iter().filter(|node| names.contains(&node.name())).collect();
        let look = async || {
            let mut views = Vec::new();
            for node in &members {
                views.push(ring_of(&node.view().await));
            }
            views
        };
        let wanted: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
        let is_formed = |views: &Vec<Ring>| {
            views.iter().all(|ring| ring == &views[0] && ring.members == wanted && ring.beat.is_some())
        };
        until(&format!("the rings hold {names:?}"), FORMED, look, is_formed).await;
    }

    /// The Beat, as the node with this index sees it.
    ///
    /// # Panics
    /// When there is none.
    pub async fn beat_seen_by(&self, index: usize) -> usize {
        let view = self.nodes[index].view().await;
        let beat = view["beat"].as_str().unwrap_or_else(|| panic!("there is no Beat: {view:#}"));
        self.index_of(beat)
    }

    /// The index of the node of this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn index_of(&self, name: &str) -> usize {
        self.nodes.iter().position(|node| node.name() == name).unwrap_or_else(|| panic!("no node {name}"))
    }

    /// The index of any other node.
    #[must_use]
    pub fn other_than(&self, index: usize) -> usize {
        (index + 1) % self.nodes.len()
    }

    /// A value of the header `Beatmesh-Key` that belongs to the node with this index.
    ///
    /// # Panics
    /// When there is none among the first thousand.
    pub async fn key_of(&self, index: usize) -> String {
        let (client, name) = (self.client(index), self.nodes[index].name());
        for number in 0..1_000 {
            let key = format!("key-{number}");
            let answer = client.get(&format!("/v1/mesh/ring?key={key}&n=1")).await.ok();
            if answer.json()["owner"] == name {
                return key;
            }
        }
        panic!("{name} owns none of a thousand keys");
    }

    /// Asserts that all nodes run, answer, and have not panicked.
    pub async fn assert_well(&mut self) {
        for node in &mut self.nodes {
            node.assert_well().await;
        }
    }
}

/// What all nodes must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ring {
    fingerprint: String,
    members: BTreeSet<String>,
    beat: Option<String>,
}

fn ring_of(view: &Value) -> Ring {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let members = view["ring"]["members"].as_array().cloned().unwrap_or_default();
    Ring {
        fingerprint: text(&view["ring"]["fingerprint"]).unwrap_or_default(),
        members: members.iter().filter_map(text).collect(),
        beat: text(&view["beat"]),
    }
}
