//! Nodes that do not belong: refused, told about at most once a minute, never in the roster.

use std::time::Duration;

use beatmesh_tests::{Node, NodeSpec, Scratch, TestMesh, processes, until_some};

/// Long enough for a lone node to dial its seed several times (every 2 s).
const INSIST: Duration = Duration::from_secs(7);

/// The stranger dials for a while; the mesh of node-1 and node-2 must neither admit it nor fill its log.
async fn assert_refused(mesh: &mut TestMesh, stranger: &mut Node) {
    let name = stranger.name().to_owned();
    let refusals = |node: &Node| {
        let refused = node.events("refused a peer");
        refused
            .into_iter()
            .map(|line| (line["peer"].to_string(), line["reason"].to_string()))
            .collect::<Vec<_>>()
    };
    let what = format!("somebody has refused {name}, or was refused by it");
    until_some(&what, Duration::from_secs(10), async || {
        let told = !refusals(&mesh.nodes[0]).is_empty() || !refusals(stranger).is_empty();
        told.then_some(())
    })
    .await;
    tokio::time::sleep(INSIST).await;
    for node in &mesh.nodes {
        let view = node.view().await;
        let members = view["members"].as_array().unwrap();
        assert!(members.iter().all(|member| member["id"] != name.as_str()), "{view:#}");
        assert_eq!(members.len(), 2, "{view:#}");
    }
    let own = stranger.view().await;
    assert_eq!(own["members"].as_array().unwrap().len(), 1, "it is alone: {own:#}");
    for node in mesh.nodes.iter().chain([&*stranger]) {
        let told = refusals(node);
        println!("{} told of {told:?}", node.name());
        // Both sides dial, and each direction fails with words of its own: still one finding.
        assert!(told.len() <= 1, "more than one line within a minute: {told:#?}");
    }
    mesh.until_formed().await;
    mesh.assert_well().await;
    stranger.assert_well().await;
}

#[tokio::test]
async fn a_node_with_another_secret_is_refused() {
    let mut mesh = TestMesh::start(2).await;
    let other = Scratch::new();
    let mut stranger = NodeSpec::new(&other, "stranger")
        .flag("--db", format!("sqlite://{}", mesh.dir.join("mesh.db").display()))
        .flag("--seed", mesh.nodes[0].mesh_addr())
        .start();
    assert_refused(&mut mesh, &mut stranger).await;
}

#[tokio::test]
async fn a_node_of_another_mesh_name_is_refused() {
    let mut mesh = TestMesh::start(2).await;
    let mut stranger = NodeSpec::new(&mesh.dir, "stranger")
        .set("mesh.name", "other")
        .flag("--seed", mesh.nodes[0].mesh_addr())
        .start();
    assert_refused(&mut mesh, &mut stranger).await;
}

#[tokio::test]
async fn a_node_with_another_store_is_refused() {
    let mut mesh = TestMesh::start(2).await;
    let mut stranger = NodeSpec::new(&mesh.dir, "stranger")
        .flag("--db", format!("sqlite://{}", mesh.dir.join("other.db").display()))
        .flag("--seed", mesh.nodes[0].mesh_addr())
        .start();
    assert_refused(&mut mesh, &mut stranger).await;
    let reasons = stranger.events("refused a peer").into_iter().chain(mesh.nodes[0].events("refused a peer"));
    let reasons: Vec<String> = reasons.map(|line| line["reason"].to_string()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("store")), "it says why: {reasons:#?}");
}

/// The largest that UDP carries over IPv4.
const LARGEST: usize = 65_507;

/// Whatever else may speak UDP there: nobody is admitted, nobody falls over, nothing is kept of it.
#[tokio::test]
async fn random_datagrams_do_no_harm() {
    let mut mesh = TestMesh::start(2).await;
    let before: Vec<u64> = mesh.nodes.iter().filter_map(|node| processes::resident(node.pid())).collect();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut dice = 88_172_645_463_325_252_u64;
    for number in 0..5_000 {
        let mut packet = Vec::new();
        for _ in 0..=(dice % 180) {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            packet.extend_from_slice(&dice.to_le_bytes());
        }
        // Half of them with the look of a QUIC initial packet.
        if dice.is_multiple_of(2) {
            packet[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
        }
        if number % 5 == 0 {
            packet.resize(LARGEST - number % 3, 0xa5);
        }
        for node in &mesh.nodes {
            let _ = socket.send_to(&packet, node.mesh_addr());
        }
    }
    for (node, before) in mesh.nodes.iter().zip(before) {
        let now = processes::resident(node.pid()).expect("it runs");
        println!("{}: {} KiB before, {} KiB after", node.name(), before / 1_024, now / 1_024);
        assert!(now < before + (32 << 20), "5,000 datagrams of nobody are kept");
    }
    mesh.until_formed().await;
    mesh.assert_well().await;
}
