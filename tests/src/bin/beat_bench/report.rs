//! The figures as people and programs read them.

use beatmesh_tests::figures::percentile;
use serde_json::{Value, json};

/// All that was measured.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    figure: String,
    goal: &'static str,
    cell: String,
    values: Value,
}

impl Report {
    /// Times in milliseconds, of which the slow ones count as well.
    pub fn times(&mut self, figure: impl Into<String>, goal: &'static str, milliseconds: &[i64]) {
        let [p50, p99, max] = [50.0, 99.0, 100.0].map(|percent| thousands(percentile(milliseconds, percent)));
        let cell = format!("p50 {p50}, p99 {p99}, max {max} ms (n = {})", thousands_of(milliseconds.len()));
        self.push(figure.into(), goal, cell, json!({ "unit": "ms", "all": milliseconds }));
    }

    /// The same figure of several runs: the median counts.
    pub fn runs(&mut self, figure: impl Into<String>, goal: &'static str, unit: &'static str, runs: &[f64]) {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let [least, median, most] = [0, (sorted.len() - 1) / 2, sorted.len() - 1].map(|at| short(sorted[at]));
        let cell = format!("{median} {unit} ({least} to {most}, {} runs)", sorted.len());
        self.push(figure.into(), goal, cell, json!({ "unit": unit, "all": runs }));
    }

    /// How many of how many.
    pub fn count(&mut self, figure: impl Into<String>, goal: &'static str, count: usize, of: usize) {
        let cell = format!("{} of {}", thousands_of(count), thousands_of(of));
        self.push(figure.into(), goal, cell, json!({ "count": count, "of": of }));
    }

    fn push(&mut self, figure: String, goal: &'static str, cell: String, values: Value) {
        crate::progress(format!("{figure}: {cell}"));
        self.rows.push(Row { figure, goal, cell, values });
    }

    /// A table.
    pub fn markdown(&self) -> String {
        let row = |row: &Row| format!("| {} | {} | {} |", row.figure, row.cell, row.goal);
        let rows: Vec<String> = self.rows.iter().map(row).collect();
        format!("\n| figure | measured | goal |\n|---|---|---|\n{}", rows.join("\n"))
    }

    /// Each single value.
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let mut values = row.values.clone();
            values["figure"] = json!(row.figure);
            values["goal"] = json!(row.goal);
            values["shown"] = json!(row.cell);
            values
        };
        json!({ "figures": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}

fn short(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "rounded for people")]
    if value.abs() >= 100.0 { thousands(value.round() as i64) } else { format!("{value:.1}") }
}

fn thousands_of(count: usize) -> String {
    thousands(i64::try_from(count).unwrap_or(i64::MAX))
}

/// `1,234,567`.
fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    format!("{}{}", if value < 0 { "-" } else { "" }, groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_groups_of_three() {
        let written = [0, -7, 999, 1_000, -1_234_567].map(thousands);
        assert_eq!(written, ["0", "-7", "999", "1,000", "-1,234,567"]);
        assert_eq!([0.04, 99.9, 1_000.4].map(short), ["0.0", "99.9", "1,000"]);
    }

    #[test]
    fn a_table_names_the_median_and_the_range_of_runs() {
        let mut report = Report::default();
        report.runs("CPU", "<= 50", "%", &[30.0, 10.0, 20.0]);
        report.times("lateness", "", &[3, 1, 2]);
        let table = report.markdown();
        assert!(table.contains("| CPU | 20.0 % (10.0 to 30.0, 3 runs) | <= 50 |"), "{table}");
        assert!(table.contains("p50 2, p99 3, max 3 ms (n = 3)"), "{table}");
    }
}
