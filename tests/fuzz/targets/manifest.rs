//! A manifest: any text either gives definitions that are valid, or names lines that it has.
#![no_main]

use beatmesh_fuzz::seeds;
use beatmesh_node::catalogue::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

const FULL: &str = r#"[functions.resize]
runtime = "process"
command = ["convert", "-"]
env = { A = "b" }
timeout = "1.5s"
concurrency = 2
retries = { max = 3, backoff = "1s..10m" }
queue = "q"
[functions.echo]
runtime = "builtin"
handler = "echo"
[schedules.nightly]
cron = "0 3 * * *"
timezone = "Europe/Berlin"
function = "resize"
input = { a = [1, 2.5, "x"] }
misfire = "fire_all"
misfire_cap = 5
misfire_grace = "10s"
overlap = "queue_one"
"#;

const WRONG: &str =
    "[functions.a]\nruntime = \"python\"\n[services.x]\n[schedule.b]\n[schedules.'a b']\ncron = 1\n";

fuzz_target!(init: seeds([FULL, WRONG]), |data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Manifest>() {
        Ok(manifest) => {
            assert!(manifest.functions.values().all(|function| function.validate().is_ok()));
            assert!(manifest.schedules.values().all(|schedule| schedule.validate().is_ok()));
        }
        Err(error) => {
            let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
            assert!(!error.mistakes.is_empty());
            assert!(error.mistakes.iter().all(|mistake| (1..=lines).contains(&mistake.line)), "{error}");
        }
    }
});
