//! Somebody on the line who has no key: packets of real links, recorded and sent again from another port, in order,
//! shuffled, cut and changed. QUIC throws them away; what is tested is that a node does not pay for them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use beatmesh_tests::replay::{Dice, Tap};
use beatmesh_tests::{NodeSpec, Target, until};

/// Packets that are sent again, whatever number was recorded.
const PACKETS: usize = 10_000;

/// As fast as a busy node takes them, and not faster than its socket holds: else they would test the kernel.
const BURST: usize = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// A forged first packet costs a handshake of 90 KiB for the second in which it may come to an end, and
/// [`BURST`] every 2 ms may all be such; nodes take 64 of them, and then want a proof of address first.
const MEMORY: u64 = 32 << 20;

/// A port that is known before its node has it, so that the tap is there first. None of those that the system gives
/// to whoever asks for any (on Linux from 32768 on): tests that run meanwhile would be given it.
fn port_to_come() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test binaries that run at the same time begin elsewhere.
    let first = 12_000 + u16::try_from(std::process::id() % 300).expect("it is small") * 64;
    let ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed) % 64).take(64);
    let mut addrs = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    addrs.find(|addr| UdpSocket::bind(addr).is_ok()).expect("one of 64 ports is free")
}

/// Two nodes that reach each other through taps only, with some traffic between them.
async fn tapped() -> (Target, Vec<Tap>, Vec<Vec<u8>>) {
    let any = "127.0.0.1:0";
    let mut taps = Vec::new();
    let target = Target::started(|dir| {
        let nodes = ["node-1", "node-2"].map(|name| {
            let front = UdpSocket::bind(any).expect("there is a free port");
            let addr = front.local_addr().expect("it is bound");
            let back = port_to_come();
            taps.push(Tap::before(back, front));
            NodeSpec::new(dir, name).mesh(back).flag("--advertise", addr).start()
        });
        nodes.into()
    })
    .await
    .most_memory(MEMORY);
    // Whoever finds the other first dials it, so one of the taps may hear nothing.
    let heard = async || taps.iter().map(|tap| tap.heard().len()).sum::<usize>();
    until("there is something to replay", Duration::from_secs(20), heard, |count| *count >= 100).await;
    let recorded = taps.iter().flat_map(Tap::heard).collect();
    (target, taps, recorded)
}

/// Sends these to both nodes, past the taps, from one port; answers how many.
async fn replay(target: &Target, packets: impl Iterator<Item = Vec<u8>>) -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    let nodes: Vec<SocketAddr> = target.mesh.nodes.iter().map(|node| node.mesh_addr()).collect();
    let mut sent = 0;
    for (number, packet) in packets.enumerate() {
        for node in &nodes {
            // An empty or an overlong one may be refused by the kernel.
            sent += usize::from(socket.send_to(&packet, node).is_ok());
        }
        if number.is_multiple_of(BURST) {
            tokio::time::sleep(PAUSE).await;
        }
    }
    sent
}

/// Replays what `change` makes of the recorded packets while calls go on; nobody is refused, because nobody ever
/// got as far as to be judged.
async fn harmless(change: impl Fn(&mut Dice, &[Vec<u8>], usize) -> Vec<u8>) {
    let (mut target, _taps, recorded) = tapped().await;
    let mut dice = Dice::of(23);
    let packets = (0..PACKETS).map(|number| change(&mut dice, &recorded, number));
    let sent = target.under(replay(&target, packets)).await;
    println!("{} packets recorded, {sent} sent", recorded.len());
    // A suspicion may be under way that loss in the flood has raised; it is refuted, or the link has not held.
    let view = async || target.mesh.nodes[0].view().await;
    let is_alive = |view: &serde_json::Value| view["members"][1]["liveness"] == "alive";
    until("the link holds", Duration::from_secs(5), view, is_alive).await;
    target.assert_refused(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_packets_that_come_again_in_order_do_no_harm() {
    harmless(|_, recorded, number| recorded[number % recorded.len()].clone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_packets_that_come_again_in_any_order_do_no_harm() {
    harmless(|dice, recorded, _| recorded[dice.below(recorded.len())].clone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_packets_that_are_cut_or_have_changed_bits_do_no_harm() {
    harmless(|dice, recorded, number| {
        let mut packet = recorded[number % recorded.len()].clone();
        if number.is_multiple_of(2) {
            packet.truncate(dice.below(packet.len()));
        } else {
            for _ in 0..=dice.below(4) {
                let at = dice.below(packet.len());
                packet[at] ^= 1 << dice.below(8);
            }
        }
        packet
    })
    .await;
}
