//! Runs as a page that a person can read: one file without any other, in light and in dark.
//!
//! ```text
//! Outcome ──> chapter ──> table, curves ──┐
//!        ╲──> story ────> lanes, bars ────┴──> a page of HTML with inline SVG
//! ```
//!
//! Pure: outcomes in, text out. Only `command` runs seeds and writes files.

mod bars;
mod chapter;
pub mod command;
mod curves;
mod lanes;
mod markup;
mod story;
mod table;

pub use chapter::Chapter;

use crate::COMMIT;
use crate::measures::Measures;
use crate::teeth::Bite;
use crate::trial::Outcome;
use crate::world::store::guards::Guard;
use markup::escape;
use story::{SpellKind, Story};

/// Colours and sizes, for both themes.
const STYLE: &str = include_str!("page.css");

/// The whole report. `command` is what was typed, for whoever wants the same again.
#[must_use]
pub fn page(chapters: &[Chapter], teeth: &[(Guard, Option<Bite>)], command: &str) -> String {
    let mut measures = Measures::default();
    chapters.iter().for_each(|chapter| measures.join(&chapter.measures));
    let mut body = format!(
        "<h1>beatmesh simulations</h1>\n<p><code>{}</code>, commit {}</p>\n{}{}{}",
        escape(command),
        escape(COMMIT),
        tiles(chapters, &measures),
        table::draw(chapters),
        table::teeth(teeth),
    );
    if chapters.len() > 1 {
        body.push_str("<h2>All scenarios together</h2>\n");
        body.push_str(&curves::draw(&measures));
    }
    for chapter in chapters {
        let (name, story) = (escape(&chapter.name), escape(&chapter.story));
        body.push_str(&format!("<section id=\"{name}\">\n<h2>{name}</h2>\n<p>{story}</p>\n"));
        body.push_str(&table::failures(chapter));
        body.push_str(&curves::draw(&chapter.measures));
        if let Some(outcome) = &chapter.drawn {
            body.push_str(&run(outcome));
        }
        body.push_str("</section>\n");
    }
    document("beatmesh simulations", &body)
}

/// One run alone.
#[must_use]
pub fn picture(scenario: &str, outcome: &Outcome) -> String {
    let mut body = format!("<h1>{}, seed {}</h1>\n", escape(scenario), outcome.seed);
    for violation in outcome.violations.iter().take(20) {
        let (property, what) = (escape(violation.property), escape(&violation.what));
        body.push_str(&format!("<p class=\"violation\"><b>{property}</b>: {what}</p>\n"));
    }
    if outcome.violations.is_empty() {
        body.push_str("<p>Every promise was kept.</p>\n");
    }
    body.push_str(&run(outcome));
    body.push_str(&curves::draw(&outcome.measures));
    document(&format!("{scenario}, seed {}", outcome.seed), &body)
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{HATCH}{body}</body>\n</html>\n",
        escape(title)
    )
}

/// The pattern of times in which a node is not up, once for all pictures.
const HATCH: &str = "<svg width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\"><defs>\
<pattern id=\"hatch\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
<rect class=\"hatch-ground\" width=\"7\" height=\"7\"/><rect class=\"hatch-line\" width=\"2\" height=\"7\"/>\
</pattern></defs></svg>\n";

/// The picture of a run with its legend.
fn run(outcome: &Outcome) -> String {
    let story = Story::of(&outcome.history);
    let verdict = match outcome.violations.len() {
        0 => "every promise kept".to_owned(),
        1 => "1 violation".to_owned(),
        more => format!("{more} violations"),
    };
    let faults = match story.faults.len() {
        1 => "1 fault".to_owned(),
        other => format!("{other} faults"),
    };
    let caption = format!(
        "Seed {}: {} nodes, {:.0} s, {faults}, {} ticks asked for; {verdict}",
        outcome.seed,
        story.nodes.len(),
        story.end,
        story.ticks.len()
    );
    let drawn = lanes::draw(&story, &outcome.violations, &caption);
    format!(
        "<h3>{}</h3>\n{}<div class=\"wide\">{drawn}</div>\n",
        escape(&caption),
        legend(&story, !outcome.violations.is_empty())
    )
}

fn legend(story: &Story, failed: bool) -> String {
    let mut out = String::from("<ul class=\"legend\">\n<li class=\"what\">who is held for the Beat</li>\n");
    for (index, node) in story.nodes.iter().enumerate() {
        let colour = index % lanes::COLOURS;
        out.push_str(&format!("<li><i class=\"c{colour}\"></i>{}</li>\n", escape(node)));
    }
    out.push_str(
        "<li>thick: by the node itself, thin: by another</li>\n</ul>\n<ul class=\"legend\">\n\
                  <li class=\"what\">what was wrong</li>\n",
    );
    for kind in SpellKind::ALL {
        if story.faults.iter().any(|spell| spell.kind == kind) {
            out.push_str(&format!("<li><i class=\"{}\"></i>{}</li>\n", kind.class(), kind.as_str()));
        }
    }
    out.push_str("<li><i class=\"hatched\"></i>not up</li>\n");
    if failed {
        out.push_str("<li><i class=\"broken\"></i>a promise is broken</li>\n");
    }
    let mark = |draw: &dyn Fn(&mut markup::Svg)| {
        let mut svg = markup::Svg::new(30.0, 12.0);
        draw(&mut svg);
        svg.finish("mark")
    };
    let marks = [
        (mark(&|svg| svg.circle("fired", (15.0, 6.0), 3.5, "")), "fired"),
        (
            mark(&|svg| {
                svg.line("late", (2.0, 6.0), (24.0, 6.0));
                svg.circle("fired", (24.0, 6.0), 3.5, "");
            }),
            "fired late: the line begins at the due time",
        ),
        (mark(&|svg| svg.circle("skipped", (15.0, 6.0), 3.5, "")), "skipped"),
        (mark(&|svg| svg.cross("refused", (15.0, 6.0), "")), "refused: another was faster, or an edit"),
    ];
    out.push_str("</ul>\n<ul class=\"legend\">\n<li class=\"what\">ticks</li>\n");
    marks.iter().for_each(|(mark, says)| out.push_str(&format!("<li>{mark}{says}</li>\n")));
    out.push_str(&format!("<li>{}</li>\n</ul>\n", escape(&rows(story))));
    out
}

/// The rows of dots by name; a run may have a thousand schedules, most of them in the last row.
fn rows(story: &Story) -> String {
    let named = lanes::rows(story).min(story.schedules.len());
    let names = story.schedules[..named].join(", ");
    let others = match story.schedules.len() - named {
        0 => String::new(),
        1 => " and 1 other".to_owned(),
        more => format!(" and {more} others"),
    };
    format!("rows, from the top: {names}{others}")
}

/// The numbers to see first.
fn tiles(chapters: &[Chapter], measures: &Measures) -> String {
    let runs: u64 = chapters.iter().map(|chapter| chapter.runs).sum();
    let failed: u64 = chapters.iter().map(|chapter| chapter.failed).sum();
    let ticks = measures.lateness.sorted().len();
    let time = |share| measures.lateness.quantile(share).map_or_else(|| "–".to_owned(), markup::spoken);
    let tile = |class: &str, number: String, what: &str| {
        format!("<div class=\"{class}\"><b>{number}</b>{what}</div>\n")
    };
    let tiles = [
        tile("", runs.to_string(), "runs"),
        tile(if failed == 0 { "good" } else { "bad" }, failed.to_string(), "failed"),
        tile("", chapters.len().to_string(), "scenarios"),
        tile("", ticks.to_string(), "ticks fired"),
        tile("", time(0.5), "lateness, p50"),
        tile("", time(0.99), "lateness, p99"),
        tile("", time(1.0), "lateness, max"),
        tile("", measures.false_deaths.to_string(), "false deaths"),
    ];
    format!("<div class=\"tiles\">\n{}</div>\n", tiles.concat())
}

#[cfg(test)]
mod tests;
