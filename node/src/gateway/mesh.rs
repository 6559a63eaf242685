//! The mesh as this node sees it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use beatmesh_mesh::View;
use beatmesh_mesh::id::NodeId;
use beatmesh_mesh::member::Member;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Gateway;
use super::changes::{beat_of, fingerprint};
use super::reply::{self, ApiError, Named, Parameters};
use crate::load;
use crate::problem::Problem;
use crate::roles::facts;

/// `GET /v1/mesh`: members, ring, Beat.
pub(super) async fn overview(State(gateway): State<Arc<Gateway>>) -> Response {
    reply::json(StatusCode::OK, &overview_of(&gateway, &gateway.mesh.view()))
}

/// A view as clients read it.
pub(super) fn overview_of(gateway: &Gateway, view: &View) -> Value {
    let members: Vec<_> = view.members.values().map(|member| shown(gateway, member)).collect();
    let in_ring: Vec<_> = view.ring.members().iter().map(|(id, _)| id).collect();
    json!({
        "mesh": gateway.mesh_name,
        "self": view.me,
        "beat": beat_of(view),
        "ring": { "fingerprint": fingerprint(view.ring.fingerprint()), "members": in_ring, "frozen": view.is_frozen() },
        "members": members,
    })
}

/// `GET /v1/mesh/members/{id}`.
pub(super) async fn member(
    State(gateway): State<Arc<Gateway>>,
    Named(id): Named<NodeId>,
) -> Result<Response, ApiError> {
    let view = gateway.mesh.view();
    let member = view.members.get(&id).ok_or_else(|| {
        Problem::new(404, "member_not_found", "no such member", format!("this node knows no member `{id}`"))
    })?;
    Ok(reply::json(StatusCode::OK, &shown(&gateway, member)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    key: String,
    n: Option<usize>,
}

/// `GET /v1/mesh/ring?key=K&n=3`: who owns a key, and who comes next.
pub(super) async fn ring(
    State(gateway): State<Arc<Gateway>>,
    Parameters(asked): Parameters<Key>,
) -> Result<Response, ApiError> {
    let n = reply::in_range("n", asked.n.unwrap_or(3), 1..=1_000)?;
    let ring = gateway.mesh.view().ring.clone();
    let successors: Vec<_> = ring.successors(asked.key.as_bytes()).take(n).collect();
    let answer = json!({
        "key": asked.key,
        "fingerprint": fingerprint(ring.fingerprint()),
        "owner": successors.first(),
        "successors": successors,
    });
    Ok(reply::json(StatusCode::OK, &answer))
}

fn shown(gateway: &Gateway, member: &Member) -> Value {
    let list = |key| member.facts.set_of(key).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let load = if member.id == gateway.me {
        Some(load::of(gateway.worker.as_deref()))
    } else {
        load::stated(member)
    };
    let rtt = gateway.mesh.round_trip(&member.id).map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3);
    json!({
        "id": member.id,
        "name": member.id,
        "generation": member.generation,
        "liveness": member.liveness,
        "ready": member.facts.is_ready(),
        "roles": list(facts::ROLES),
        "pools": list(facts::POOLS),
        "zone": member.facts.get(facts::ZONE),
        "http": member.facts.get(facts::HTTP),
        "mesh": member.addr,
        "version": member.facts.get(facts::VERSION),
        "config": member.facts.get(facts::DIGEST),
        "incarnation": member.incarnation,
        "since": reply::time(member.since),
        "suspected_by": member.suspected_by,
        "rtt_ms": rtt,
        "load": load,
    })
}
