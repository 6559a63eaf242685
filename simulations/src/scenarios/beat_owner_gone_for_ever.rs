//! The Beat's process is stopped and never goes on: its machine answers, its process does not. Fault 3 of the
//! catalogue. The others must hold it for dead, and do its work.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario =
    Scenario { name: "beat_owner_gone_for_ever", story: "5 nodes; the Beat is stopped for ever", script };

const NODES: usize = 5;

fn script(dice: &mut StdRng) -> Script {
    let at = Duration::from_millis(dice.random_range(6_000..12_000));
    let fault = |lasts| Fault { at, lasts, kind: FaultKind::Pause(Target::BeatOwner) };
    let script = Script::around(NODES, vec![fault(Duration::from_secs(3))]);
    // After the end of the run: it is never healed.
    Script { faults: vec![fault(script.length)], ..script }
}
