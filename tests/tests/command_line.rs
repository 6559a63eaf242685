//! Every command once, against real nodes: what people read, what scripts read, exit codes.

use std::time::Duration;

use beatmesh_tests::process::{Said, run};
use beatmesh_tests::{NodeSpec, Scratch, TestMesh, binary};
use serde_json::Value;

/// The command line against a mesh.
struct Cli {
    mesh: TestMesh,
    url: String,
}

impl Cli {
    async fn new() -> Self {
        let mesh = TestMesh::start(2).await;
        let url = mesh.client(0).base().to_owned();
        let cli = Self { mesh, url };
        let manifest = cli.mesh.dir.file("manifest.toml", MANIFEST);
        let said = cli.ok(&["deploy", manifest.to_str().unwrap()]);
        assert!(said.contains("hello") && said.contains("yearly"), "{said}");
        cli
    }

    fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Said {
        let mut command = binary::command();
        command.args(arguments).env("BEATMESH_URL", &self.url);
        run(command, stdin, Duration::from_secs(30))
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, b"")
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{arguments:?}: {said:?}");
        said.stdout
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Fails with one readable line on stderr, and as a problem object with `--json`.
    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32, part: &str) {
        let said = self.run(arguments);
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        assert!(said.stdout.is_empty(), "{arguments:?}: {said:?}");
        assert!(said.stderr.starts_with("error") && said.stderr.contains(part), "{arguments:?}: {said:?}");
        assert!(!said.stderr.contains("panicked"), "{said:?}");
    }

    #[track_caller]
    fn fails_with_a_problem(&self, arguments: &[&str], code: i32, kind: &str) {
        let said = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        let problem: Value =
            serde_json::from_str(&said.stderr).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        assert_eq!(problem["type"], kind, "{problem:#}");
    }
}

const MANIFEST: &str = r#"
[functions.hello]
runtime = "process"
command = ["/usr/bin/env", "bash", "-c", "echo hello $(cat)"]
[functions.bad]
runtime = "process"
command = ["/usr/bin/env", "bash", "-c", "echo the reason >&2; exit 3"]
[functions.echo]
runtime = "builtin"
handler = "echo"
[schedules.yearly]
cron = "0 0 1 1 *"
timezone = "Europe/Berlin"
function = "hello"
[schedules.often]
cron = "* * * * * *"
function = "echo"
"#;

#[tokio::test]
async fn deploy_shows_its_steps_changes_only_what_differs_and_deletes_only_when_asked() {
    let cli = Cli::new().await;
    let file = cli.mesh.dir.join("manifest.toml");
    let file = file.to_str().unwrap();
    let before = cli.json(&["functions"]);
    println!("{}", cli.ok(&["deploy", file]));
    assert_eq!(cli.json(&["functions"]), before, "an equal manifest changes nothing");
    let smaller = cli.mesh.dir.file(
        "smaller.toml",
        MANIFEST
            .replace("exit 3", "exit 4")
            .replace("[schedules.often]\ncron = \"* * * * * *\"\nfunction = \"echo\"\n", ""),
    );
    let smaller = smaller.to_str().unwrap();
    let shown = cli.ok(&["deploy", smaller, "--dry-run", "--prune"]);
    assert!(shown.contains("bad") && shown.contains("often"), "{shown}");
    assert_eq!(cli.json(&["functions"]), before, "a dry run changes nothing");
    cli.ok(&["deploy", smaller]);
    assert_eq!(
        cli.json(&["schedules"])["schedules"].as_array().unwrap().len(),
        2,
        "without --prune nothing goes"
    );
    cli.ok(&["deploy", smaller, "--prune"]);
    assert_eq!(cli.json(&["schedules"])["schedules"].as_array().unwrap().len(), 1);
    cli.fails(&["deploy", "/nonexistent.toml"], 2, "/nonexistent.toml");
    let wrong = cli.mesh.dir.file("wrong.toml", "[functions.a]\nruntime = \"process\"\ncomand = [\"x\"]\n");
    cli.fails(&["deploy", wrong.to_str().unwrap()], 2, "comand");
    let orphan =
        cli.mesh.dir.file("orphan.toml", "[schedules.s]\ncron = \"* * * * *\"\nfunction = \"nobody\"\n");
    cli.fails(&["deploy", orphan.to_str().unwrap()], 2, "nobody");
}

#[tokio::test]
async fn a_manifest_with_a_schedule_that_cannot_work_is_refused_before_anything_is_done() {
    let cli = Cli::new().await;
    let before = cli.json(&["functions"]);
    for (line, part) in [
        ("cron = \"61 * * * *\"", "61 * * * *"),
        ("cron = \"0 0 30 2 *\"", "0 0 30 2 *"),
        ("cron = \"0 0 * * *\"\ntimezone = \"Europe/Berln\"", "Europe/Berlin"),
        ("cron = \"0 0 * * *\"\nmisfire_cap = 1001", "1001"),
    ] {
        let text = format!(
            "[functions.new]\nruntime = \"builtin\"\nhandler = \"noop\"\n[schedules.bad]\n{line}\nfunction = \"new\"\n"
        );
        let file = cli.mesh.dir.file("bad.toml", text);
        for arguments in
            [&["deploy", file.to_str().unwrap()][..], &["deploy", file.to_str().unwrap(), "--dry-run"]]
        {
            cli.fails(arguments, 2, part);
            let said = cli.run(arguments);
            assert!(said.stderr.contains("bad.toml line 4: schedules.bad: "), "{said:?}");
            assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        }
    }
    assert_eq!(cli.json(&["functions"]), before, "nothing was done");
}

#[tokio::test]
async fn call_takes_json_files_and_stdin_and_waits_for_tasks() {
    let cli = Cli::new().await;
    assert_eq!(cli.ok(&["call", "hello", "{\"a\":1}"]), "hello {\"a\":1}\n");
    let input = cli.mesh.dir.file("input", [0, 255, 10, 13]);
    let said = cli.run(&["call", "echo", &format!("@{}", input.display())]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let shown = cli.json(&["call", "echo", &format!("@{}", input.display())]);
    assert_eq!(shown["output_base64"], "AP8KDQ==", "{shown:#}");
    assert_eq!(cli.run_with(&["call", "echo", "-"], b"from stdin").stdout, "from stdin");
    let shown = cli.json(&["call", "echo", "[1,2]", "--key", "k"]);
    assert_eq!(shown["output"], serde_json::json!([1, 2]), "{shown:#}");
    assert!(shown["node"].is_string() && shown["task"].is_string());
    assert_eq!(cli.ok(&["call", "hello", "\"x\"", "--wait"]), "hello \"x\"\n");
    // Bytes that are no text arrive as they are, from a call and from a task.
    let file = format!("@{}", input.display());
    for arguments in [&["call", "echo", &file][..], &["call", "echo", &file, "--wait"]] {
        let mut command = std::process::Command::new("bash");
        command.args(["-c", "\"$@\" | od -An -tu1", "-"]).arg(binary::path()).args(arguments);
        command.env("BEATMESH_URL", &cli.url);
        let said = run(command, b"", Duration::from_secs(30));
        assert_eq!(said.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "255", "10", "13"], "{said:?}");
    }
    let task = cli.ok(&["call", "hello", "--async"]).trim().to_owned();
    let record = cli.json(&["tasks", "get", &task, "--wait", "10s"]);
    assert_eq!(record["state"], "done");

    cli.fails(&["call", "nobody"], 1, "nobody");
    cli.fails_with_a_problem(&["call", "nobody"], 1, "function_not_found");
    cli.fails(&["call", "bad"], 1, "the reason");
    cli.fails_with_a_problem(&["call", "bad"], 1, "function_failed");
    cli.fails(&["call", "bad", "--wait"], 1, "failed");
    cli.fails(&["call", "hello", "no json"], 2, "no json");
    cli.fails(&["call", "hello", "@/nonexistent"], 2, "/nonexistent");
    cli.fails(&["call", "hello", "--delay", "1s"], 2, "--async");
    cli.fails(&["call", "hello", "--timeout", "0s"], 2, "--timeout");
    for task in ["--async", "--wait"] {
        cli.fails(&["call", "hello", task, "--key", "k"], 2, "--key");
    }
    cli.fails(&["call", "a/b"], 2, "a/b");
}

#[tokio::test]
async fn every_command_that_looks_shows_a_table_and_json() {
    let cli = Cli::new().await;
    let task = cli.ok(&["call", "hello", "--async"]).trim().to_owned();
    cli.ok(&["tasks", "get", &task, "--wait", "10s"]);
    for (arguments, part, key) in [
        (&["members"][..], "node-2", "members"),
        (&["ring", "customer-1", "-n", "2"], "node-2", "successors"),
        (&["functions"], "hello", "functions"),
        (&["functions", "hello"], "bash", "definition"),
        (&["schedules"], "Europe/Berlin", "schedules"),
        (&["schedules", "yearly"], "Europe/Berlin", "definition"),
        (&["schedules", "preview", "yearly", "-n", "2"], "-12-31T23:00:00", "due"),
        (&["tasks"], task.as_str(), "tasks"),
        (&["tasks", "--state", "done", "--function", "hello"], task.as_str(), "tasks"),
    ] {
        let text = cli.ok(arguments);
        assert!(text.contains(part), "{arguments:?}: {text}");
        assert!(!cli.json(arguments)[key].is_null(), "{arguments:?}");
    }
    let ticks = async || cli.json(&["ticks", "often", "--limit", "5"])["ticks"].as_array().unwrap().len();
    beatmesh_tests::until("it ticks", Duration::from_secs(5), ticks, |n| *n >= 1).await;
    assert!(cli.ok(&["ticks", "often", "--since", "1h"]).contains("fired"));
}

#[tokio::test]
async fn every_command_that_changes_does_so_and_says_what() {
    let cli = Cli::new().await;
    assert!(cli.ok(&["schedules", "pause", "often"]).contains("paused often"));
    assert!(cli.ok(&["schedules"]).contains("paused"));
    assert!(cli.ok(&["schedules", "resume", "often"]).contains("resumed often"));
    let task = cli.ok(&["schedules", "trigger", "yearly"]).trim().to_owned();
    assert_eq!(cli.json(&["tasks", "get", &task, "--wait", "10s"])["state"], "done");
    let task = cli.ok(&["call", "hello", "--async", "--delay", "1h"]).trim().to_owned();
    assert!(cli.ok(&["tasks", "cancel", &task]).contains("cancelled"));
    assert!(cli.ok(&["tasks", "retry", &task]).contains("ready"));
    cli.fails(&["functions", "delete", "hello"], 1, "yearly");
    cli.fails_with_a_problem(&["functions", "delete", "hello"], 1, "in_use");
    cli.ok(&["schedules", "delete", "yearly"]);
    assert_eq!(cli.json(&["functions", "delete", "hello"])["deleted"], true);
    cli.fails(&["functions", "hello"], 1, "hello");
    cli.fails(&["schedules", "preview", "yearly"], 1, "yearly");
    cli.fails(&["tasks", "get", "00000000-0000-7000-8000-000000000000"], 1, "no task");
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2_and_names_what_is_wrong() {
    let cli = Cli::new().await;
    for (arguments, part) in [
        (&["functons"][..], "functions"),
        (&["members", "--jsno"], "--json"),
        (&["tasks", "--state", "ended"], "ended"),
        (&["tasks", "--limit", "1001"], "1..=1000"),
        (&["tasks", "get", "nonsense"], "nonsense"),
        (&["schedules", "preview", "yearly", "-n", "0"], "0"),
        (&["ring"], "KEY"),
        (&["members", "--url", "nonsense"], "--url"),
        (&["members", "--api-key-file", "/nonexistent"], "/nonexistent"),
        (&["dev", "--nodes", "0"], "--nodes"),
    ] {
        cli.fails(arguments, 2, part);
    }
    let said = cli.run(&["ring", "--json"]);
    let problem: Value = serde_json::from_str(&said.stderr).expect("a problem object");
    assert!(problem["detail"].as_str().unwrap().contains("<KEY>"), "{problem:#}");
    let said = cli.run(&[]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let said = cli.run(&["--version"]);
    assert!(said.code == Some(0) && said.stdout.starts_with("beatmesh "), "{said:?}");
    assert!(cli.ok(&["help"]).contains("Examples:"));
}

#[tokio::test]
async fn waiting_for_a_task_lasts_as_long_as_asked_though_the_node_waits_less() {
    let mesh = TestMesh::start_with(1, |spec| spec.set("limits.wait", "100ms")).await;
    mesh.client(0).deploy("echo", &beatmesh_tests::side_file::builtin("echo")).await;
    let get = |task: &str, wait: &str| {
        let mut command = binary::command();
        command.args(["tasks", "get", task, "--wait", wait, "--json", "--url", mesh.client(0).base()]);
        let said = run(command, b"", Duration::from_secs(30));
        assert_eq!(said.code, Some(0), "{said:?}");
        serde_json::from_str::<Value>(&said.stdout).expect("JSON")["state"].clone()
    };
    let soon = mesh.client(0).enqueue("echo", "?delay=1500ms", "x").await;
    assert_eq!(get(&soon, "20s"), "done");
    let late = mesh.client(0).enqueue("echo", "?delay=1h", "x").await;
    let begin = std::time::Instant::now();
    assert_eq!(get(&late, "1s"), "scheduled");
    let took = begin.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn of_several_urls_the_first_that_answers_is_used_and_none_is_exit_code_1() {
    let mut cli = Cli::new().await;
    let dead = cli.mesh.nodes[0].http();
    cli.mesh.nodes[0].kill();
    cli.fails(&["members"], 1, &dead.to_string());
    let both = format!("http://{dead},{}", cli.mesh.client(1).base());
    assert_eq!(cli.ok(&["call", "echo", "1", "--url", &both]), "1");
}

#[tokio::test]
async fn secret_new_writes_a_private_file_once_and_it_is_one_that_nodes_take() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Scratch::new();
    let file = dir.join("made");
    let new = || {
        let mut command = binary::command();
        command.args(["secret", "new", "--out"]).arg(&file);
        run(command, b"", Duration::from_secs(10))
    };
    assert_eq!(new().code, Some(0));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&file).unwrap();
    let said = new();
    assert!(matches!(said.code, Some(1 | 2)) && said.stderr.contains("made"), "{said:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret, "an existing secret is not overwritten");
    let mut node = NodeSpec::new(&dir, "node-1").flag("--secret-file", file.display()).start();
    assert!(!node.log().contains(secret.trim()));
    node.assert_well().await;
    let mut printed = binary::command();
    printed.args(["secret", "new"]);
    let said = run(printed, b"", Duration::from_secs(10));
    assert!(said.code == Some(0) && said.stdout.trim().len() >= 40 && said.stdout != secret, "{said:?}");
}

#[tokio::test]
async fn with_api_keys_the_command_line_shows_its_key() {
    let dir = Scratch::new();
    let keys = dir.secret_file("keys", "ci:canary-0123456789-abcdefghijk\n");
    let node = NodeSpec::new(&dir, "node-1").set("security.api_keys_file", keys.display()).start();
    let members = |file: Option<&std::path::Path>, key: Option<&str>| {
        let mut command = binary::command();
        command.args(["members", "--url", node.client().base()]);
        file.map(|file| command.arg("--api-key-file").arg(file));
        key.map(|key| command.env("BEATMESH_API_KEY", key));
        run(command, b"", Duration::from_secs(10))
    };
    let refused = members(None, None);
    assert!(refused.code == Some(1) && refused.stderr.contains("--api-key-file"), "{refused:?}");
    let key = dir.secret_file("key", "canary-0123456789-abcdefghijk\n");
    assert_eq!(members(Some(&key), None).code, Some(0));
    assert_eq!(members(None, Some("canary-0123456789-abcdefghijk")).code, Some(0));
    let wrong = members(None, Some("canary-wrong-wrong-wrong-wrong"));
    assert!(wrong.code == Some(1) && !wrong.stderr.contains("canary"), "{wrong:?}");
}

/// The shortest benchmark there is; its figures mean nothing.
#[test]
fn a_benchmark_whose_progress_nobody_reads_still_gives_its_figures() {
    let mut command = binary::without_settings(std::process::Command::new("sh"));
    let script = "exec \"$0\" bench --rounds 1 --time 20ms --tasks 1 --json 2>/dev/full";
    command.args(["-c", script]).arg(binary::path());
    let said = run(command, b"", Duration::from_secs(60));
    assert_eq!(said.code, Some(0), "{said:?}");
    let figures: Value = serde_json::from_str(&said.stdout).expect("figures");
    assert!(!figures["figures"].as_array().unwrap().is_empty(), "{figures:#}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_says_where_the_reason_stands() {
    let cli = Cli::new().await;
    let half = beatmesh_tests::side_file::shell("head -c 200000 /dev/zero; exit 3");
    cli.mesh.client(0).deploy("half", &half).await;
    for flags in [&["call", "half"][..], &["--json", "call", "half"]] {
        let said = cli.run(flags);
        assert_eq!(said.code, Some(1), "{:?}", said.stderr);
        for part in ["broke off", "the function failed", "the log of node node-1", "look for "] {
            assert!(said.stderr.contains(part), "{part}: {:?}", said.stderr);
        }
    }
}
