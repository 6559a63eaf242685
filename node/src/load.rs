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

/// In larger meshes they are made more rarely, so that their bytes do not grow with the mesh.
const OFTEN_UP_TO: u32 = 64;

/// Between two statements in a mesh of so many.
fn pause(members: usize) -> Duration {
    STATED_EVERY * u32::try_from(members).unwrap_or(u32::MAX).max(OFTEN_UP_TO) / OFTEN_UP_TO
}

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
        tokio::time::sleep(pause(mesh.view().members.len())).await;
        let load = of(Some(&worker));
        if load != stated {
            mesh.set_facts([(facts::LOAD, load.to_string())]).await;
            stated = load;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_large_mesh_load_is_stated_more_rarely() {
        let seconds = [1, 3, 64, 200, 800].map(|members| pause(members).as_millis());
        assert_eq!(seconds, [2_000, 2_000, 2_000, 6_250, 25_000]);
    }
}
