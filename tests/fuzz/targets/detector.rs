//! A failure detector among members that say anything in any order: it never panics, what it holds stays bounded,
//! and what it sends can be sent.
#![no_main]

use std::time::Duration;

use beatmesh_fuzz::{Choices, seeds};
use beatmesh_mesh::detector::message::{Body, MemberClaim, Packet, Rumour};
use beatmesh_mesh::detector::pace::Pace;
use beatmesh_mesh::detector::{Detector, Input, Myself, Output, Parts, REMEMBERED};
use beatmesh_mesh::env::UnixMs;
use beatmesh_mesh::fuzzing::{excess, timers};
use beatmesh_mesh::id::{Generation, Incarnation, NodeId};
use beatmesh_mesh::member::{Claim, Liveness};
use beatmesh_mesh::wire::{self, message::kind, probe};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

/// The smallest datagram of QUIC has 1,200 bytes; its own headers take at most 38 of them.
const DATAGRAM: usize = 1_162;

/// So many inputs of one run at most.
const LONGEST: usize = 200;

/// As the first byte: the table, small in this build, is all but full.
const CROWDED: u8 = 255;
const CROWD: usize = 60;

struct World {
    detector: Detector,
    now: Instant,
    wall: UnixMs,
    outputs: Vec<Output>,
}

impl World {
    fn step(&mut self, input: Input) {
        self.detector.step(self.now, input, &mut self.outputs);
        for output in self.outputs.drain(..) {
            if let Output::Send { packet, .. } = output {
                let bytes = probe::encode(&packet);
                assert_eq!(probe::decode(&bytes), Ok(packet));
                let length = wire::encode(kind::PROBE, &bytes).len();
                assert!(length <= DATAGRAM, "a packet of {length} bytes");
            }
        }
        assert_eq!(excess(&self.detector), None);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.wall = self.wall.plus(time);
        self.step(Input::TimePassed { wall: self.wall });
        assert!(self.detector.next_wake() > self.now, "it would wake again at once, for ever");
    }

    fn event(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 12 {
            0 => self.pass(Duration::from_millis(u64::from(choices.byte()) * 4)),
            1 => {
                let until = self.detector.next_wake().saturating_duration_since(self.now);
                self.pass(until);
            }
            2 => {
                let (node, generation) = (name(choices), generation(choices));
                self.step(Input::Met { node, generation, addr: addr(choices) });
            }
            3 => {
                let (node, generation) = (name(choices), generation(choices));
                self.step(Input::HeardOf { node, generation, addr: addr(choices) });
            }
            4 => {
                let (node, generation) = (name(choices), generation(choices));
                self.step(Input::LinkLost { node, generation });
            }
            5 => {
                let (node, generation) = (name(choices), generation(choices));
                self.step(Input::SaidGoodbye { node, generation });
            }
            6 => {
                let (topic, value) = (u16::from(choices.byte()), choices.number());
                self.step(Input::Spread { topic, value });
            }
            7 => {
                let (from, generation) = (name(choices), generation(choices));
                if let Ok(packet) = probe::decode(choices.piece()) {
                    self.step(Input::Received { from, generation, packet });
                }
            }
            8 => self.wall = UnixMs(choices.number().cast_signed()),
            _ => {
                let (from, generation) = (name(choices), generation(choices));
                let packet = packet(choices);
                self.step(Input::Received { from, generation, packet });
            }
        }
    }

    /// Many that nobody has heard of: they leave room for a few.
    fn crowd(&mut self) {
        for number in 0..CROWD {
            let node = format!("{}-{number}", "x".repeat(50)).parse().expect("a label");
            self.detector.acquaint(self.now, node, Generation(1), ([10, 0, 0, 1], 1).into());
        }
    }
}

/// One of eight, this node itself among them, some with the longest of names.
fn name(choices: &mut Choices<'_>) -> NodeId {
    let number = choices.byte() % 8;
    let name = if number % 2 == 0 { format!("n{number}") } else { number.to_string().repeat(63) };
    name.parse().expect("a label")
}

fn generation(choices: &mut Choices<'_>) -> Generation {
    match choices.byte() {
        0..=199 => Generation(1),
        200..=230 => Generation(2),
        _ => Generation(choices.number()),
    }
}

fn addr(choices: &mut Choices<'_>) -> std::net::SocketAddr {
    match choices.byte() % 3 {
        0 => ([127, 0, 0, 1], 1).into(),
        1 => ([0xffff_u16; 8], 65_535).into(),
        _ => ([10, 0, 0, choices.byte()], 2).into(),
    }
}

fn packet(choices: &mut Choices<'_>) -> Packet {
    let incarnation = Incarnation(choices.number());
    let seq = choices.number() as u32;
    let body = match choices.byte() % 6 {
        0 => Body::Ping { seq },
        1 => Body::PingReq { seq, target: name(choices) },
        2 => Body::Ack { seq },
        3 => Body::Nack { seq },
        4 => Body::News,
        _ => Body::Table,
    };
    let rumours = (0..choices.byte() % 5).map(|_| rumour(choices)).collect();
    Packet { incarnation, body, rumours }
}

fn rumour(choices: &mut Choices<'_>) -> Rumour {
    let kind = choices.byte() % 5;
    if kind == 4 {
        return Rumour::Topic { topic: u16::from(choices.byte()), value: choices.number() };
    }
    let liveness = [Liveness::Alive, Liveness::Suspect, Liveness::Dead, Liveness::Left][usize::from(kind)];
    let claim =
        Claim { generation: generation(choices), incarnation: Incarnation(choices.number()), liveness };
    Rumour::Member(MemberClaim { node: name(choices), claim, addr: addr(choices), by: name(choices) })
}

fn golden() -> Vec<Vec<u8>> {
    let met = |node: u8| vec![2, node, 0, 0];
    let accused = vec![9, 2, 0, 0, 0, 4, 1, 1, 0, 0, 4, 0, 6];
    let silence = vec![1; 40];
    let packet = probe::encode(&Packet {
        incarnation: Incarnation(1),
        body: Body::Ping { seq: 1 },
        rumours: vec![Rumour::Topic { topic: 1, value: 7 }],
    });
    let received = [&[7, 2, 0], &beatmesh_fuzz::joined(&[&packet])[..]].concat();
    vec![
        [vec![1], met(2), met(4), met(6), accused.clone(), silence.clone()].concat(),
        [vec![1], met(2), received, vec![5, 2, 0], silence.clone()].concat(),
        [vec![CROWDED], met(2), met(4), met(6), met(1), met(3), met(5), accused].concat(),
    ]
}

fuzz_target!(init: seeds(golden()), |data: &[u8]| {
    let mut choices = Choices(data);
    let now = Instant::now();
    let me = Myself {
        node: "n0".parse().expect("a label"),
        generation: Generation(1),
        addr: ([127, 0, 0, 1], 1).into(),
    };
    let first = choices.byte();
    let dice = StdRng::seed_from_u64(u64::from(first));
    let detector = Detector::new(now, me, Pace::LAN, Parts::default(), dice);
    let mut world = World { detector, now, wall: UnixMs(0), outputs: Vec::new() };
    if first == CROWDED {
        world.crowd();
    }
    for _ in 0..LONGEST {
        if choices.is_empty() {
            break;
        }
        world.event(&mut choices);
    }
    // Then nobody says anything any more: the dead are forgotten, and so is everything else.
    for _ in 0..20 {
        let until = world.detector.next_wake().saturating_duration_since(world.now);
        world.pass(until);
    }
    world.pass(REMEMBERED);
    world.pass(REMEMBERED);
    assert!(timers(&world.detector) < 20_000, "timers are not given up");
});
