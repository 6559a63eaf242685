//! The node table: hints about peers, in which an old life never passes for a newer one (M2).

use std::net::SocketAddr;
use std::time::Duration;

use beatmesh_mesh::id::{Generation, NodeId};

use super::{FOREVER, Node, Subject};

fn id(name: &str) -> NodeId {
    name.parse().expect("a node id")
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

async fn rows(node: &Node) -> Vec<(String, u64, u16)> {
    let rows = node.seeds.read(100).await.expect("read");
    rows.into_iter().map(|row| (row.node.to_string(), row.generation.0, row.addr.port())).collect()
}

async fn announce(node: &Node, name: &str, generation: u64, port: u16) {
    node.seeds.announce(&id(name), Generation(generation), addr(port)).await.expect("announced");
}

/// Who was seen last is the best hint; a refresh counts, and addresses may change.
pub async fn the_latest_rows_come_first(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    for (name, port) in [("a", 1), ("b", 2), ("c", 3)] {
        announce(&nodes[0], name, 1, port).await;
        subject.pass(Duration::from_millis(3)).await;
    }
    let row = |name: &str, port| (name.to_owned(), 1, port);
    assert_eq!(rows(&nodes[1]).await, [row("c", 3), row("b", 2), row("a", 1)]);
    announce(&nodes[0], "a", 1, 9).await;
    assert_eq!(rows(&nodes[1]).await, [row("a", 9), row("c", 3), row("b", 2)]);
    let most = nodes[1].seeds.read(2).await.expect("read");
    assert_eq!(most.len(), 2);
    assert!(most[0].last_seen > most[1].last_seen);
}

/// Restarts, zombies and crossed goodbyes.
pub async fn an_old_generation_neither_replaces_nor_removes_a_newer_row(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let newer = [("a".to_owned(), 5, 55)];
    announce(&nodes[0], "a", 4, 44).await;
    announce(&nodes[1], "a", 5, 55).await;
    assert_eq!(rows(&nodes[2]).await, newer);
    announce(&nodes[0], "a", 4, 44).await;
    assert_eq!(rows(&nodes[2]).await, newer, "the old process is still there and refreshes its row");
    nodes[0].seeds.withdraw(&id("a"), Generation(4)).await.expect("answered");
    assert_eq!(rows(&nodes[2]).await, newer, "the old process says goodbye late");
    nodes[0].seeds.withdraw(&id("b"), Generation(9)).await.expect("nothing to withdraw");
    nodes[1].seeds.withdraw(&id("a"), Generation(5)).await.expect("answered");
    assert!(rows(&nodes[2]).await.is_empty());

    for _ in 0..10 {
        let (old, new) = (Generation(6), Generation(7));
        let (a, at) = (id("a"), addr);
        let both = tokio::join!(
            nodes[0].seeds.announce(&a, old, at(66)),
            nodes[1].seeds.announce(&a, new, at(77)),
            nodes[2].seeds.withdraw(&a, old)
        );
        assert!(both.0.is_ok() && both.1.is_ok() && both.2.is_ok());
        assert_eq!(rows(&nodes[2]).await, [("a".to_owned(), 7, 77)]);
        nodes[1].seeds.withdraw(&a, new).await.expect("answered");
    }
}
