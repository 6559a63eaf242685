//! Figures over several rounds: median and range, as a table or as JSON.

use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// One figure in every round.
struct Figure {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
}

/// All figures, in the order in which they were first measured.
pub(super) struct Report {
    rounds: u16,
    figures: Vec<Figure>,
}

impl Report {
    pub(super) fn new(rounds: u16) -> Self {
        Self { rounds, figures: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.values.push(value),
            None => self.figures.push(Figure { name: name.to_owned(), unit, values: vec![value] }),
        }
    }

    pub(super) fn print(mut self, output: &Output) -> Result<(), Failure> {
        for figure in &mut self.figures {
            figure.values.sort_by(f64::total_cmp);
        }
        if output.is_json() {
            let figures: Vec<_> = self.figures.iter().map(|figure| {
                json!({"name": figure.name, "unit": figure.unit, "median": median(&figure.values), "values": figure.values})
            }).collect();
            return output.value(&json!({ "rounds": self.rounds, "figures": figures }));
        }
        let width = self.figures.iter().map(|figure| figure.name.len()).max().unwrap_or(0);
        let mut text = format!("{:width$}  {:>10}  {:>21}\n", "figure", "median", "range");
        for figure in &self.figures {
            let (least, most) = (figure.values[0], figure.values[figure.values.len() - 1]);
            let range = format!("{} .. {}", shown(least), shown(most));
            text += &format!(
                "{:width$}  {:>10}  {range:>21}  {}\n",
                figure.name,
                shown(median(&figure.values)),
                figure.unit
            );
        }
        output.line(&text)
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

fn shown(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 3.0, 9.0]), 2.5);
    }
}
