//! What happens to the members, and what is measured of it. Each story repeats its own until that says something.

use std::time::Duration;

use super::town::Town;
use super::{Book, Effort, Setting, alone, shares, starved};

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// Members are killed, one after the other, and start again.
    Kill,
    /// Nothing happens but loss.
    Quiet,
    /// Members say goodbye, and start again.
    Leave,
    /// Members do not run for a while.
    Stop,
    /// All have too little time, and run now and then only.
    Starved,
    /// Two do not reach each other, both reach the others.
    Cut,
    /// The halves do not reach each other.
    Split,
    /// Nobody reaches anybody.
    Isolated,
    /// The smaller part does not reach the greater one: one member, and a third; what becomes of its ring.
    Alone,
    /// The ring.
    Shares,
}

const SECOND: Duration = Duration::from_secs(1);

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// A killed member is gone from all views of fifty within so many milliseconds; larger meshes may take longer as
/// the logarithm grows.
const GONE_MS: f64 = 2_000.0;
const LEFT_MS: f64 = 50.0;
const BACK_MS: f64 = 1_000.0;
const HEALED_MS: f64 = 5_000.0;

/// A node of the largest mesh may send so much more than one of the smallest: at 5 % loss there are suspects in
/// proportion to the members, and all hear of each.
const CONSTANT: f64 = 1.25;
const BYTES: &str = "quiet: sent by a node";

impl Story {
    /// All, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Kill,
        Self::Quiet,
        Self::Leave,
        Self::Stop,
        Self::Starved,
        Self::Cut,
        Self::Split,
        Self::Isolated,
        Self::Alone,
        Self::Shares,
    ];

    /// As people type it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Quiet => "quiet",
            Self::Leave => "leave",
            Self::Stop => "stop",
            Self::Starved => "starved",
            Self::Cut => "cut",
            Self::Split => "split",
            Self::Isolated => "isolated",
            Self::Alone => "alone",
            Self::Shares => "shares",
        }
    }

    /// Sizes that its figures are wanted for.
    #[must_use]
    pub fn sizes(self) -> &'static [usize] {
        match self {
            Self::Kill | Self::Leave => &[5, 10, 50, 200, 1_000],
            Self::Quiet => &[10, 50, 200, 1_000],
            Self::Starved => &[10, 50],
            Self::Stop | Self::Split | Self::Isolated => &[5, 50],
            Self::Cut => &[5],
            Self::Alone => &[5, 10, 50, 200],
            Self::Shares => &[3, 10, 50, 200, 1_000],
        }
    }

    /// Plays one seed. The same seed gives the same figures.
    #[must_use]
    pub fn play(self, setting: &Setting, effort: Effort, seed: u64) -> Book {
        let mut book = Book::default();
        match self {
            Self::Kill => kill(&mut book, setting, effort, seed),
            Self::Quiet => quiet(&mut book, setting, effort, seed),
            Self::Leave => leave(&mut book, setting, effort, seed),
            Self::Stop => stop(&mut book, setting, effort, seed),
            Self::Starved => starved::play(&mut book, setting, seed),
            Self::Cut => cut(&mut book, setting, seed),
            Self::Split => split(&mut book, setting, seed),
            Self::Isolated => isolated(&mut book, setting, seed),
            Self::Alone => alone::play(&mut book, setting, seed),
            Self::Shares => shares::play(&mut book, setting, seed),
        }
        book
    }

    /// By its name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn named(text: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::as_str).join(", ");
        let named = Self::ALL.into_iter().find(|story| story.as_str() == text);
        named.ok_or_else(|| format!("there is no such story; there are {}", all()))
    }

    /// What is judged over sizes.
    pub fn compare(book: &mut Book) {
        book.is_constant(BYTES, CONSTANT);
    }
}

fn repetitions(setting: &Setting, effort: Effort) -> usize {
    match (effort, setting.nodes) {
        (Effort::Look, _) => 5,
        (_, ..=50) => 400,
        (_, ..=200) => 50,
        // Whoever starts again exchanges all it knows with each of the others.
        _ => 4,
    }
}

/// The goals are those of one data centre.
fn goal(setting: &Setting, ms: f64) -> Option<f64> {
    (setting.pace == beatmesh_mesh::detector::pace::Pace::LAN).then_some(ms)
}

fn kill(book: &mut Book, setting: &Setting, effort: Effort, seed: u64) {
    const GONE: &str = "kill: gone from all views";
    let mut town = Town::new(setting, seed);
    let growth = ((setting.nodes as f64).log10() / 50_f64.log10()).max(1.0);
    for _ in 0..repetitions(setting, effort) {
        let node = town.somebody(&[]);
        let began = town.now();
        town.kill(node);
        let gone = town.run_until(began + PATIENCE, |town| town.views.wrong_about(node) == 0);
        for (name, at) in [
            ("kill: first suspicion", town.views.first_suspected),
            ("kill: first verdict", town.views.first_dead),
        ] {
            at.into_iter().for_each(|at| book.time(name, setting, at - began, None));
        }
        match gone {
            Some(at) => book.time(GONE, setting, at - began, goal(setting, GONE_MS * growth)),
            None => book.wrong(GONE, setting, format!("node {node} is still there at {:?}", town.now())),
        }
        come_back(book, setting, &mut town, node);
    }
    false_deaths(book, setting, &town);
}

/// A new life begins, and is found.
fn come_back(book: &mut Book, setting: &Setting, town: &mut Town, node: usize) {
    const KNOWN: &str = "start: known to all";
    // Starts are not in step with deaths.
    let pause = SECOND.mul_f64(town.chance());
    town.run_for(pause);
    let began = town.now();
    town.start_again(node);
    match town.run_until(began + PATIENCE, |town| town.views.wrong_about(node) == 0) {
        Some(at) => book.time(KNOWN, setting, at - began, None),
        None => book.wrong(KNOWN, setting, format!("node {node} is not found at {:?}", town.now())),
    }
    if town.run_until(began + PATIENCE, |town| town.views.wrong_by(node) == 0).is_none() {
        book.wrong("start: knows all", setting, format!("node {node} does not at {:?}", town.now()));
    }
}

fn quiet(book: &mut Book, setting: &Setting, effort: Effort, seed: u64) {
    let mut town = Town::new(setting, seed);
    town.traffic.weighs = true;
    let began = town.now();
    let least = if effort == Effort::Look { 5 * SECOND } else { 60 * SECOND };
    town.run_for(least);
    let length = (town.now() - began).as_secs_f64();
    let bytes = town.traffic.bytes as f64 / length / setting.nodes as f64;
    book.value(BYTES, setting, "B/s", bytes, None);
    let datagrams = town.traffic.datagrams as f64 / length / setting.nodes as f64;
    book.value("quiet: datagrams of a node", setting, "/s", datagrams, None);
    town.traffic.weighs = false;
    if effort == Effort::Figures && setting.loss > 0.0 && setting.nodes <= 50 {
        while town.traffic.probes < 1_000_000 {
            town.run_for(60 * SECOND);
        }
    }
    let suspected = town.views.suspected.len();
    // Loss alone makes some suspects; without it there is no reason for any.
    let none = (setting.loss == 0.0).then_some(0.0);
    book.rare("quiet: false suspicions", setting, (suspected, town.traffic.probes), none);
    false_deaths(book, setting, &town);
}

/// In all probes of a town nobody who lives was held for dead.
fn false_deaths(book: &mut Book, setting: &Setting, town: &Town) {
    book.rare("false deaths, of probes", setting, (town.views.buried.len(), town.traffic.probes), Some(0.0));
}

fn leave(book: &mut Book, setting: &Setting, effort: Effort, seed: u64) {
    const LEFT: &str = "leave: known to all";
    let mut town = Town::new(setting, seed);
    for _ in 0..repetitions(setting, effort) {
        let node = town.somebody(&[]);
        let began = town.now();
        town.leave(node);
        match town.run_until(began + PATIENCE, |town| town.views.wrong_about(node) == 0) {
            Some(at) => book.time(LEFT, setting, at - began, goal(setting, LEFT_MS)),
            None => book.wrong(LEFT, setting, format!("node {node} is still there at {:?}", town.now())),
        }
        come_back(book, setting, &mut town, node);
    }
    false_deaths(book, setting, &town);
}

fn stop(book: &mut Book, setting: &Setting, effort: Effort, seed: u64) {
    let mut town = Town::new(setting, seed);
    let times = if effort == Effort::Look { 3 } else { 50 };
    for _ in 0..times {
        for (name, length) in [("stop of 3 s: back in all views", 3), ("stop of 15 s: back in all views", 15)]
        {
            let node = town.somebody(&[]);
            town.stop(node);
            town.run_for(length * SECOND);
            wake(book, setting, &mut town, node, name);
        }
        stopped_in_mid_accusation(book, setting, &mut town);
    }
}

/// Stopped while it holds something against somebody who refutes that meanwhile.
fn stopped_in_mid_accusation(book: &mut Book, setting: &Setting, town: &mut Town) {
    let suspect = town.somebody(&[]);
    town.stop(suspect);
    let suspicious = |town: &Town| town.views.who_suspects(suspect);
    let until = town.now() + PATIENCE;
    town.run_until(until, |town| suspicious(town).is_some());
    if let Some(node) = suspicious(town) {
        town.stop(node);
        town.resume(suspect, true);
        town.run_for(15 * SECOND);
        wake(book, setting, town, node, "stop while it suspects: back in all views");
    }
}

fn wake(book: &mut Book, setting: &Setting, town: &mut Town, node: usize, name: &'static str) {
    town.views.forget_verdicts();
    let (began, timers_first) = (town.now(), town.chance() < 0.5);
    town.resume(node, timers_first);
    match town.run_until(began + PATIENCE, |town| town.views.wrong_about(node) == 0) {
        Some(at) => book.time(name, setting, at - began, goal(setting, BACK_MS)),
        None => book.wrong(name, setting, format!("node {node} is not back at {:?}", town.now())),
    }
    // Its verdicts on others would be late ones.
    town.run_for(5 * SECOND);
    let killed = town.views.buried.iter().filter(|verdict| verdict.member != node).count();
    book.rare("stop: others that are held for dead after it", setting, (killed, 1), Some(0.0));
}

fn cut(book: &mut Book, setting: &Setting, seed: u64) {
    let mut town = Town::new(setting, seed);
    town.cut(Some((0, 1)));
    town.run_for(60 * SECOND);
    let probes = town.traffic.probes;
    let none = (setting.loss == 0.0).then_some(0.0);
    book.rare("cut between two: suspicions", setting, (town.views.suspected.len(), probes), none);
    book.rare("cut between two: deaths", setting, (town.views.buried.len(), probes), Some(0.0));
}

fn split(book: &mut Book, setting: &Setting, seed: u64) {
    let mut town = Town::new(setting, seed);
    let half = setting.nodes / 2;
    town.split(|node| if node < half { 1 } else { 2 });
    town.run_for(30 * SECOND);
    heal(book, setting, &mut town, "split for 30 s: one mesh after healing");
}

fn isolated(book: &mut Book, setting: &Setting, seed: u64) {
    let mut town = Town::new(setting, seed);
    town.split(|_| 0);
    town.run_for(300 * SECOND);
    heal(book, setting, &mut town, "all alone for 5 min: one mesh after healing");
}

fn heal(book: &mut Book, setting: &Setting, town: &mut Town, name: &'static str) {
    if town.views.are_true() {
        return book.wrong(name, setting, "nobody noticed the cut".to_owned());
    }
    town.split(|_| 1);
    let began = town.now();
    match town.run_until(began + PATIENCE, |town| town.views.are_true()) {
        Some(at) => book.time(name, setting, at - began, goal(setting, HEALED_MS)),
        None => book.wrong(name, setting, format!("not one mesh {PATIENCE:?} later")),
    }
}
