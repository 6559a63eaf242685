//! How well this node itself does: one that is slow or cut off must doubt itself before others (Lifeguard,
//! Dadgar, Phillips and Currey 2018, section IV-A).

/// The worst score. Lifeguard has eight; with four a node in trouble still finds a death in some seconds.
const WORST: u32 = 4;

/// Timeouts are so many times longer at most.
pub(super) const SLOWEST: u32 = WORST + 1;

/// The local health multiplier: 0 is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LocalHealth(u32);

impl LocalHealth {
    /// Something went wrong that speaks against this node.
    pub(super) fn worse(&mut self, by: u32) {
        self.0 = self.0.saturating_add(by).min(WORST);
    }

    /// Something went well.
    pub(super) fn better(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// 0 is well.
    pub(super) fn score(self) -> u32 {
        self.0
    }

    /// Timeouts are so many times longer.
    pub(super) fn factor(self) -> u32 {
        self.0 + 1
    }
}
