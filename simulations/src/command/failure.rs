//! A failed seed, as a person and as a program want to read it.

use beatmesh_mesh::env::UnixMs;
use beatmesh_simulations::COMMIT;
use beatmesh_simulations::history::{Record, line};
use beatmesh_simulations::scenarios::Scenario;
use beatmesh_simulations::trial::Outcome;
use serde_json::{Value, json};

use super::Which;

/// Events shown around a violation: what led to it, and how it went on.
const BEFORE: usize = 30;
const AFTER: usize = 10;

/// Violations shown of one seed.
const VIOLATIONS: usize = 5;

/// Says what is wrong with a run, and how to see it again.
pub fn print(scenario: &Scenario, outcome: &Outcome, which: &Which) {
    let Some(first) = outcome.violations.first() else { return };
    say!("seed {} of {} FAILED", outcome.seed, scenario.name);
    for violation in outcome.violations.iter().take(VIOLATIONS) {
        say!("  {}: {}", violation.property, violation.what);
    }
    if outcome.violations.len() > VIOLATIONS {
        say!("  and {} more", outcome.violations.len() - VIOLATIONS);
    }
    say!("  its faults:");
    outcome.faults.iter().for_each(|fault| say!("    {fault}"));
    say!("  the events around the first one:");
    around(&outcome.history, first.at).iter().for_each(|record| say!("    {}", line(record)));
    say!("  commit {}, trace {:016x}", COMMIT, outcome.hash);
    say!("  replay: {}", replay(scenario, outcome.seed, which));
    say!("  to see it as a picture: --picture run.html; with fewer faults: --shrink");
}

/// The same as one line of JSON.
pub fn json(scenario: &Scenario, outcome: &Outcome, which: &Which) -> Value {
    let violation = |violation: &beatmesh_simulations::properties::Violation| {
        json!({
            "property": violation.property,
            "what": violation.what,
            "at": violation.at,
        })
    };
    let around = around(&outcome.history, outcome.violations.first().and_then(|first| first.at));
    json!({
        "kind": "failure",
        "scenario": scenario.name,
        "seed": outcome.seed,
        "commit": COMMIT,
        "trace": format!("{:016x}", outcome.hash),
        "violations": outcome.violations.iter().map(violation).collect::<Vec<_>>(),
        "faults": outcome.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "events": around,
        "replay": replay(scenario, outcome.seed, which),
    })
}

/// The command that plays a seed again.
pub fn replay(scenario: &Scenario, seed: u64, which: &Which) -> String {
    format!(
        "cargo run --release -p beatmesh-simulations -- replay --scenario {} --seed {seed}{} --trace",
        scenario.name,
        which.options()
    )
}

/// The events before and after a moment; the last ones when there is none.
fn around(history: &[Record], at: Option<UnixMs>) -> &[Record] {
    let place = at.map_or(history.len(), |at| history.partition_point(|record| record.at <= at));
    &history[place.saturating_sub(BEFORE)..(place + AFTER).min(history.len())]
}
