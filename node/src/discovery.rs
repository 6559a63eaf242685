//! Finds peers: rows of the node table and addresses given by hand, at the start, now and then, and
//! often while this node is alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::Env;
use beatmesh_mesh::id::Generation;
use beatmesh_mesh::member::Liveness;
use beatmesh_mesh::seeds::{Seed, SeedError, SeedList};
use beatmesh_mesh::{Mesh, View};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio_util::sync::CancellationToken;

/// The usual pace: gossip does the work, this heals what it cannot.
const EVERY: Duration = Duration::from_secs(30);

/// The pace of a node that sees nobody.
const ALONE: Duration = Duration::from_secs(2);

/// The pace of a node that sees others while the table is in trouble: a thousand of them must not keep it there,
/// and two halves that only the table could bring together must not wait for long.
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);

/// Rows read at once: the most recently seen, as many as one mesh is made for.
const MOST_ROWS: u32 = 1_000;

/// A table that has not answered by then is out of reach: one that hangs must not end the looking.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Addresses dialled in one look. Whoever is met tells of all others, so a few of the most recent do; the rest
/// of them by chance, so that no heap of stale rows can hide the one that answers for long.
const MOST_RECENT: usize = 16;
const BY_CHANCE: usize = 32;

/// Whether this node sees others, and not most of them dead.
fn is_well(view: &View) -> bool {
    view.alive().nth(1).is_some() && !view.is_frozen()
}

async fn in_time<T>(asked: impl Future<Output = Result<T, SeedError>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the node table did not answer within {ANSWER_WITHIN:?}")),
    }
}

/// The addresses worth a dial: not this node, not whoever answers there already. `rows` begin with the latest.
fn to_dial(rows: Vec<Seed>, view: &View, dice: &mut StdRng) -> Vec<SocketAddr> {
    let is_met = |row: &Seed| {
        let known = view.members.get(&row.node);
        known.is_some_and(|known| known.addr == row.addr && known.liveness == Liveness::Alive)
    };
    let mut addrs: Vec<_> =
        rows.iter().filter(|row| row.node != view.me && !is_met(row)).map(|row| row.addr).collect();
    let mut rest = addrs.split_off(addrs.len().min(MOST_RECENT));
    let (chosen, _) = rest.partial_shuffle(dice, BY_CHANCE);
    addrs.extend_from_slice(chosen);
    addrs
}

/// Looks without anybody after which that is said, and how many later again: after some seconds, then each minute.
const COMPLAINS_AFTER: u32 = 3;
const COMPLAINTS: u32 = 30;

/// What discovery works with.
pub struct Discovery {
    /// The seams.
    pub env: Env,
    /// Where found peers are introduced.
    pub mesh: Arc<Mesh>,
    /// The node table.
    pub seeds: Arc<dyn SeedList>,
    /// `host:port`, given by hand.
    pub peers: Vec<String>,
    /// This life of the node.
    pub generation: Generation,
}

impl Discovery {
    /// Looks for peers until the node stops.
    pub async fn run(self, stop: CancellationToken) {
        let mut dice = self.env.entropy.rng();
        let mut trouble = false;
        // While others are seen, a table in trouble is asked ever more rarely.
        let mut patience = ALONE;
        let mut first = true;
        let mut lonely = 0;
        loop {
            let failed = self.look(first, &mut dice).await.err();
            match &failed {
                Some(error) if !trouble => {
                    tracing::warn!(error, "the node table cannot be used; going on with the members known")
                }
                None if trouble => tracing::info!("the node table can be used again"),
                _ => {}
            }
            trouble = failed.is_some();
            first = false;
            lonely = if self.is_unheard() { lonely + 1 } else { 0 };
            if lonely % COMPLAINTS == COMPLAINS_AFTER {
                let seeds = self.peers.join(", ");
                tracing::warn!(
                    seeds,
                    "no seed has answered so far: does a node run there, and does UDP pass between the machines?"
                );
            }
            let pace = match (is_well(&self.mesh.view()), trouble) {
                (true, false) => EVERY,
                (true, true) => patience,
                (false, _) => ALONE,
            };
            patience = if trouble { (patience * 2).min(LONGEST_PATIENCE) } else { ALONE };
            let pause = pace.mul_f64(dice.random_range(0.8..1.2));
            let mut views = self.mesh.watch();
            let worse = async {
                // When it is unwell already, the pace is quick enough.
                if pace == ALONE || views.wait_for(|view| !is_well(view)).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = worse => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Whether there are seeds, and nobody was ever met.
    fn is_unheard(&self) -> bool {
        !self.peers.is_empty() && self.mesh.view().members.len() == 1
    }

    /// One look: announce this node, read the rows, introduce everybody.
    async fn look(&self, first: bool, dice: &mut StdRng) -> Result<(), String> {
        let me = self.mesh.view().me.clone();
        if first && let Ok(rows) = in_time(self.seeds.read(MOST_ROWS)).await {
            // Before anybody hears of this process: a second one with the same name must go without
            // having pushed the first one out of the mesh.
            self.challenge(rows.iter().find(|row| row.node == me).map(|row| row.addr)).await;
        }
        for peer in &self.peers {
            match tokio::time::timeout(ANSWER_WITHIN, self.env.network.resolve(peer)).await {
                Ok(Ok(addrs)) => addrs.into_iter().for_each(|addr| self.mesh.introduce(addr)),
                Ok(Err(error)) => tracing::warn!(peer, %error, "a seed's address cannot be found"),
                Err(_) => tracing::warn!(peer, "a seed's address is not found in time"),
            }
        }
        // First announced, then read: of two nodes that start together one sees the other's row.
        let announced = in_time(self.seeds.announce(&me, self.generation, self.mesh.advertise())).await;
        let rows = in_time(self.seeds.read(MOST_ROWS)).await?;
        for addr in to_dial(rows, &self.mesh.view(), dice) {
            self.mesh.introduce(addr);
        }
        announced
    }

    /// Asks at this node's last address whether another process still has its id. Nobody there is the
    /// usual case after a crash; when the address is another one than now, that takes a second to find out.
    async fn challenge(&self, last: Option<SocketAddr>) {
        if let Some(addr) = last
            && self.mesh.challenge(addr).await
        {
            // The node is about to end; until then nobody hears of it.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use beatmesh_mesh::env::UnixMs;
    use beatmesh_mesh::id::Incarnation;
    use beatmesh_mesh::member::{Facts, Member};
    use beatmesh_mesh::ring::Ring;
    use rand::SeedableRng;

    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn row(name: &str, port: u16) -> Seed {
        let node = name.parse().expect("a name");
        Seed { node, generation: Generation(1), addr: addr(port), last_seen: UnixMs(0) }
    }

    fn view(members: &[(&str, u16, Liveness)]) -> View {
        let member = |(name, port, liveness): &(&str, u16, Liveness)| Member {
            id: name.parse().expect("a name"),
            generation: Generation(1),
            process: None,
            incarnation: Incarnation(0),
            liveness: *liveness,
            since: UnixMs(0),
            addr: addr(*port),
            facts: Facts::default(),
            suspected_by: Vec::new(),
        };
        let members: BTreeMap<_, _> =
            members.iter().map(member).map(|member| (member.id.clone(), Arc::new(member))).collect();
        let ring = Arc::default();
        View { me: "me".parse().expect("a name"), members, live_ring: Arc::clone(&ring), ring }
    }

    #[test]
    fn a_node_is_well_when_it_sees_others_and_most_of_them() {
        use Liveness::{Alive, Dead};
        assert!(!is_well(&view(&[("me", 1, Alive), ("a", 2, Dead)])), "it is alone");
        let others = [("me", 1, Alive), ("a", 2, Alive), ("b", 3, Dead), ("c", 4, Dead)];
        assert!(is_well(&view(&others)));
        let kept = Arc::new(Ring::new(others.map(|(name, ..)| (name.parse().expect("a name"), 1))));
        assert!(!is_well(&View { ring: kept, ..view(&others) }), "it may be the one that is cut off");
    }

    #[test]
    fn who_answers_where_its_row_says_is_not_dialled_again() {
        let known = [
            ("me", 1, Liveness::Alive),
            ("well", 2, Liveness::Alive),
            ("moved", 3, Liveness::Alive),
            ("dead", 4, Liveness::Dead),
        ];
        let rows = vec![row("me", 1), row("well", 2), row("moved", 30), row("dead", 4), row("new", 5)];
        let dialled = to_dial(rows, &view(&known), &mut StdRng::seed_from_u64(0));
        assert_eq!(dialled, [30, 4, 5].map(addr));
    }

    #[test]
    fn a_heap_of_stale_rows_costs_a_bounded_number_of_dials_and_hides_nobody_for_long() {
        let rows: Vec<_> = (0..1_000).map(|n| row(&format!("n{n}"), 1_000 + n)).collect();
        let (mut dice, nobody) = (StdRng::seed_from_u64(0), view(&[]));
        let mut dialled = std::collections::BTreeSet::new();
        let mut looks = 0;
        while dialled.len() < rows.len() {
            let now = to_dial(rows.clone(), &nobody, &mut dice);
            assert_eq!(now.len(), MOST_RECENT + BY_CHANCE);
            assert!((1_000..1_016).all(|port| now.contains(&addr(port))), "the most recent each time");
            dialled.extend(now);
            looks += 1;
        }
        assert!(looks < 500, "{looks}");
    }
}
