//! The picture of one run: a lane per node, with what was wrong, whom the node held for the Beat, and the
//! ticks that it asked for; below them how late each tick was.

use super::markup::{Svg, nice_step, spoken, width_of};
use super::story::{Fate, Spell, Story, Tick, seconds};
use crate::properties::Violation;

const WIDTH: f64 = 1_320.0;
/// For the names of lanes.
const LEFT: f64 = 108.0;
const RIGHT: f64 = 16.0;
/// For the numbers of seconds, and the flags of violations below them.
const TOP: f64 = 44.0;

/// Heights inside a lane. Bars hold a line of text.
const BAR: f64 = 18.0;
const STRIP: f64 = 16.0;
const DOTS: f64 = 12.0;
const PAD: f64 = 7.0;

/// Schedules with a row of dots of their own; others share these rows.
const MOST_ROWS: usize = 3;

/// The panel of lateness, and the line of numbers below it.
const PANEL: f64 = 130.0;
const AXIS: f64 = 30.0;

/// Lines drawn for violations; a broken run may have hundreds at one place.
const MOST_MARKED: usize = 6;

/// Later than this is worth a line from the due time to the commit.
const LATE: f64 = 0.1;

/// Draws a run.
pub(super) fn draw(story: &Story, violations: &[Violation], label: &str) -> String {
    let scale = Scale { per_second: (WIDTH - LEFT - RIGHT) / story.end };
    let rows = story.schedules.len().clamp(1, MOST_ROWS);
    let edits = story.ticks.iter().any(|tick| tick.node.is_none());
    let mut lanes: Vec<_> =
        (0..story.nodes.len()).map(|node| Lane::of_node(story, node, rows, scale)).collect();
    if edits {
        lanes.push(Lane { node: None, name: "edits".to_owned(), bars: Vec::new(), bar_rows: 0, rows });
    }
    let lanes_end = TOP + lanes.iter().map(Lane::height).sum::<f64>();
    let panel_top = lanes_end + 34.0;
    let mut svg = Svg::new(WIDTH, panel_top + PANEL + AXIS);

    let mut top = TOP;
    for (index, lane) in lanes.iter().enumerate() {
        let class = if index % 2 == 0 { "lane even" } else { "lane" };
        svg.rect(class, (0.0, top, WIDTH, lane.height()), "");
        top += lane.height();
    }
    draw_grid(&mut svg, scale, story.end, panel_top);
    let mut top = TOP;
    for lane in &lanes {
        lane.draw(&mut svg, story, top, scale);
        top += lane.height();
    }
    draw_lateness(&mut svg, story, panel_top, scale);
    mark_violations(&mut svg, violations, panel_top + PANEL, scale);
    svg.finish(label)
}

/// Seconds to places.
#[derive(Clone, Copy)]
struct Scale {
    per_second: f64,
}

impl Scale {
    fn x(self, at: f64) -> f64 {
        LEFT + at * self.per_second
    }
}

/// One node, or what no node did.
struct Lane {
    node: Option<usize>,
    name: String,
    bars: Vec<Bar>,
    bar_rows: usize,
    rows: usize,
}

/// A fault on a lane, at its place.
struct Bar {
    class: &'static str,
    row: usize,
    from: f64,
    until: f64,
    label: String,
    label_x: f64,
    told: String,
}

impl Lane {
    fn of_node(story: &Story, node: usize, rows: usize, scale: Scale) -> Self {
        let name = story.nodes[node].clone();
        let mut ends: Vec<f64> = Vec::new();
        let here = story.faults.iter().filter(|spell| spell.nodes.contains(&node));
        let bars: Vec<_> = here.map(|spell| place(spell, &name, &mut ends, scale)).collect();
        Self { node: Some(node), name, bars, bar_rows: ends.len().max(1), rows }
    }

    fn height(&self) -> f64 {
        let strip = if self.node.is_some() { STRIP + 4.0 } else { 0.0 };
        2.0 * PAD + self.bar_rows as f64 * (BAR + 2.0) + strip + self.rows as f64 * DOTS
    }

    fn draw(&self, svg: &mut Svg, story: &Story, top: f64, scale: Scale) {
        svg.text("name", (10.0, top + self.height() / 2.0 + 4.0), &self.name);
        let gaps = story.downs.iter().filter(|(node, ..)| Some(*node) == self.node);
        for (_, from, until) in gaps {
            let area = (scale.x(*from), top + 1.0, (until - from) * scale.per_second, self.height() - 2.0);
            svg.rect("down", area, &format!("{} is not up from {from:.2} s to {until:.2} s", self.name));
        }
        let top = top + PAD;
        for bar in &self.bars {
            let y = top + bar.row as f64 * (BAR + 2.0);
            svg.rect(bar.class, (bar.from, y, (bar.until - bar.from).max(3.0), BAR), &bar.told);
            svg.text("small", (bar.label_x, y + 13.0), &bar.label);
        }
        let top = top + self.bar_rows as f64 * (BAR + 2.0);
        self.draw_beliefs(svg, story, top, scale);
        let top = if self.node.is_some() { top + STRIP + 4.0 } else { top };
        for tick in story.ticks.iter().filter(|tick| tick.node == self.node) {
            let y = top + DOTS * ((tick.schedule % self.rows) as f64 + 0.5);
            draw_tick(svg, story, tick, y, scale);
        }
    }

    fn draw_beliefs(&self, svg: &mut Svg, story: &Story, top: f64, scale: Scale) {
        for belief in story.beliefs.iter().filter(|belief| Some(belief.node) == self.node) {
            let (x, width) = (scale.x(belief.from), (belief.until - belief.from) * scale.per_second);
            let beat = &story.nodes[belief.beat];
            let itself = belief.beat == belief.node;
            let (inset, class, label) = if itself {
                (0.0, format!("own c{}", belief.beat % COLOURS), format!("{beat} (itself)"))
            } else {
                (4.0, format!("other c{}", belief.beat % COLOURS), beat.clone())
            };
            let told = format!(
                "from {:.2} s to {:.2} s {} holds {label} for the Beat",
                belief.from, belief.until, self.name
            );
            svg.rect(&class, (x, top + inset, width, STRIP - 2.0 * inset), &told);
            if itself && width > width_of("Beat") + 8.0 {
                svg.text("small strong", (x + 5.0, top + 12.0), "Beat");
            }
        }
    }
}

/// Colours of nodes in the style sheet.
pub(super) const COLOURS: usize = 10;

/// Finds a row in which neither the bar nor its label meets another one.
fn place(spell: &Spell, lane: &str, ends: &mut Vec<f64>, scale: Scale) -> Bar {
    let label = spell.words.replace(&format!(" of {lane}"), "").replace(&format!(" for {lane}"), "");
    let (from, until) = (scale.x(spell.from), scale.x(spell.until));
    let (wide, space) = (width_of(&label), until - from);
    let (begins, label_x, ends_at) = if wide + 8.0 <= space {
        (from, from + 5.0, until)
    } else if until + 5.0 + wide <= WIDTH {
        (from, until + 5.0, until + 5.0 + wide)
    } else {
        (from - 5.0 - wide, from - 5.0 - wide, until)
    };
    let row = ends.iter().position(|end| end + 4.0 <= begins).unwrap_or(ends.len());
    match ends.get_mut(row) {
        Some(end) => *end = ends_at,
        None => ends.push(ends_at),
    }
    let told = format!("{} ({:.2} s to {:.2} s)", spell.words, spell.from, spell.until);
    Bar { class: spell.kind.class(), row, from, until, label, label_x, told }
}

fn draw_tick(svg: &mut Svg, story: &Story, tick: &Tick, y: f64, scale: Scale) {
    let (x, late) = (scale.x(tick.at), tick.at - tick.due);
    let told = told(story, tick);
    match tick.fate {
        Fate::Refused => svg.cross("refused", (x, y), &told),
        fate => {
            if late > LATE {
                svg.line("late", (scale.x(tick.due), y), (x, y));
            }
            svg.circle(if fate == Fate::Fired { "fired" } else { "skipped" }, (x, y), 3.5, &told);
        }
    }
}

fn told(story: &Story, tick: &Tick) -> String {
    let schedule = story.schedules.get(tick.schedule).map_or("", String::as_str);
    let fate = match tick.fate {
        Fate::Fired => "fired",
        Fate::Skipped => "skipped",
        Fate::Refused => "refused",
    };
    let because = if tick.reason.is_empty() { String::new() } else { format!(" ({})", tick.reason) };
    let late = spoken(((tick.at - tick.due) * 1_000.0).round() as i64);
    format!("{schedule} due at {:.2} s: {fate}{because} at {:.2} s, {late} late", tick.due, tick.at)
}

fn draw_grid(svg: &mut Svg, scale: Scale, end: f64, panel_top: f64) {
    let step = nice_step(end, 14.0);
    let bottom = panel_top + PANEL;
    let mut at = 0.0;
    while at <= end {
        let x = scale.x(at);
        svg.line("grid", (x, TOP - 6.0), (x, bottom));
        svg.text("axis middle", (x, bottom + 18.0), &format!("{at} s"));
        svg.text("axis middle", (x, TOP - 27.0), &format!("{at} s"));
        at += step;
    }
}

/// How late each tick was, by its due time, in the colour of the node that asked.
fn draw_lateness(svg: &mut Svg, story: &Story, top: f64, scale: Scale) {
    let late = |tick: &&Tick| (tick.at - tick.due).max(0.0);
    let decided = || story.ticks.iter().filter(|tick| tick.fate != Fate::Refused);
    let latest = decided().max_by(|a, b| late(a).total_cmp(&late(b)));
    let most = latest.as_ref().map_or(0.0, late).max(1.0) * 1.12;
    let y = |late: f64| top + PANEL - late / most * PANEL;
    svg.text("name", (10.0, top - 12.0), "lateness");
    let step = nice_step(most, 4.0);
    let mut mark = 0.0;
    while mark <= most {
        svg.line(if mark == 0.0 { "base" } else { "grid" }, (LEFT, y(mark)), (WIDTH - RIGHT, y(mark)));
        let decimals = usize::from(step < 1.0);
        svg.text("axis end", (LEFT - 8.0, y(mark) + 4.0), &format!("{mark:.decimals$} s"));
        mark += step;
    }
    for tick in decided() {
        let kind = if tick.fate == Fate::Fired { "by" } else { "by hollow" };
        let colour = tick.node.map_or_else(|| "c-none".to_owned(), |node| format!("c{}", node % COLOURS));
        let place = (scale.x(tick.due), y(late(&tick)));
        svg.circle(&format!("{kind} {colour}"), place, 3.5, &told(story, tick));
    }
    if let Some(latest) = latest.filter(|latest| late(latest) > LATE) {
        let (x, place) = (scale.x(latest.due), y(late(&latest)));
        let words = spoken((late(&latest) * 1_000.0).round() as i64);
        svg.text("small strong middle", (x, place - 8.0), &words);
    }
}

fn mark_violations(svg: &mut Svg, violations: &[Violation], bottom: f64, scale: Scale) {
    let mut taken = f64::MIN;
    let timed = violations.iter().filter_map(|violation| Some((seconds(violation.at?), violation)));
    let mut timed: Vec<_> = timed.take(MOST_MARKED).collect();
    timed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    for (at, violation) in timed {
        let x = scale.x(at);
        svg.line("broken", (x, TOP - 2.0), (x, bottom));
        let id = violation.property.split(' ').next().unwrap_or_default();
        let wide = width_of(id) + 14.0;
        if x >= taken {
            svg.rect("broken", (x - wide / 2.0, TOP - 20.0, wide, 17.0), &violation.what);
            svg.text("on-broken middle", (x, TOP - 7.0), id);
            taken = x + wide;
        }
    }
}
