//! The picture of one run: a lane for what was wrong for all nodes, and a lane per node, with what was wrong
//! for it, whom it held for the Beat, and the ticks that it asked for; below them how late each tick was.

use super::bars::{self, Bar};
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

/// From the top of a line of text to where its letters stand.
const BASELINE: f64 = 13.0;

/// Rows of dots; schedules beyond them share the last one.
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
    let lanes = Lane::all_of(story, scale);
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

/// How many rows of dots a lane has.
pub(super) fn rows(story: &Story) -> usize {
    story.schedules.len().clamp(1, MOST_ROWS)
}

/// Whose lane it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// What is wrong for every node. On each lane it would hide what is wrong for one.
    All,
    Node(usize),
    /// What no node did.
    Edits,
}

struct Lane<'a> {
    whose: Whose,
    name: &'a str,
    /// Faults at their places.
    bars: Vec<(Bar, &'a Spell)>,
    bar_rows: usize,
    dot_rows: usize,
}

impl<'a> Lane<'a> {
    /// From the top; those that are nobody's only where something is on them.
    fn all_of(story: &'a Story, scale: Scale) -> Vec<Self> {
        let (shared, own): (Vec<_>, Vec<_>) = story.faults.iter().partition(|spell| story.meets_all(spell));
        let mut lanes = Vec::new();
        if !shared.is_empty() {
            lanes.push(Self::new(Whose::All, "all", shared, 0, scale));
        }
        for (node, name) in story.nodes.iter().enumerate() {
            let here = own.iter().copied().filter(|spell| spell.nodes.contains(&node)).collect();
            lanes.push(Self::new(Whose::Node(node), name, here, rows(story), scale));
        }
        if story.ticks.iter().any(|tick| tick.node.is_none()) {
            lanes.push(Self::new(Whose::Edits, "edits", Vec::new(), rows(story), scale));
        }
        lanes
    }

    fn new(whose: Whose, name: &'a str, faults: Vec<&'a Spell>, dot_rows: usize, scale: Scale) -> Self {
        let span = |spell: &'a Spell| ((scale.x(spell.from), scale.x(spell.until)), spell.label.as_str());
        let wanted: Vec<_> = faults.iter().map(|spell| span(spell)).collect();
        let bars = bars::place(&wanted, (LEFT, WIDTH - RIGHT));
        let bar_rows = bars::rows(&bars);
        Self { whose, name, bars: bars.into_iter().zip(faults).collect(), bar_rows, dot_rows }
    }

    fn node(&self) -> Option<usize> {
        if let Whose::Node(node) = self.whose { Some(node) } else { None }
    }

    fn height(&self) -> f64 {
        let strip = if self.node().is_some() { STRIP + 4.0 } else { 0.0 };
        2.0 * PAD + self.bar_rows as f64 * (BAR + 2.0) + strip + self.dot_rows as f64 * DOTS
    }

    fn draw(&self, svg: &mut Svg, story: &Story, top: f64, scale: Scale) {
        // At the top, where reading a lane begins; in the middle of a high one it would name no bar.
        svg.text("name", (10.0, top + PAD + BASELINE), self.name);
        let gaps = story.downs.iter().filter(|(node, ..)| Some(*node) == self.node());
        for (_, from, until) in gaps {
            let area = (scale.x(*from), top + 1.0, (until - from) * scale.per_second, self.height() - 2.0);
            svg.rect("down", area, &format!("{} is not up from {from:.2} s to {until:.2} s", self.name));
        }
        let top = top + PAD;
        self.draw_faults(svg, top);
        let top = top + self.bar_rows as f64 * (BAR + 2.0);
        self.draw_beliefs(svg, story, top, scale);
        let top = if self.node().is_some() { top + STRIP + 4.0 } else { top };
        if self.whose != Whose::All {
            self.draw_ticks(svg, story, top, scale);
        }
    }

    fn draw_faults(&self, svg: &mut Svg, top: f64) {
        for (Bar { row, span: (from, until), label }, spell) in &self.bars {
            let y = top + *row as f64 * (BAR + 2.0);
            let told = format!("{} ({:.2} s to {:.2} s)", spell.words, spell.from, spell.until);
            svg.rect(spell.kind.class(), (*from, y, until - from, BAR), &told);
            if let Some(label) = label {
                svg.text("small", (label.x, y + BASELINE), &label.text);
            }
        }
    }

    fn draw_ticks(&self, svg: &mut Svg, story: &Story, top: f64, scale: Scale) {
        for tick in story.ticks.iter().filter(|tick| tick.node == self.node()) {
            let row = tick.schedule.min(self.dot_rows - 1);
            draw_tick(svg, story, tick, top + DOTS * (row as f64 + 0.5), scale);
        }
    }

    fn draw_beliefs(&self, svg: &mut Svg, story: &Story, top: f64, scale: Scale) {
        for belief in story.beliefs.iter().filter(|belief| Some(belief.node) == self.node()) {
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
