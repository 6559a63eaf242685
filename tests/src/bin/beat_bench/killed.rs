//! The Beat is killed, again and again, at another phase of the second each time, the moment of the commit among them.

use std::time::Duration;

use beatmesh_tests::{SideFile, ledger};

use crate::audit::Audit;
use crate::ground::{Ground, StoreKind};
use crate::progress;
use crate::report::Report;

/// Steps of the phase through the second. Prime, and no divisor of a second: two hundred trials meet 200 phases.
const PHASE_STEP_MS: u32 = 373;

/// Kills as often as that, and tells what became of the due times.
pub async fn measure(kind: StoreKind, trials: u32, report: &mut Report) {
    let what = format!("{}, Beat killed", kind.name());
    progress(format!("{what}: {trials} trials"));
    let mut ground = Ground::start(kind).await;
    let side = SideFile::new(ground.mesh.dir.path(), "side");
    let since = ledger::start_ticking(&ground.mesh.client(0), &side).await;
    let mut moments = Vec::new();
    for trial in 0..trials {
        let (beat, witness) = ground.beat_and_witness().await;
        let client = ground.mesh.client(witness);
        ledger::caught_up(&client, "tick").await;
        // This pause is part of the fault, not a wait for luck.
        tokio::time::sleep(Duration::from_millis((trial * PHASE_STEP_MS % 1_000).into())).await;
        let killed = ledger::now();
        ground.mesh.nodes[beat].kill();
        ledger::caught_up(&client, "tick").await;
        moments.push((killed, ledger::now()));
        ground.mesh.nodes[beat].restart();
        if (trial + 1) % 20 == 0 {
            progress(format!("{what}: {} of {trials}", trial + 1));
        }
    }
    ground.mesh.until_formed().await;
    let (audit, ticks) = Audit::of(&ground.mesh.client(0), since, &side).await;
    // What was due before it and is committed after it is late because of it as well.
    let around = |(killed, caught_up): &(i64, i64)| {
        let its = ticks.iter().filter(|tick| tick.due + tick.lateness >= *killed && tick.due <= *caught_up);
        its.map(|tick| tick.lateness).collect::<Vec<i64>>()
    };
    let each: Vec<Vec<i64>> = moments.iter().map(around).collect();
    let latest: Vec<i64> = each.iter().filter_map(|around| around.iter().max().copied()).collect();
    let goal = "p50 <= 1,000, p99 <= 2,000, max <= 3,000 ms";
    report.times(format!("{what}: the latest tick of each kill"), goal, &latest);
    report.times(format!("{what}: all ticks from the kill until it is caught up"), "", &each.concat());
    audit.tell(&what, report);
    ground.mesh.assert_well().await;
}
