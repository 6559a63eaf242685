//! Scenarios times properties, and what failed.

use std::fmt::Write;

use super::chapter::Chapter;
use super::markup::escape;
use crate::properties;
use crate::teeth::Bite;
use crate::world::store::guards::Guard;

/// The table: in each cell the seeds that broke a property, and what their absence is worth.
pub(super) fn draw(chapters: &[Chapter]) -> String {
    let columns = columns(chapters);
    let mut out = String::from(
        "<div class=\"wide\"><table>\n<thead><tr><th>scenario</th><th>runs</th><th title=\"with 95 % certainty fewer than this share fails\">0 is at 95 %</th>",
    );
    for column in &columns {
        write!(out, "<th title=\"{}\">{}</th>", escape(column), escape(id(column))).expect(FITS);
    }
    out.push_str("<th>failed</th></tr></thead>\n<tbody>\n");
    for chapter in chapters {
        let name = escape(&chapter.name);
        write!(out, "<tr><th><a href=\"#{name}\">{name}</a></th><td>{}</td>", chapter.runs).expect(FITS);
        write!(out, "<td>{}</td>", worth(chapter.runs)).expect(FITS);
        for column in &columns {
            out.push_str(&cell(chapter.broken.get(column).copied().unwrap_or(0), chapter.runs));
        }
        writeln!(out, "{}</tr>", cell(chapter.failed, chapter.runs)).expect(FITS);
    }
    out.push_str("</tbody></table></div>\n<dl class=\"columns\">\n");
    for column in &columns {
        let (id, says) = (id(column), column.strip_prefix(id(column)).unwrap_or_default());
        writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(id), escape(says.trim())).expect(FITS);
    }
    out.push_str("</dl>\n");
    out
}

/// Which promise broke without which guard; nothing when nobody looked.
pub(super) fn teeth(teeth: &[(Guard, Option<Bite>)]) -> String {
    if teeth.is_empty() {
        return String::new();
    }
    let mut out = String::from("<h2>Whether it could fail</h2>\n<div class=\"wide\"><table>\n<thead><tr>");
    for head in ["guard taken away", "what broke", "runs until then", "first seen"] {
        write!(out, "<th>{head}</th>").expect(FITS);
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (guard, bite) in teeth {
        write!(out, "<tr><th>{}</th>", guard.as_str()).expect(FITS);
        match bite {
            Some(Bite { properties, scenario, seed, runs }) => {
                let broke = escape(&properties.join("; "));
                writeln!(out, "<td>{broke}</td><td>{runs}</td><td>{scenario}, seed {seed}</td></tr>")
            }
            None => writeln!(out, "<td class=\"bad\" colspan=\"3\">nothing: it is not proven</td></tr>"),
        }
        .expect(FITS);
    }
    out + "</tbody></table></div>\n"
}

/// The failing seeds, each with the command that shows it again.
pub(super) fn failures(chapter: &Chapter) -> String {
    if chapter.failures.is_empty() {
        return String::new();
    }
    let mut out = String::from("<ul class=\"failures\">\n");
    for (seed, first, count) in &chapter.failures {
        let more = if *count > 1 { format!(" <em>and {} more</em>", count - 1) } else { String::new() };
        let (property, what, name) = (escape(first.property), escape(&first.what), escape(&chapter.name));
        writeln!(
            out,
            "<li><b>seed {seed}</b>: {property}: {what}{more}<br><code>cargo run --release -p beatmesh-simulations -- replay --scenario {name} --seed {seed} --trace</code></li>"
        )
        .expect(FITS);
    }
    let untold = chapter.failed.saturating_sub(chapter.failures.len() as u64);
    if untold > 0 {
        writeln!(out, "<li>and {untold} more seeds</li>").expect(FITS);
    }
    out.push_str("</ul>\n");
    out
}

const FITS: &str = "a String takes all";

/// All properties, and what else failed: runs that broke off, runs that prove nothing.
fn columns(chapters: &[Chapter]) -> Vec<&'static str> {
    let mut columns: Vec<_> = properties::ALL.iter().map(|property| property.name).collect();
    for property in chapters.iter().flat_map(|chapter| chapter.broken.keys()) {
        if !columns.contains(property) {
            columns.push(property);
        }
    }
    columns
}

/// `T1` of `T1 every due time ...`; of what is no property the whole name.
fn id(name: &str) -> &str {
    let first = name.split(' ').next().unwrap_or(name);
    if first.chars().any(|character| character.is_ascii_digit()) { first } else { name }
}

/// Nothing in n trials is no proof: with 95 % certainty fewer than 3/n fail (the rule of three).
fn worth(runs: u64) -> String {
    match runs {
        0 => "–".to_owned(),
        runs => format!("&lt; {}", share(3.0 / runs as f64)),
    }
}

fn cell(broken: u64, runs: u64) -> String {
    match (broken, runs) {
        (_, 0) => "<td>–</td>".to_owned(),
        (0, _) => "<td class=\"good\">0</td>".to_owned(),
        (broken, runs) => format!(
            "<td class=\"bad\">{broken}<small>{} of runs</small></td>",
            share(broken as f64 / runs as f64)
        ),
    }
}

fn share(of_one: f64) -> String {
    match of_one * 100.0 {
        percent if percent >= 10.0 => format!("{:.0} %", percent.min(100.0)),
        percent if percent >= 1.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.2} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_in_n_trials_is_said_with_its_worth() {
        assert_eq!(worth(300), "&lt; 1.0 %");
        assert_eq!(worth(2), "&lt; 100 %", "two runs prove nothing");
        assert!(cell(3, 300).contains("bad") && cell(3, 300).contains("1.0 % of runs"));
    }

    #[test]
    fn a_run_that_broke_off_has_a_column() {
        let mut chapter = Chapter { name: "a <b>".to_owned(), runs: 1, ..Chapter::default() };
        assert!(!draw(&[chapter.clone()]).contains("the run"));
        chapter.broken.insert("the run", 1);
        let table = draw(&[chapter]);
        assert!(table.contains(">the run</th>") && table.contains("a &lt;b&gt;"), "{table}");
    }
}
