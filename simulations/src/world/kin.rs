//! What else than ordinary nodes of the mesh lives in a world.

use std::time::Duration;

use beatmesh_mesh::wire::dialect::Dialect;
use beatmesh_node::assembly::Node;

use super::World;
use crate::history::Event;

/// What a machine's node is to the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kin {
    /// A node of it like most.
    #[default]
    Ordinary,
    /// A node of it that is of a later version: it says what the others do not know.
    Later,
    /// A node whose frames are of another version: it has the mesh's name, secret and store and cannot be
    /// understood.
    OtherVersion,
    /// A node of a mesh of another name, with a store of its own and the same secret.
    OtherMesh,
    /// A node with another store and otherwise the same settings.
    OtherStore,
}

impl Kin {
    /// Whether it must not become a member.
    #[must_use]
    pub fn is_stranger(self) -> bool {
        matches!(self, Self::OtherVersion | Self::OtherMesh | Self::OtherStore)
    }

    /// Whether it works on the mesh's store.
    #[must_use]
    pub fn shares_the_store(self) -> bool {
        !matches!(self, Self::OtherMesh | Self::OtherStore)
    }

    /// The name of its mesh.
    #[must_use]
    pub fn mesh(self) -> &'static str {
        if self == Self::OtherMesh { "another" } else { "beatmesh" }
    }

    /// How it talks.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Later => Dialect::Later,
            Self::OtherVersion => Dialect::Foreign,
            _ => Dialect::Own,
        }
    }

    /// As in the history.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Later => "later",
            Self::OtherVersion => "other_version",
            Self::OtherMesh => "other_mesh",
            Self::OtherStore => "other_store",
        }
    }
}

/// A fact that this version does not know.
pub const LATER_FACT: &str = "of_a_later_version";

/// A topic, a service and a notice that it does not know either.
const LATER_TOPIC: u16 = 40_000;
const LATER_SERVICE: u16 = 40_000;
const LATER_NOTICE: &[u8] = b"\xffof a later version";

/// A later version has something new to say so often.
const SAYS_EVERY: Duration = Duration::from_millis(700);

/// Says what only a later version says, for as long as the node lives; the values grow.
pub(super) async fn talk_as_later(node: &Node, name: &str, world: &World) {
    let mesh = node.mesh();
    loop {
        let value = world.history.now().0.unsigned_abs();
        mesh.set_facts([(LATER_FACT, value.to_string())]).await;
        world.history.record(Event::FactStated { node: name.to_owned(), value });
        mesh.spread(LATER_TOPIC, value).await;
        mesh.notify_all(LATER_NOTICE);
        let view = mesh.view();
        for member in view.alive().filter(|member| member.id != view.me) {
            if let Ok(mut channel) = mesh.open(&member.id, LATER_SERVICE, b"?").await {
                channel.writer.finish();
                let _ = tokio::time::timeout(SAYS_EVERY, channel.reader.next()).await;
            }
        }
        tokio::time::sleep(SAYS_EVERY).await;
    }
}
