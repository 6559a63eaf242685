//! What one node tells of the others, written down with the moment at which this process heard of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::wait::until_some;
use crate::{Event, Events, Node};

/// How a member stands at a node, since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When this process heard of it.
    pub at: Instant,
    /// Whom it is about.
    pub member: String,
    /// Which life.
    pub generation: u64,
    /// `alive`, `suspect`, `dead`, `left` or `forgotten`.
    pub liveness: String,
}

impl Sighting {
    /// Whether it says this of that member.
    #[must_use]
    pub fn is(&self, member: &str, liveness: &str) -> bool {
        self.member == member && self.liveness == liveness
    }
}

/// Follows a node from now on until it dies. What it heard stays.
#[derive(Debug)]
pub struct Watch {
    node: String,
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Heard {
    sightings: Vec<Sighting>,
    rings: Vec<String>,
}

impl Watch {
    /// Begins; how things stand at the moment is not a sighting.
    ///
    /// # Panics
    /// When the node refuses.
    pub async fn of(node: &Node) -> Self {
        let mut events = Events::follow(&node.client()).await;
        let snapshot = events.next(Duration::from_secs(10)).await;
        assert!(snapshot.is_some_and(|event| event.name == "snapshot"), "a stream begins with all there is");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let takes = heard.clone();
        let task = tokio::spawn(async move {
            // A stream that breaks off is the end of a node that was killed.
            while let Ok(Some(event)) = events.next_or_break().await {
                takes.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now(), &event);
            }
        });
        Self { node: node.name().to_owned(), heard, task }
    }

    /// Whom it follows.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether the node's stream goes on: else silence would say nothing.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.task.is_finished()
    }

    /// What it was told of members.
    #[must_use]
    pub fn sightings(&self) -> Vec<Sighting> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).sightings.clone()
    }

    /// The fingerprints of the rings that came after the first one.
    #[must_use]
    pub fn rings(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).rings.clone()
    }

    /// Waits for a sighting not older than `since`.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn until(
        &self,
        what: &str,
        since: Instant,
        within: Duration,
        is_it: impl Fn(&Sighting) -> bool,
    ) -> Sighting {
        let what = format!("{} tells of {what}", self.node);
        let is_it = |sighting: &Sighting| sighting.at >= since && is_it(sighting);
        until_some(&what, within, async || self.sightings().into_iter().find(is_it)).await
    }

    /// How this member stands, if anything was told of it.
    #[must_use]
    pub fn last_of(&self, member: &str) -> Option<Sighting> {
        self.sightings().into_iter().rfind(|sighting| sighting.member == member)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Heard {
    fn take(&mut self, at: Instant, event: &Event) {
        let text = |key: &str| event.data[key].as_str().map(str::to_owned).unwrap_or_default();
        match event.name.as_str() {
            "member" => self.sightings.push(Sighting {
                at,
                member: text("id"),
                generation: event.data["generation"].as_u64().unwrap_or_default(),
                liveness: text("liveness"),
            }),
            "ring" => self.rings.push(text("fingerprint")),
            _ => {}
        }
    }
}

/// Who was told dead by whom, `but` for these, or whose stream broke off; as lines for a message.
#[must_use]
pub fn deaths_but(watches: &[Watch], but: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for watch in watches {
        if !watch.is_on() {
            lines.push(format!("the stream of {} broke off", watch.node()));
        }
        for death in watch.sightings().into_iter().filter(|sighting| sighting.liveness == "dead") {
            if !but.contains(&death.member.as_str()) {
                lines.push(format!("{} held {} for dead", watch.node(), death.member));
            }
        }
    }
    lines
}
