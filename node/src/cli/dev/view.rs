//! What the nodes say of their mesh: `GET /v1/mesh`, read for what `dev` needs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::super::client::{Client, http_client};
use super::super::failure::Failure;
use super::super::output::{list_of, text_of};
use super::fleet::Fleet;

/// A node on this machine answers within milliseconds, or hangs.
const ANSWER: Duration = Duration::from_secs(1);

/// One node's view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Who fires schedules.
    pub(super) beat: Option<String>,
    /// Who is alive.
    pub(super) alive: BTreeSet<String>,
    /// The mesh's name.
    pub(super) mesh: String,
}

impl View {
    fn of(answer: &Value) -> Self {
        let alive = list_of(answer, "members").iter().filter(|member| text_of(member, "liveness") == "alive");
        Self {
            beat: answer.get("beat").and_then(Value::as_str).map(str::to_owned),
            alive: alive.map(|member| text_of(member, "id")).collect(),
            mesh: text_of(answer, "mesh"),
        }
    }
}

/// Looks at nodes.
pub(super) struct Lens {
    http: reqwest::Client,
}

impl Lens {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self { http: http_client()? })
    }

    /// A client of one node.
    pub(super) fn client(&self, address: SocketAddr) -> Result<Client, Failure> {
        Client::of_node(self.http.clone(), address)
    }

    /// What all nodes with a process say after this pause, by index; `None` for one that does not
    /// answer.
    pub(super) fn look(
        &self,
        pause: Duration,
        fleet: &Fleet<'_>,
    ) -> impl Future<Output = Vec<Option<View>>> + use<> {
        let asked: Vec<_> = fleet
            .slots
            .iter()
            .map(|slot| {
                let http = self.http.clone();
                let address = slot.pid().map(|_| slot.addresses.http);
                async move { one(&http, address?).await }
            })
            .collect();
        async move {
            tokio::time::sleep(pause).await;
            join_all(asked).await
        }
    }
}

async fn one(http: &reqwest::Client, address: SocketAddr) -> Option<View> {
    let client = Client::of_node(http.clone(), address).ok()?;
    let answer = tokio::time::timeout(ANSWER, client.get("mesh", "/v1/mesh")).await.ok()?.ok()?;
    Some(View::of(&answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_view_holds_the_beat_and_the_living() {
        let answer = json!({"mesh": "m", "beat": "a", "members": [
            {"id": "a", "liveness": "alive"}, {"id": "b", "liveness": "suspect"}, {"id": "c", "liveness": "dead"}]});
        let view = View::of(&answer);
        assert_eq!(view.beat.as_deref(), Some("a"));
        assert_eq!(view.alive, BTreeSet::from(["a".to_owned()]));
        assert_eq!(View::of(&json!({"beat": null})).beat, None);
    }
}
