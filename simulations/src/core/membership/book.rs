//! What stories brought: figures, each with its goal, and what was wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Setting;

/// A figure's name, the members and the loss in percent.
type Key = (&'static str, usize, u64);

/// Values of one kind, from many repetitions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// What they are counted in; nothing for events that are to be rare.
    pub unit: &'static str,
    /// Times, bytes, shares.
    pub values: Vec<f64>,
    /// Events, and in how many trials.
    pub rare: Option<(u64, u64)>,
    /// No more than so much: of times the 99th percentile, of events their number.
    pub goal: Option<f64>,
    /// What was not as it must be.
    pub wrong: Vec<String>,
}

/// All figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    figures: BTreeMap<Key, Figure>,
}

impl Figure {
    /// The smallest value that `share` of all do not exceed.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied()
    }

    /// What is wrong with it, in words.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = self.wrong.clone();
        let measured = match self.rare {
            Some((events, _)) => Some(events as f64),
            None => self.quantile(0.99),
        };
        if self.rare.is_some_and(|(_, of)| of == 0) || measured.is_none() {
            complaints.push("nothing happened, so it proves nothing".to_owned());
        }
        if let (Some(measured), Some(goal)) = (measured, self.goal)
            && measured > goal
        {
            complaints.push(format!("{measured:.3} is over the goal of {goal:.3}"));
        }
        complaints
    }
}

impl Book {
    fn of(&mut self, name: &'static str, setting: &Setting) -> &mut Figure {
        let percent = (setting.loss * 100.0).round() as u64;
        self.figures.entry((name, setting.nodes, percent)).or_default()
    }

    /// One more time.
    pub(super) fn time(&mut self, name: &'static str, setting: &Setting, took: Duration, goal: Option<f64>) {
        self.value(name, setting, "ms", took.as_secs_f64() * 1_000.0, goal);
    }

    pub(super) fn value(
        &mut self,
        name: &'static str,
        setting: &Setting,
        unit: &'static str,
        value: f64,
        goal: Option<f64>,
    ) {
        let figure = self.of(name, setting);
        (figure.unit, figure.goal) = (unit, goal);
        figure.values.push(value);
    }

    /// So many events in so many trials more.
    pub(super) fn rare(
        &mut self,
        name: &'static str,
        setting: &Setting,
        (events, of): (usize, u64),
        goal: Option<f64>,
    ) {
        let figure = self.of(name, setting);
        figure.goal = goal;
        let (before, of_before) = figure.rare.unwrap_or_default();
        figure.rare = Some((before + events as u64, of_before + of));
    }

    pub(super) fn wrong(&mut self, name: &'static str, setting: &Setting, what: String) {
        self.of(name, setting).wrong.push(what);
    }

    /// Adds those of another seed.
    pub fn join(&mut self, other: Self) {
        for (key, theirs) in other.figures {
            let mine = self.figures.entry(key).or_default();
            (mine.unit, mine.goal) = (theirs.unit, theirs.goal);
            mine.values.extend(theirs.values);
            mine.wrong.extend(theirs.wrong);
            if let Some((events, of)) = theirs.rare {
                let (before, of_before) = mine.rare.unwrap_or_default();
                mine.rare = Some((before + events, of_before + of));
            }
        }
    }

    /// What it costs does not grow with the mesh: of the same figure, the largest mesh is not far from the
    /// smallest.
    pub(super) fn is_constant(&mut self, name: &'static str, most: f64) {
        let of_it: Vec<_> = self.figures.iter().filter(|((it, ..), _)| *it == name).collect();
        let mut wrong = Vec::new();
        for (key, figure) in &of_it {
            let smallest = of_it.iter().find(|(other, _)| other.2 == key.2);
            if let Some(base) = smallest.and_then(|(_, figure)| figure.quantile(0.5))
                && let Some(value) = figure.quantile(0.5)
                && value > base * most
            {
                let times = value / base;
                wrong
                    .push((**key, format!("{times:.2} times that of the smallest mesh, {most} is the most")));
            }
        }
        for (key, what) in wrong {
            self.figures.entry(key).or_default().wrong.push(what);
        }
    }

    /// All, by name, members and loss in percent.
    pub fn figures(&self) -> impl Iterator<Item = (&Key, &Figure)> {
        self.figures.iter()
    }

    /// Names of those that are not as they must be.
    #[must_use]
    pub fn broken(&self) -> Vec<&'static str> {
        let broken = self.figures.iter().filter(|(_, figure)| !figure.complaints().is_empty());
        let mut names: Vec<_> = broken.map(|((name, ..), _)| *name).collect();
        names.dedup();
        names
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((events, of)) = self.rare {
            write!(f, "{events} in {of}")?;
            if events == 0 && of > 0 {
                // The rule of three: none in n trials is fewer than 3/n, with 95 % certainty.
                write!(f, ", so < {:.1e} at 95 %", 3.0 / of as f64)?;
            }
        } else if let (Some(p50), Some(p99), Some(max)) =
            (self.quantile(0.5), self.quantile(0.99), self.quantile(1.0))
        {
            let digits = if max < 10.0 { 3 } else { 0 };
            write!(f, "p50 {p50:.digits$}, p99 {p99:.digits$}, max {max:.digits$} {}", self.unit)?;
            write!(f, "; n = {}", self.values.len())?;
        }
        match self.goal {
            Some(goal) => write!(f, " (goal {goal:.0})"),
            None => Ok(()),
        }
    }
}
