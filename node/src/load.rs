//! How much a node runs, as the others know it: a fact that it states about itself now and then. For people to
//! look at; nothing is routed by it, for it is always late.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::Mesh;
use beatmesh_mesh::member::Member;

use crate::roles::facts;
use crate::worker::Worker;

/// Every statement goes to all linked members, so busy nodes must not make them often.
const STATED_EVERY: Duration = Duration::from_secs(2);

/// Calls and tasks that run here now; none without a worker.
#[must_use]
pub fn of(worker: Option<&Worker>) -> usize {
    worker.map_or(0, Worker::in_flight)
}

/// What a member has stated last; `None` when it has not, or is not there to run anything.
#[must_use]
pub fn stated(member: &Member) -> Option<usize> {
    let runs = member.liveness.owns_keys();
    member.facts.get(facts::LOAD).filter(|_| runs)?.parse().ok()
}

/// States the worker's load whenever it is another one, for ever.
pub async fn tell(mesh: Arc<Mesh>, worker: Arc<Worker>) {
    // As the first facts of a node have it.
    let mut stated = 0;
    loop {
        tokio::time::sleep(STATED_EVERY).await;
        let load = of(Some(&worker));
        if load != stated {
            mesh.set_facts([(facts::LOAD, load.to_string())]).await;
            stated = load;
        }
    }
}
