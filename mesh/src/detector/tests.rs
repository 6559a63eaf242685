//! What a mesh of detectors does: [`town::Town`].

mod town;

use super::*;
use crate::id::Generation;
use town::{Town, addr, detector, name};

#[test]
fn a_silent_member_becomes_a_suspect_and_then_counts_as_dead_everywhere() {
    let mut town = Town::of(5);
    town.nodes[4] = None;
    let began = town.now - town.began;
    town.run(2_000);
    assert_eq!(town.seen_as(4), [Liveness::Dead; 4]);
    for observer in 0..4 {
        let of = |liveness| {
            let mut of_it =
                town.changes.iter().filter(|(_, by, standing)| *by == observer && standing.node == name(4));
            of_it.find(|(.., standing)| standing.claim.liveness == liveness).map(|(at, ..)| *at - began)
        };
        let (suspected, dead) = (of(Liveness::Suspect).unwrap(), of(Liveness::Dead).unwrap());
        assert!(dead < Duration::from_millis(1_500), "{dead:?}");
        assert!(dead - suspected >= Duration::from_millis(350), "it had time to refute");
    }
    let accusers = town.changes.iter().map(|(.., standing)| standing.suspected_by.len()).max();
    assert!(accusers > Some(1), "others looked themselves");
}

#[test]
fn a_quiet_mesh_stays_as_it_is() {
    let mut town = Town::of(7);
    town.run(20_000);
    assert_eq!(town.changes, []);
}

#[test]
fn each_is_probed_by_one_other_in_each_period() {
    let mut town = Town::of(7);
    town.run(2_000);
    town.said.clear();
    town.run(PERIODS * u32::try_from(Pace::LAN.period.as_millis()).unwrap());
    let mut gaps = Vec::new();
    for member in 0..7 {
        let is_ping = |body: &Body| matches!(body, Body::Ping { .. });
        let asked = town.said.iter().filter(|(_, _, to, body)| *to == member && is_ping(body));
        let asked: Vec<_> = asked.map(|(at, ..)| *at).collect();
        assert!((PERIODS - 1..=PERIODS + 1).contains(&u32::try_from(asked.len()).unwrap()), "{asked:?}");
        gaps.extend(asked.windows(2).map(|pair| pair[1] - pair[0]));
    }
    let longest = gaps.into_iter().max().unwrap();
    assert!(longest < 2 * Pace::LAN.period, "nobody asked for {longest:?}");
}

/// A few rounds among seven.
const PERIODS: u32 = 40;

#[test]
fn what_happens_is_counted() {
    let sum = |town: &Town, number: fn(Tally) -> u64| -> u64 {
        town.nodes.iter().flatten().map(|node| number(node.tally())).sum()
    };
    let mut town = Town::of(5);
    let quiet = town.nodes[0].as_ref().unwrap().tally();
    assert!((3..=4).contains(&quiet.probes), "one in each period of a second: {quiet:?}");
    assert_eq!(quiet, Tally { probes: quiet.probes, ..Tally::default() });
    // A round may begin and end in the middle of a second.
    town.run(1_000);
    assert_eq!(town.nodes[0].as_ref().unwrap().round_trips().count(), 4);

    town.nodes[4] = None;
    town.run(2_000);
    assert!(sum(&town, |tally| tally.suspicions) >= 1 && sum(&town, |tally| tally.deaths) >= 1);
    let (asked, failed) =
        (sum(&town, |tally| tally.indirect_probes), sum(&town, |tally| tally.probes_failed));
    assert!(failed >= 1 && asked >= failed, "{failed} failed, {asked} others were asked");
    assert_eq!(town.nodes[0].as_ref().unwrap().round_trips().count(), 3, "the dead answer nobody");

    town.stopped[0] = true;
    town.run(3_000);
    town.stopped[0] = false;
    town.run(1_000);
    assert_eq!(sum(&town, |tally| tally.stops), 1);
    town.say(2, 1, 1, 0, Liveness::Suspect, 2);
    assert_eq!(town.nodes[1].as_ref().unwrap().tally().refutations, 1);
}

#[test]
fn a_member_that_one_cannot_reach_lives_as_long_as_others_can() {
    let mut town = Town::of(5);
    town.cut(0, 1);
    town.run(60_000);
    assert_eq!(town.changes, [], "neither suspects nor deaths");
    let mut without = Town::with(5, Parts { indirect_probes: false, ..Parts::default() });
    without.cut(0, 1);
    without.run(60_000);
    assert_ne!(without.changes, [], "it is others' answers that keep it alive");
}

#[test]
fn whoever_is_cut_off_notices_before_it_buries_anybody_and_nobody_else_does() {
    let mut town = Town::of(4);
    (1..4).for_each(|other| town.cut(0, other));
    let hears_nobody =
        |town: &Town| town.nodes.iter().flatten().map(Detector::hears_nobody).collect::<Vec<_>>();
    town.run(2_400);
    assert_eq!((hears_nobody(&town), town.seen_as(0).len()), (vec![true, false, false, false], 3));
    assert!((1..4).all(|other| town.liveness(0, other) != Liveness::Dead));
    town.cuts.clear();
    town.run(5_000);
    assert_eq!(hears_nobody(&town), [false; 4]);
}

#[test]
fn a_suspect_is_told_and_refutes() {
    let mut town = Town::of(3);
    town.say(1, 0, 2, 0, Liveness::Suspect, 1);
    assert_eq!(town.liveness(0, 2), Liveness::Suspect);
    town.run(300);
    assert_eq!(town.seen_as(2), [Liveness::Alive; 2]);
    assert_eq!(town.nodes[2].as_ref().unwrap().incarnation, Incarnation(1));
    town.run(3_000);
    assert_eq!(town.deaths(), [""; 0]);
}

#[test]
fn whoever_was_stopped_kills_nobody_and_is_back_in_a_second() {
    for (stop, others) in [(3_000, 9), (15_000, 9), (15_000, 2)] {
        let mut town = Town::of(others + 1);
        town.stopped[0] = true;
        town.run(stop);
        assert!(town.seen_as(0).iter().all(|liveness| *liveness == Liveness::Dead));
        town.changes.clear();
        town.stopped[0] = false;
        town.run(1_000);
        assert!(town.seen_as(0).iter().all(|liveness| *liveness == Liveness::Alive), "after {stop} ms");
        town.run(5_000);
        assert_eq!(town.deaths(), [""; 0]);
    }
}

/// Stopped in the middle of a suspicion, it misses the refutation; on waking its timer comes before its post.
fn waking_verdicts(parts: Parts) -> Vec<String> {
    let mut town = Town::with(10, parts);
    town.stopped[1] = true;
    while town.liveness(0, 1) != Liveness::Suspect {
        town.run(1);
    }
    town.stopped[0] = true;
    town.stopped[1] = false;
    town.run(15_000);
    town.changes.clear();
    let post = std::mem::take(&mut town.post);
    town.stopped[0] = false;
    town.run(1);
    town.post.extend(post);
    town.run(5_000);
    assert_eq!(town.seen_as(1), [Liveness::Alive; 9]);
    town.deaths()
}

#[test]
fn on_waking_nobody_is_judged_by_what_was_suspected_before() {
    assert_eq!(waking_verdicts(Parts::default()), [""; 0]);
    let without = waking_verdicts(Parts { pause_guard: false, ..Parts::default() });
    assert_ne!(without, [""; 0], "the guard is what holds it back");
}

#[test]
fn both_sides_of_a_cut_find_each_other_again() {
    for left in [1, 2, 5] {
        let mut town = Town::of(10);
        for one in 0..left {
            (left..10).for_each(|other| town.cut(one, other));
        }
        town.run(30_000);
        assert_eq!(town.liveness(0, 9), Liveness::Dead);
        town.cuts.clear();
        town.changes.clear();
        town.run(3_000);
        assert_eq!(town.deaths(), [""; 0], "neither side takes over the other's verdicts");
        for member in 0..10 {
            assert_eq!(town.seen_as(member), [Liveness::Alive; 9], "n{member}, {left} on one side");
        }
    }
}

#[test]
fn a_goodbye_is_known_everywhere_at_once_and_final() {
    let mut town = Town::of(10);
    town.nodes[9] = None;
    town.tell(0, Input::SaidGoodbye { node: name(9), generation: Generation(1) });
    town.run(50);
    assert_eq!(town.seen_as(9), [Liveness::Left; 9]);
    town.meet(3, 9, 1);
    town.run(1_000);
    assert_eq!(town.seen_as(9), [Liveness::Left; 9], "that life is over");
    town.nodes[9] = Some(detector(town.now, 9, 2, Parts::default()));
    (0..9).for_each(|other| town.meet(9, other, 1));
    town.meet(3, 9, 2);
    town.run(300);
    assert_eq!(town.seen_as(9), [Liveness::Alive; 9], "the next one begins");
}

#[test]
fn a_broken_link_is_a_reason_to_look_at_once() {
    let mut town = Town::of(10);
    town.nodes[9] = None;
    town.tell(0, Input::LinkLost { node: name(9), generation: Generation(1) });
    town.run(250);
    assert_eq!(town.liveness(0, 9), Liveness::Suspect);
}

#[test]
fn numbers_that_somebody_made_up_are_not_believed() {
    let mut town = Town::of(3);
    for (member, incarnation) in [(2, 20_000), (2, u64::MAX), (0, u64::MAX)] {
        town.say(1, 0, member, incarnation, Liveness::Dead, 1);
    }
    town.run(1_000);
    assert_eq!(town.changes, []);
}

#[test]
fn however_far_somebody_drives_the_number_the_accused_goes_beyond_it() {
    let mut town = Town::of(3);
    for incarnation in [9_000, 18_000, 27_000] {
        town.say(1, 0, 2, incarnation, Liveness::Suspect, 1);
    }
    assert_eq!(town.liveness(0, 2), Liveness::Suspect);
    town.run(3_000);
    assert_eq!((town.seen_as(2), town.deaths()), (vec![Liveness::Alive; 2], Vec::new()));
}

#[test]
fn nobody_speaks_for_this_node_and_no_old_verdict_shortens_a_new_suspicion() {
    let mut town = Town::of(3);
    town.say(1, 0, 2, 0, Liveness::Dead, 0);
    assert_eq!(town.liveness(0, 2), Liveness::Alive, "its own word, which it never said");
    let suspicion = |town: &Town| town.nodes[0].as_ref().unwrap().subjects[&name(2)].suspicion.clone();
    town.say(1, 0, 2, 1, Liveness::Suspect, 1);
    let deadline = suspicion(&town).unwrap().deadline();
    town.say(1, 0, 2, 0, Liveness::Dead, 1);
    assert_eq!(suspicion(&town).unwrap().deadline(), deadline);
}

#[test]
fn names_that_nobody_has_are_no_witnesses() {
    let mut town = Town::of(6);
    let deadline = |town: &Town| {
        let detector = town.nodes[0].as_ref().unwrap();
        detector.subjects[&name(2)].suspicion.as_ref().unwrap().deadline()
    };
    town.say(1, 0, 2, 0, Liveness::Suspect, 1);
    let alone = deadline(&town);
    (50..60).for_each(|nobody| town.say(1, 0, 2, 0, Liveness::Suspect, nobody));
    assert_eq!(deadline(&town), alone);
    town.say(1, 0, 2, 0, Liveness::Suspect, 3);
    assert!(deadline(&town) < alone, "a member's word counts, whoever passes it on");
}

#[test]
fn a_member_that_says_where_it_is_now_is_told_of_everywhere_here() {
    let mut town = Town::of(3);
    let (node, generation) = (name(2), Generation(1));
    let mut outputs = Vec::new();
    let detector = town.nodes[0].as_mut().unwrap();
    detector.step(town.now, Input::Met { node, generation, addr: addr(7) }, &mut outputs);
    let told = outputs.iter().find_map(|output| match output {
        Output::Changed(standing) => Some(standing.addr),
        _ => None,
    });
    assert_eq!(told, Some(addr(7)));
}

#[test]
fn news_of_the_product_reaches_everybody_and_only_the_highest_counts() {
    let mut town = Town::of(10);
    town.tell(3, Input::Spread { topic: 1, value: 7 });
    town.run(50);
    assert_eq!(town.news.iter().filter(|(_, topic, value)| (*topic, *value) == (1, 7)).count(), 9);
    town.tell(4, Input::Spread { topic: 1, value: 6 });
    town.run(50);
    assert_eq!(town.news.len(), 9);
}

#[test]
fn who_helps_says_soon_that_nobody_answers_and_passes_on_what_comes_late() {
    let mut town = Town::of(3);
    town.stopped[2] = true;
    town.said.clear();
    let (generation, body) = (Generation(1), Body::PingReq { seq: 77, target: name(2) });
    let packet = Packet { incarnation: Incarnation(0), body, rumours: Vec::new() };
    town.tell(1, Input::Received { from: name(0), generation, packet });
    let said =
        |town: &Town, body: Body| town.said.iter().any(|said| (said.1, said.2, &said.3) == (1, 0, &body));
    let nack_after = u32::try_from(Pace::LAN.nack_after.as_millis()).unwrap();
    town.run(nack_after - 1);
    assert!(!said(&town, Body::Nack { seq: 77 }));
    town.run(2);
    assert!(said(&town, Body::Nack { seq: 77 }));
    town.stopped[2] = false;
    town.run(5);
    assert!(said(&town, Body::Ack { seq: 77 }));
    assert_eq!(town.nodes[1].as_ref().unwrap().relays.len(), 0);
}

#[test]
fn the_dead_are_forgotten_in_the_end_whoever_joins_meanwhile() {
    let mut town = Town::of(4);
    town.nodes[2] = None;
    let half = u32::try_from(REMEMBERED.as_millis()).unwrap() / 2;
    town.run(half);
    // Who was stopped looks for the dead as before.
    town.stopped[0] = true;
    town.run(3_000);
    town.stopped[0] = false;
    // It learns of everybody, also of the dead, when the others are about to forget them.
    town.nodes[3] = Some(detector(town.now, 3, 2, Parts::default()));
    for other in [0, 1] {
        town.meet(3, other, 1);
        town.meet(other, 3, 2);
    }
    town.run(half + 10_000);
    for node in [0, 1, 3] {
        let subjects = &town.nodes[node].as_ref().unwrap().subjects;
        assert!(!subjects.contains_key(&name(2)), "n{node} still knows of it");
        assert_eq!(subjects.len(), 2);
    }
}

#[test]
fn whoever_gets_too_little_time_doubts_itself_before_others() {
    let mut town = Town::of(5);
    let slowness = |town: &Town| town.nodes[0].as_ref().unwrap().health.factor();
    assert_eq!(slowness(&town), 1);
    let mut worst = 1;
    for _ in 0..20 {
        town.stopped[0] = true;
        town.run(250);
        town.stopped[0] = false;
        town.run(10);
        worst = worst.max(slowness(&town));
    }
    assert!(worst > 2, "it waits only {worst} times as long");
    town.run(10_000);
    assert_eq!((slowness(&town), town.deaths()), (1, Vec::new()));
}

#[test]
fn a_ping_that_has_to_wait_for_a_link_is_waited_for_longer() {
    let mut town = Town::of(3);
    let waits = |town: &Town, index: usize| {
        let node = town.nodes[0].as_ref().unwrap();
        node.ping_timeout(&node.subjects[&name(index)])
    };
    let (usual, generation) = (Pace::LAN.ping_timeout, Generation(1));
    assert_eq!(waits(&town, 1), usual);
    town.tell(0, Input::LinkLost { node: name(1), generation });
    assert_eq!(waits(&town, 1), 3 * usual);
    town.meet(0, 1, 1);
    assert_eq!(waits(&town, 1), usual);
    town.tell(0, Input::HeardOf { node: name(1), generation: Generation(2), addr: addr(1) });
    assert_eq!(waits(&town, 1), 3 * usual, "of its next life only others have told");
}
