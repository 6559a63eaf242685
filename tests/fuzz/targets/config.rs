//! A configuration file, and after a NUL byte variables of the environment, one a line: any text either gives
//! settings or says what is wrong, and never shows a password.
#![no_main]

use beatmesh_fuzz::seeds;
use beatmesh_node::config::{digest, redact};
use beatmesh_node::fuzzing::settings;
use libfuzzer_sys::fuzz_target;

const FILE: &str = r#"[mesh]
name = "m"
pace = "wan"
[node]
name = "n-1"
roles = ["server", "worker"]
pools = ["a"]
slots = 8
[listen]
http = "127.0.0.1:8080"
mesh = "[::]:7946"
[seeds]
database = "sqlite://mesh.db"
peers = ["a.example:7946", "[::1]:1"]
[queue]
lease = "30s"
result_limit = "1MiB"
[limits]
shutdown = "10s"
[log]
level = "info,beatmesh_mesh=debug"
format = "json"
"#;

fn golden() -> [String; 4] {
    [
        FILE.to_owned(),
        "\0BEATMESH_NODE__ROLES=beat,worker\nBEATMESH_LISTEN__HTTP=0.0.0.0:80\nBEATMESH_SERVICE_PORT=1"
            .to_owned(),
        "[seeds]\ndatabase = \"postgres://user:canary@host/x\"\n[nod]\nslots = 1.5\n".to_owned(),
        "[node]\nslots = 0x7fffffffffffffff\nzone = 2026-01-31\npools = [true, 1]\ndata_dir = 9999999999999999999\n".to_owned(),
    ]
}

fuzz_target!(init: seeds(golden()), |data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (file, variables) = text.split_once('\0').unwrap_or((text, ""));
    let pairs = variables.lines().filter_map(|line| line.split_once('='));
    let environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    match settings(file, environment) {
        Ok(settings) => drop((digest(&settings), settings.node.name.to_string())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    drop(redact(text));
});
