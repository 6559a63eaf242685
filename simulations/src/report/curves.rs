//! Distributions as cumulative curves: how many of all values are not above this one. The axis of time is
//! logarithmic, because what counts is the tail.

use super::markup::{Svg, spoken};
use crate::measures::{Distribution, Measures};

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 204.0;
/// Left, top, right and bottom of the plot.
const PLOT: (f64, f64, f64, f64) = (44.0, 46.0, 374.0, 180.0);

/// Places at which a curve is drawn; more would not be seen.
const POINTS: usize = 240;

/// The pictures of all that one chapter measured, side by side.
pub(super) fn draw(measures: &Measures) -> String {
    let charts = [
        ("Lateness of ticks", &measures.lateness),
        ("Lateness after a crash of the Beat", &measures.lateness_after_crash),
        ("Crash of the Beat until another decides", &measures.takeover),
        ("Healed until all views agree", &measures.convergence),
    ];
    let charts = charts.map(|(title, values)| format!("<figure>{}</figure>\n", chart(title, values)));
    format!("<div class=\"charts\">\n{}</div>\n", charts.concat())
}

fn chart(title: &str, values: &Distribution) -> String {
    let sorted = values.sorted();
    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.text("title", (6.0, 16.0), title);
    let Some(max) = sorted.last().copied() else {
        svg.text("axis", (6.0, 36.0), "nothing was measured");
        return svg.finish(title);
    };
    let (left, top, right, bottom) = PLOT;
    let decades = (max.max(10) as f64).log10().ceil();
    let x = |ms: i64| left + (ms.max(1) as f64).log10() / decades * (right - left);
    let y = |share: f64| bottom - share * (bottom - top);
    for decade in 0..=decades as u32 {
        let ms = 10_i64.pow(decade);
        svg.line("grid", (x(ms), top), (x(ms), bottom));
        svg.text("axis middle", (x(ms), bottom + 17.0), &axis_label(ms));
    }
    for share in [0.0, 0.5, 1.0] {
        svg.line(if share == 0.0 { "base" } else { "grid" }, (left, y(share)), (right, y(share)));
        svg.text("axis end", (left - 6.0, y(share) + 4.0), &format!("{:.0} %", share * 100.0));
    }
    svg.curve("curve", &steps(&sorted, x, y));
    // The numbers stand in one line above the plot, where they cannot meet each other.
    let marks = [("q50", "p50", 0.5), ("q99", "p99", 0.99), ("q100", "max", 1.0)];
    for (index, (class, name, share)) in marks.into_iter().enumerate() {
        let value = values.quantile(share).unwrap_or(max);
        let told = format!("{name} {}", spoken(value));
        svg.line(class, (x(value), top), (x(value), bottom));
        svg.circle(class, (x(value), y(share)), 4.0, &told);
        let place = 10.0 + 92.0 * index as f64;
        svg.circle(class, (place, 31.0), 4.0, "");
        svg.text("small", (place + 8.0, 35.0), &told);
    }
    svg.text("axis", (286.0, 35.0), &format!("n = {}", sorted.len()));
    svg.finish(&format!("{title}: {values}"))
}

/// A curve that climbs from nothing to all.
fn steps(sorted: &[i64], x: impl Fn(i64) -> f64, y: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let mut points = vec![(x(sorted[0]), y(0.0))];
    let count = sorted.len();
    // Where values are few every one of them is a step.
    let every = (count / POINTS).max(1);
    for (index, value) in sorted.iter().enumerate() {
        let rank = index + 1;
        // The tail is drawn value by value: it is what people look for.
        if rank % every == 0 || rank == count || count - rank < POINTS {
            let before = points.last().map_or(y(0.0), |(_, before)| *before);
            points.push((x(*value), before));
            points.push((x(*value), y(rank as f64 / count as f64)));
        }
    }
    points
}

fn axis_label(ms: i64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { format!("{} s", ms / 1_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_climbs_to_all_values_and_its_numbers_are_written() {
        let mut values = Distribution::default();
        (1..=2_000).for_each(|value| values.add(value));
        let picture = chart("lateness", &values);
        for number in ["p50 1.00 s", "p99 1.98 s", "max 2.00 s", "n = 2000"] {
            assert!(picture.contains(number), "{number}: {picture}");
        }
        let points = steps(&values.sorted(), |ms| ms as f64, |share| share);
        assert_eq!((points[0], points[points.len() - 1]), ((1.0, 0.0), (2_000.0, 1.0)));
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert!(chart("none", &Distribution::default()).contains("nothing was measured"));
    }
}
