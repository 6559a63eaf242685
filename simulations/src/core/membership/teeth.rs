//! Whether the figures can turn red: each part of the detector is taken away, and a story must miss it.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use beatmesh_mesh::detector::Parts;

use super::{Effort, Setting, Story};

/// A part of the detector that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Whoever was stopped judges nobody until it has looked again.
    PauseGuard,
    /// Whoever is suspected may refute.
    Refutation,
    /// Others are asked to ping whoever does not answer.
    IndirectProbes,
    /// The dead are probed now and then.
    ProbesOfTheDead,
    /// Whose timers are late doubts itself.
    Lateness,
}

impl Part {
    /// All.
    pub const ALL: [Self; 5] =
        [Self::PauseGuard, Self::Refutation, Self::IndirectProbes, Self::ProbesOfTheDead, Self::Lateness];

    /// As people type it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PauseGuard => "pause_guard",
            Self::Refutation => "refutation",
            Self::IndirectProbes => "indirect_probes",
            Self::ProbesOfTheDead => "probes_of_the_dead",
            Self::Lateness => "lateness",
        }
    }

    /// A detector without it.
    #[must_use]
    pub fn removed(self) -> Parts {
        let mut parts = Parts::default();
        *match self {
            Self::PauseGuard => &mut parts.pause_guard,
            Self::Refutation => &mut parts.refutation,
            Self::IndirectProbes => &mut parts.indirect_probes,
            Self::ProbesOfTheDead => &mut parts.probes_of_the_dead,
            Self::Lateness => &mut parts.lateness,
        } = false;
        parts
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::as_str).join(", ");
        let named = Self::ALL.into_iter().find(|part| part.as_str() == text);
        named.ok_or_else(|| format!("there is no such part of the detector; there are {}", all()))
    }
}

/// What noticed that a part was missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bite {
    /// The figures that were not as they must be.
    pub figures: Vec<&'static str>,
    /// In this story.
    pub story: &'static str,
    /// At this seed.
    pub seed: u64,
    /// Seeds that were needed.
    pub seeds: u64,
}

/// Stories that take part in it and at which loss, in small meshes: what turns red there is the missing part. Whose
/// timers are late misses answers that are late or lost.
const STORIES: [(Story, f64); 5] = [
    (Story::Cut, 0.0),
    (Story::Split, 0.0),
    (Story::Stop, 0.0),
    (Story::Isolated, 0.0),
    (Story::Starved, 0.05),
];
const NODES: usize = 5;

/// Looks for a seed that is red without the part and green with it; `None` when nothing misses it.
#[must_use]
pub fn bite(part: Part, seeds: Range<u64>) -> Option<Bite> {
    for seed in seeds.clone() {
        for (story, loss) in STORIES {
            let whole = Setting::lan(NODES, loss);
            let without = Setting { parts: part.removed(), ..whole };
            let figures = story.play(&without, Effort::Look, seed).broken();
            if !figures.is_empty() && story.play(&whole, Effort::Look, seed).broken().is_empty() {
                return Some(Bite { figures, story: story.as_str(), seed, seeds: seed - seeds.start + 1 });
            }
        }
    }
    None
}
