use std::path::PathBuf;

use super::super::words::{LogFormat, Role};
use super::*;

/// A configuration file that goes when the test ends.
struct File(PathBuf);

impl File {
    fn new(test: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("beatmesh-load-{test}-{}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn machine() -> Machine {
    Machine { hostname: "Build_Host.example".into(), id: "m1".into(), cores: 4 }
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn from_environment(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    load(Sources { environment: environment(pairs), ..Sources::default() }, &machine())
}

/// Loads a file and shows the complaints with the file's name shortened.
fn complaints(test: &str, text: &str) -> String {
    let file = File::new(test, text);
    let error = load(Sources { file: Some(&file.0), ..Sources::default() }, &machine()).unwrap_err();
    error.to_string().replace(file.0.to_str().unwrap(), "beatmesh.toml")
}

#[test]
fn without_any_source_the_defaults_stand() {
    let settings = from_environment(&[]).unwrap();
    assert_eq!(settings.seeds.database.to_string(), "sqlite://./beatmesh-data/mesh.db");
    assert_eq!(settings.queue.url, QueueUrl::Sql(settings.seeds.database.clone()));
    assert_eq!(settings.node.slots, 16);
    assert!(settings.node.name.as_str().starts_with("build-host-example-"), "{}", settings.node.name);
    assert!(Role::ALL.into_iter().all(|role| settings.node.roles.has(role)));
}

#[test]
fn the_reference_has_all_settings_and_its_values_are_the_defaults() {
    let page = include_str!("../../../docs/settings.md");
    let example = page.split("```").nth(1).and_then(|block| block.strip_prefix("toml\n")).unwrap();
    let file = File::new("reference", example);
    let loaded = load(Sources { file: Some(&file.0), ..Sources::default() }, &machine()).unwrap();
    assert_eq!(loaded, from_environment(&[]).unwrap());

    let mut section = "";
    let mut described = Vec::new();
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ") {
            described.push(format!("{section}.{name}"));
        }
    }
    assert_eq!(described, keys::KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
}

#[test]
fn a_made_up_name_is_stable_and_differs_by_machine_and_directory() {
    let name = |machine: &Machine, dir: &str| machine.node_name(Path::new(dir));
    assert_eq!(name(&machine(), "a"), name(&machine(), "a"));
    assert_ne!(name(&machine(), "a"), name(&machine(), "b"));
    assert_ne!(name(&machine(), "a"), name(&Machine { id: "m2".into(), ..machine() }, "a"));
    for hostname in ["", "---", "ÄÖÜ", &"x-".repeat(100), "123"] {
        name(&Machine { hostname: hostname.into(), ..machine() }, "a");
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = File::new(
        "precedence",
        "[node]\nname = \"file\"\nzone = \"file\"\npools = [\"file\"]\nslots = 3\n[log]\nformat = \"json\"\n",
    );
    let settings = load(
        Sources {
            file: Some(&file.0),
            environment: environment(&[
                ("BEATMESH_NODE__NAME", "environment"),
                ("BEATMESH_NODE__ZONE", "environment"),
                ("BEATMESH_SEEDS__PEERS", "a:1, b:2"),
            ]),
            flags: vec![Flag { name: "--name", setting: "node.name", value: "flag".into() }],
        },
        &machine(),
    )
    .unwrap();
    assert_eq!(settings.node.name.as_str(), "flag");
    assert_eq!(settings.node.zone.as_ref().unwrap().as_str(), "environment");
    assert_eq!(settings.node.pools[0].as_str(), "file");
    assert_eq!(settings.node.slots, 3);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.seeds.peers.len(), 2);
}

#[test]
fn the_database_follows_the_data_directory_and_the_queue_the_database() {
    let settings = from_environment(&[("BEATMESH_NODE__DATA_DIR", "/data")]).unwrap();
    let sqlite = |path: &str| QueueUrl::Sql(StoreUrl::Sqlite { path: path.into() });
    assert_eq!(settings.queue.url, sqlite("/data/mesh.db"));
    let settings = from_environment(&[("BEATMESH_SEEDS__DATABASE", "sqlite:///db/x.db")]).unwrap();
    assert_eq!(settings.queue.url, sqlite("/db/x.db"));
    let redis = [("BEATMESH_QUEUE__URL", "redis://127.0.0.1"), ("BEATMESH_QUEUE__DURABILITY", "replicated")];
    let settings = from_environment(&redis).unwrap();
    assert_eq!(settings.queue.url.to_string(), "redis://127.0.0.1:6379");
}

#[test]
fn every_wrong_line_of_a_file_is_named_with_what_was_meant() {
    let shown = complaints(
        "wrong",
        "nmae = \"x\"\n[listen]\nhtpp = \"127.0.0.1:1\"\nmesh = \"7946\"\n[lisen]\nhttp = \"127.0.0.1:1\"\n\
         [queue]\nlease = 10\nresult_limit = \"10\"\n[node]\nroles = [\"worker\", \"boss\"]\nslots = \"many\"\n\
         name = \"Eu 1\"\npools = []\n[wat]\nfoo = true\n[security]\nca = \"x\"\nxyzzy = 1\n",
    );
    insta::assert_snapshot!(shown, @r#"
    beatmesh.toml line 1: nmae: it stands outside of any section; there are mesh, node, listen, seeds, queue, beat, limits, security, log
    beatmesh.toml line 3: listen.htpp: there is no such setting; did you mean `listen.http`?
    beatmesh.toml line 4: listen.mesh: `7946` is not an address; write an IP address and a port, for example "127.0.0.1:8080"
    beatmesh.toml line 6: lisen.http: there is no such setting; did you mean `listen.http`?
    beatmesh.toml line 8: queue.lease: the number 10 stands where a text in quotes belongs
    beatmesh.toml line 9: queue.result_limit: `10` is not a size; write a number and a unit, for example "512B", "64KiB", "16MiB"
    beatmesh.toml line 11: node.roles: `boss` is not a role; there are server, worker and beat
    beatmesh.toml line 12: node.slots: the text "many" is not a whole number from 1 to 1000000
    beatmesh.toml line 13: node.name: `Eu 1` is not a name: use 1 to 63 of a-z, 0-9 and `-`, beginning and ending with a letter or a digit
    beatmesh.toml line 14: node.pools: it is empty; name at least one, or leave the setting out
    beatmesh.toml line 16: wat.foo: there is no such section; there are mesh, node, listen, seeds, queue, beat, limits, security, log
    beatmesh.toml line 18: security.ca: own certificates come in a later version; this one takes `security.secret_file`
    beatmesh.toml line 19: security.xyzzy: there is no such setting; [security] has secret_file, api_keys_file
    "#);
}

#[test]
fn a_file_that_is_no_toml_is_named_with_its_line_and_without_its_text() {
    let shown = complaints("syntax", "[seeds]\ndatabase = \"postgres://user:canary@host\n");
    insta::assert_snapshot!(shown, @r#"beatmesh.toml line 2: not valid TOML: invalid basic string, expected `"`"#);
    let missing = Sources { file: Some(Path::new("/nonexistent/beatmesh.toml")), ..Sources::default() };
    insta::assert_snapshot!(load(missing, &machine()).unwrap_err(), @r"the configuration file /nonexistent/beatmesh.toml cannot be read: No such file or directory (os error 2)");
}

#[test]
fn unknown_variables_are_refused_with_the_nearest_known_one() {
    let error = from_environment(&[
        ("BEATMESH_LISTEN__HTPP", "127.0.0.1:1"),
        ("BEATMESH_NODE_NAME", "x"),
        ("BEATMESH_XYZZY", "x"),
        ("PATH", "/bin"),
    ])
    .unwrap_err();
    insta::assert_snapshot!(error, @r"
    environment variable BEATMESH_LISTEN__HTPP: listen.htpp: there is no such setting; did you mean `BEATMESH_LISTEN__HTTP`?
    environment variable BEATMESH_NODE_NAME: node_name: there is no such setting; did you mean `BEATMESH_NODE__NAME`?
    environment variable BEATMESH_XYZZY: xyzzy: there is no such setting; variables are named like BEATMESH_LISTEN__HTTP
    ");
}

#[test]
fn variables_of_clients_and_of_kubernetes_are_left_alone() {
    let mut pairs: Vec<(&str, &str)> = CLIENT_VARIABLES.iter().map(|name| (*name, "x")).collect();
    pairs.extend([
        ("BEATMESH_SERVICE_HOST", "10.0.0.1"),
        ("BEATMESH_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("BEATMESH_SERVICE_PORT_HTTP", "8080"),
    ]);
    from_environment(&pairs).unwrap();
    assert!(from_environment(&[("BEATMESH_PORT__HTTP", "1")]).is_err());
}

#[test]
fn what_does_not_fit_together_is_refused_with_the_reason() {
    let error = |pairs: &[(&str, &str)]| from_environment(pairs).unwrap_err().to_string();
    insta::assert_snapshot!(error(&[("BEATMESH_LISTEN__HTTP", "0.0.0.0:8080")]), @r"environment variable BEATMESH_LISTEN__HTTP: listen.http: `0.0.0.0:8080` can be reached from other machines, and without keys anybody there could run functions here; set security.api_keys_file, or listen on 127.0.0.1");
    insta::assert_snapshot!(error(&[("BEATMESH_LISTEN__ADVERTISE", "0.0.0.0:7946")]), @r"environment variable BEATMESH_LISTEN__ADVERTISE: listen.advertise: `0.0.0.0:7946` is not an address that others can dial; write this machine's own");
    insta::assert_snapshot!(error(&[("BEATMESH_LISTEN__ADVERTISE", "10.0.0.1:0")]), @r"environment variable BEATMESH_LISTEN__ADVERTISE: listen.advertise: `10.0.0.1:0`: others cannot dial port 0; write the real one");
    insta::assert_snapshot!(error(&[("BEATMESH_LISTEN__MESH", "0.0.0.0:7946")]), @r#"environment variable BEATMESH_LISTEN__MESH: listen.mesh: `0.0.0.0:7946` takes packets on every address, so others must be told which one to dial; set listen.advertise, for example "10.0.0.5:7946""#);
    insta::assert_snapshot!(error(&[("BEATMESH_QUEUE__URL", "sqlite://other.db")]), @r"environment variable BEATMESH_QUEUE__URL: queue.url: `sqlite://other.db` is not the database `sqlite://./beatmesh-data/mesh.db`; in SQL, tasks are kept beside the catalogue: leave it out, or name a Redis");
    insta::assert_snapshot!(error(&[("BEATMESH_QUEUE__DURABILITY", "disk")]), @r"environment variable BEATMESH_QUEUE__DURABILITY: queue.durability: `disk` is a promise about Redis, and tasks are in `sqlite://./beatmesh-data/mesh.db`, which writes each of them to disk in any case; leave it out");
    insta::assert_snapshot!(error(&[("BEATMESH_QUEUE__LEASE", "5ms")]), @r"environment variable BEATMESH_QUEUE__LEASE: queue.lease: `5ms` is too short: the least is 1s");
    insta::assert_snapshot!(error(&[("BEATMESH_QUEUE__KEEP_TASKS", "59s")]), @r"environment variable BEATMESH_QUEUE__KEEP_TASKS: queue.keep_tasks: `59s` is too short: the least is 1m, or tasks are forgotten before anybody has asked for their results");
    insta::assert_snapshot!(error(&[("BEATMESH_NODE__ROLES", "")]), @r"environment variable BEATMESH_NODE__ROLES: node.roles: it is empty: a node without a role does nothing; there are server, worker and beat");
    from_environment(&[
        ("BEATMESH_QUEUE__KEEP_TASKS", "1m"),
        ("BEATMESH_LISTEN__HTTP", "0.0.0.0:8080"),
        ("BEATMESH_SECURITY__API_KEYS_FILE", "keys"),
        ("BEATMESH_LISTEN__MESH", "0.0.0.0:7946"),
        ("BEATMESH_LISTEN__ADVERTISE", "10.0.0.1:7946"),
    ])
    .unwrap();
}

#[test]
fn no_complaint_shows_a_password_wherever_the_url_was_put() {
    for key in keys::KEYS {
        let variable = source::variable_of(key.name);
        let result = from_environment(&[(&variable, "postgres://user:canary@host/db")]);
        let shown = match result {
            Ok(settings) => format!("{settings:?} {}", settings.seeds.database),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains("canary"), "{}: {shown}", key.name);
    }
}

#[test]
fn a_bad_value_is_refused_even_when_another_source_overrides_it() {
    let error = load(
        Sources {
            environment: environment(&[("BEATMESH_NODE__NAME", "Not A Name")]),
            flags: vec![Flag { name: "--name", setting: "node.name", value: "good".into() }],
            ..Sources::default()
        },
        &machine(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("BEATMESH_NODE__NAME"), "{error}");
}
