//! `membership`: plays the stories at their sizes, prints the figures, and answers whether all goals are met.
#![expect(clippy::disallowed_methods, reason = "the command measures real time, the runs have their own")]

use std::ops::Range;
use std::time::Instant;

use beatmesh_mesh::detector::Parts;
use serde_json::json;

use super::teeth::{Part, bite};
use super::{Book, Effort, Figure, Setting, Story};

/// The most that a detector knows, with its tombstones.
const MOST_NODES: usize = 2_000;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Order {
    /// One size instead of each story's own.
    pub nodes: Option<usize>,
    /// One story instead of all.
    pub story: Option<Story>,
    /// From the first to before the last.
    pub seeds: Range<u64>,
    /// Percent of the datagrams, played besides none.
    pub loss: f64,
    /// Far apart instead of one data centre; without goals.
    pub wan: bool,
    /// Wall clocks differ by so many milliseconds at most.
    pub clocks_ms: u64,
    /// Few repetitions.
    pub quick: bool,
    /// One line of JSON for each figure.
    pub json: bool,
    /// A part of the detector that is missing.
    pub without: Option<Part>,
}

/// Plays what was asked for; answers whether all was well.
///
/// # Errors
/// What was asked for makes no sense.
pub fn membership(order: &Order) -> Result<bool, String> {
    if !(0.0..=50.0).contains(&order.loss) {
        return Err(format!("--loss {}: percent, from 0 to 50", order.loss));
    }
    if let Some(nodes) = order.nodes.filter(|nodes| !(3..=MOST_NODES).contains(nodes)) {
        return Err(format!("--nodes {nodes}: from 3 to {MOST_NODES}"));
    }
    let stories = order.story.map_or_else(|| Story::ALL.to_vec(), |story| vec![story]);
    let (began, mut all_well) = (Instant::now(), true);
    for story in stories {
        let mut book = Book::default();
        for setting in settings(order, story) {
            for seed in order.seeds.clone() {
                let effort = if order.quick { Effort::Look } else { Effort::Figures };
                book.join(story.play(&setting, effort, seed));
            }
        }
        Story::compare(&mut book);
        all_well &= book.broken().is_empty() && book.figures().next().is_some();
        print(&book, order.json);
    }
    if !order.json {
        println!("{:.1} s", began.elapsed().as_secs_f64());
    }
    Ok(all_well)
}

fn settings(order: &Order, story: Story) -> Vec<Setting> {
    let own = [order.nodes.unwrap_or_default()];
    let sizes = if order.nodes.is_some() { &own[..] } else { story.sizes() };
    let mut losses = vec![0.0];
    if order.loss > 0.0 && story != Story::Shares {
        losses.push(order.loss / 100.0);
    }
    let parts = order.without.map_or_else(Parts::default, Part::removed);
    let network = if order.wan { Setting::wan } else { Setting::lan };
    let each = losses.into_iter().flat_map(|loss| sizes.iter().map(move |nodes| network(*nodes, loss)));
    each.map(|setting| Setting { parts, clocks_ms: order.clocks_ms, ..setting }).collect()
}

fn print(book: &Book, as_json: bool) {
    for ((name, nodes, loss), figure) in book.figures() {
        let complaints = figure.complaints();
        if as_json {
            println!("{}", line(name, *nodes, *loss, figure));
            continue;
        }
        println!("{name:45} {nodes:>5} nodes {loss:>2} % loss  {figure}");
        complaints.iter().take(SHOWN).for_each(|complaint| println!("    WRONG: {complaint}"));
    }
}

/// Complaints that are printed of each figure.
const SHOWN: usize = 3;

fn line(name: &str, nodes: usize, loss: u64, figure: &Figure) -> serde_json::Value {
    json!({
        "figure": name,
        "nodes": nodes,
        "loss_percent": loss,
        "unit": figure.unit,
        "n": figure.values.len(),
        "p50": figure.quantile(0.5),
        "p99": figure.quantile(0.99),
        "max": figure.quantile(1.0),
        "events": figure.rare.map(|(events, _)| events),
        "of": figure.rare.map(|(_, of)| of),
        "goal": figure.goal,
        "wrong": figure.complaints(),
    })
}

/// Takes each part away; answers whether each is missed.
pub fn teeth(seeds: &Range<u64>) -> bool {
    println!("{:20} {:>5}  {:12} turned red", "part taken away", "seeds", "story");
    let mut all_bite = true;
    for part in Part::ALL {
        match bite(part, seeds.clone()) {
            Some(bite) => {
                println!("{part:20} {:>5}  {:12} {}", bite.seeds, bite.story, bite.figures.join("; "));
            }
            None => {
                println!("{part:20} {:>5}  NOTHING: this part is not proven", seeds.end - seeds.start);
                all_bite = false;
            }
        }
    }
    all_bite
}
