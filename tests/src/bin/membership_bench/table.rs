//! The figures as people and programs read them.

use std::time::Duration;

use beatmesh_tests::figures::percentile;
use serde_json::{Value, json};

use crate::trials::{Busy, Measured, Quiet, Stops};

/// A name and a figure of each system.
type Row = (String, Box<dyn Fn(&Measured) -> String>);

/// A Markdown table of all systems with so many nodes.
pub fn markdown(nodes: usize, systems: &[(&str, Measured)]) -> String {
    let mut text = format!("| {nodes} nodes |");
    for (name, _) in systems {
        text += &format!(" {name} |");
    }
    text += &format!("\n|---|{}\n", "---|".repeat(systems.len()));
    let lengths: Vec<_> = systems
        .first()
        .map_or(Vec::new(), |(_, measured)| measured.stops.iter().map(|stops| stops.lasting).collect());
    for (title, figure) in rows(&lengths) {
        let cells: String = systems.iter().map(|(_, measured)| format!(" {} |", figure(measured))).collect();
        text += &format!("| {title} |{cells}\n");
    }
    text
}

fn rows(lengths: &[Duration]) -> Vec<Row> {
    let row = |title: &str, figure: fn(&Measured) -> String| -> Row { (title.to_owned(), Box::new(figure)) };
    let quiet = |title: &str, figure: fn(&Quiet) -> Option<String>| -> Row {
        let cell = move |measured: &Measured| measured.quiet.as_ref().and_then(figure);
        (title.to_owned(), Box::new(move |measured| cell(measured).unwrap_or_else(|| "-".to_owned())))
    };
    let mut rows = vec![
        row("killed (SIGKILL), then gone from all other views", |m| times(&m.kills)),
        row("left, known to all others", |m| times(&m.leaves)),
    ];
    for (index, lasting) in lengths.iter().enumerate() {
        let of = move |figure: fn(&Stops) -> String| -> Box<dyn Fn(&Measured) -> String> {
            Box::new(move |measured| measured.stops.get(index).map_or_else(|| "-".to_owned(), figure))
        };
        let seconds = lasting.as_secs();
        rows.push((format!("stopped for {seconds} s, then all alive to all"), of(|s| times(&s.wakings))));
        let missed = format!("stops of {seconds} s in which it was held for dead");
        rows.push((missed, of(|s| of_stops(s, |s| format!("{} of {}", s.missed, s.wakings.len())))));
        let killed = format!("members that those who woke after {seconds} s held for dead");
        rows.push((
            killed,
            of(|s| of_stops(s, |s| format!("{} in {} stops", s.dead_to_the_woken, s.wakings.len()))),
        ));
    }
    rows.extend([
        row("verdicts against members that ran all the time", |m| m.false_deaths.to_string()),
        row("members held for dead beside four busy loops", |m| m.busy.as_ref().map_or("-".to_owned(), busy)),
        quiet("sent by a quiet node, frames of loopback with headers", |q| {
            q.frame_bytes.map(|bytes| format!("{bytes:.0} B/s"))
        }),
        quiet("the same as the node counts it: UDP payload", |q| {
            let both = q.payload_bytes.zip(q.datagrams);
            both.map(|(bytes, datagrams)| format!("{bytes:.0} B/s, {datagrams:.1} datagrams/s"))
        }),
        quiet("CPU of a quiet node, percent of a core (one tick of one node)", |q| {
            Some(format!("{:.2} ({:.3})", q.cpu, q.cpu_resolution))
        }),
        quiet("memory of a node (resident)", |q| Some(format!("{:.1} MB", q.resident / 1e6))),
    ]);
    rows
}

fn busy(busy: &Busy) -> String {
    let probes = busy.probes.map_or(String::new(), |(probes, suspicions)| {
        format!(", {suspicions:.0} suspected, in {probes:.0} probes")
    });
    format!("{} in {} s{probes}", busy.deaths, busy.lasting.as_secs())
}

fn of_stops(stops: &Stops, figure: fn(&Stops) -> String) -> String {
    if stops.wakings.is_empty() { "-".to_owned() } else { figure(stops) }
}

fn times(micros: &[i64]) -> String {
    if micros.is_empty() {
        return "-".to_owned();
    }
    let [p50, p99, max] = [50.0, 99.0, 100.0].map(|percent| milliseconds(percentile(micros, percent)));
    format!("p50 {p50}, p99 {p99}, max {max} ms (n = {})", micros.len())
}

fn milliseconds(micros: i64) -> String {
    let ms = micros as f64 / 1e3;
    if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// The same for programs, with each single time.
pub fn json(nodes: usize, system: &str, measured: &Measured) -> Value {
    let quiet = measured.quiet.map(|quiet| {
        json!({
            "frame_bytes_per_node_and_second": quiet.frame_bytes,
            "udp_payload_bytes_per_node_and_second": quiet.payload_bytes,
            "datagrams_per_node_and_second": quiet.datagrams,
            "cpu_percent": quiet.cpu,
            "cpu_percent_of_one_tick": quiet.cpu_resolution,
            "resident_bytes": quiet.resident,
        })
    });
    let stops = measured.stops.iter().map(|stops| {
        json!({
            "seconds": stops.lasting.as_secs(),
            "woken_until_all_alive_us": stops.wakings,
            "held_for_dead": stops.missed,
            "dead_to_the_woken": stops.dead_to_the_woken,
        })
    });
    let busy = measured.busy.map(|busy| {
        let (probes, suspicions) = busy.probes.unzip();
        json!({
            "seconds": busy.lasting.as_secs(),
            "held_for_dead": busy.deaths,
            "probes": probes,
            "suspicions": suspicions,
        })
    });
    json!({
        "system": system,
        "nodes": nodes,
        "killed_until_gone_us": measured.kills,
        "left_until_known_us": measured.leaves,
        "stops": stops.collect::<Vec<_>>(),
        "false_deaths": measured.false_deaths,
        "busy": busy,
        "quiet": quiet,
    })
}
