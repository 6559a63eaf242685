//! Messages of a peer's chitchat, fed to ours through the same door as in a node: gossip goes on, and nobody
//! changes what this node says of itself.
#![no_main]

use beatmesh_fuzz::{Choices, joined, seeds};
use beatmesh_mesh::fuzzing::gossip;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// chitchat's own encoding, by hand: its constructors are private.
mod letter {
    pub const SYN: u8 = 0;
    pub const SYN_ACK: u8 = 1;
    pub const ACK: u8 = 2;

    fn text(text: &str) -> Vec<u8> {
        [&u16::try_from(text.len()).expect("short").to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn id(node: &str) -> Vec<u8> {
        [&text(node)[..], &1_u64.to_le_bytes(), &[4, 127, 0, 0, 1], &2_u16.to_le_bytes()].concat()
    }

    pub fn begin(kind: u8) -> Vec<u8> {
        [&45_139_u16.to_le_bytes()[..], &[0, kind]].concat()
    }

    pub fn digest(node: &str, heartbeat: u64) -> Vec<u8> {
        let numbers = [heartbeat, 0, 0].map(u64::to_le_bytes).concat();
        [&1_u16.to_le_bytes()[..], &id(node), &numbers].concat()
    }

    pub fn delta(node: &str, version: u64, set_max: Option<u64>) -> Vec<u8> {
        let mut block = [&[0][..], &id(node), &[0; 16], &[1], &text("_v"), &text("1")].concat();
        block.extend([&version.to_le_bytes()[..], &[0]].concat());
        if let Some(most) = set_max {
            block.extend([&[2][..], &most.to_le_bytes()].concat());
        }
        [&[2][..], &u16::try_from(block.len()).expect("short").to_le_bytes(), &block, &[0]].concat()
    }

    pub fn mesh() -> Vec<u8> {
        text("m")
    }
}

fn golden() -> Vec<Vec<u8>> {
    use letter::{ACK, SYN, SYN_ACK, begin, delta, digest, mesh};
    let syn = |heartbeat| [begin(SYN), digest("n", heartbeat), mesh()].concat();
    let syn_ack = [begin(SYN_ACK), digest("n", 7), delta("n", 1, None)].concat();
    let ack = [begin(ACK), delta("n", 9, Some(9))].concat();
    vec![
        joined(&[&syn(1)]),
        joined(&[&syn(1), &syn_ack]),
        joined(&[&syn(1), &syn(2), &ack, &syn(3)]),
        joined(&[&begin(3)]),
    ]
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO");
}

fuzz_target!(init: seeds(golden()), |data: &[u8]| {
    let mut choices = Choices(data);
    let mut messages = Vec::new();
    while !choices.is_empty() && messages.len() < 16 {
        messages.push(Bytes::copy_from_slice(choices.piece()));
    }
    RUNTIME.with(|runtime| runtime.block_on(gossip(messages)));
});
