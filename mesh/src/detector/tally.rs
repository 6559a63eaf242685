//! What the detector counts, for people who want to see how it does. Nothing is decided by it.

use super::Detector;

/// How often each happened since this node started. Plain numbers: whoever reads them computes nothing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Probes of members that began: one in each period, those of the dead and of juries besides.
    pub probes: u64,
    /// Of these, how many nobody answered, directly or through others.
    pub probes_failed: u64,
    /// Others that were asked to ping a silent member.
    pub indirect_probes: u64,
    /// Members of whom this node was the first here to say that they are silent; hearsay is not counted.
    pub suspicions: u64,
    /// Suspects whose time was up here; what others declared first is not counted.
    pub deaths: u64,
    /// How often this node contradicted what was held against it.
    pub refutations: u64,
    /// How often this process did not run for a while.
    pub stops: u64,
    /// How badly this node does at the moment, from 0 for well to 4: so much more than once it waits for everything.
    pub health: u32,
}

impl Detector {
    /// What it has counted since it began.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally { health: self.health.score(), ..self.tally }
    }
}
