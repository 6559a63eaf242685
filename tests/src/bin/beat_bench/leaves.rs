//! The Beat leaves as it is asked to, in the middle of due times that come every few milliseconds: a gap of any length
//! shows as the lateness of one of them.

use std::time::Duration;

use beatmesh_tests::side_file::builtin;
use beatmesh_tests::{Client, SideFile, ledger};
use futures_util::StreamExt;
use serde_json::json;

use crate::audit::Audit;
use crate::ground::{Ground, StoreKind};
use crate::progress;
use crate::report::Report;

/// One-shots around each leave, and how far apart they are. It is asked to leave when a third of them is over.
const COUNT: i64 = 60;
const APART_MS: i64 = 25;

/// From now until the first of them: they have to be put in before.
const AHEAD_MS: i64 = 3_000;

/// One-shots that are put in at the same time.
const AT_ONCE: usize = 8;

/// Asks the Beat to leave as often as that.
pub async fn measure(kind: StoreKind, trials: u32, report: &mut Report) {
    let what = format!("{}, Beat leaves", kind.name());
    progress(format!("{what}: {trials} trials"));
    let mut ground = Ground::start(kind).await;
    let side = SideFile::new(ground.mesh.dir.path(), "side");
    let since = ledger::start_ticking(&ground.mesh.client(0), &side).await;
    ground.mesh.client(0).deploy("noop", &builtin("noop")).await;
    let (mut latest, mut lost, mut double, mut in_the_middle) = (Vec::new(), 0, 0, 0);
    for trial in 0..trials {
        let (beat, witness) = ground.beat_and_witness().await;
        let client = ground.mesh.client(witness);
        let first = ledger::now() + AHEAD_MS;
        let names: Vec<String> = (0..COUNT).map(|nth| format!("once-{trial}-{nth}")).collect();
        let making = names.iter().zip(0..).map(|(name, nth)| put(&client, name, first + nth * APART_MS));
        futures_util::stream::iter(making).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        let third = u64::try_from(first + COUNT / 3 * APART_MS - ledger::now()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(third)).await;
        let status = tokio::task::block_in_place(|| ground.mesh.nodes[beat].stop());
        assert!(status.success(), "a leave that failed: {status}");
        let mut shots = Vec::new();
        for name in &names {
            let ticks = ledger::until_ticks(&client, name, 1).await;
            double += ticks.len() - 1;
            lost += usize::from(ticks[0].state != "fired");
            shots.push(ticks.into_iter().next().expect("there is one"));
        }
        latest.extend(shots.iter().map(|tick| tick.lateness).max());
        let by_it = shots.iter().filter(|tick| tick.node == ground.mesh.nodes[beat].name()).count();
        in_the_middle += usize::from(by_it > 0 && by_it < shots.len());
        ground.mesh.nodes[beat].restart();
    }
    ground.mesh.until_formed().await;
    report.times(format!("{what}: the latest of the one-shots around it"), "<= 250 ms", &latest);
    let all = usize::try_from(trials).unwrap_or(usize::MAX);
    report.count(format!("{what}: leaves in the middle of the one-shots"), "", in_the_middle, all);
    let shots = all * names_per_trial();
    report.count(format!("{what}: one-shots lost"), "0", lost, shots);
    report.count(format!("{what}: one-shots fired twice"), "0", double, shots);
    let (audit, _) = Audit::of(&ground.mesh.client(0), since, &side).await;
    audit.tell(&what, report);
    ground.mesh.assert_well().await;
}

fn names_per_trial() -> usize {
    usize::try_from(COUNT).expect("it is small")
}

async fn put(client: &Client, name: &str, at: i64) {
    let at = jiff::Timestamp::from_millisecond(at).expect("a time of these days").to_string();
    let definition = json!({"at": at, "function": "noop"});
    client.put(&format!("/v1/schedules/{name}"), &definition).await.ok();
}
