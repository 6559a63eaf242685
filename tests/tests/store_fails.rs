//! A full disk, a locked file, a file that is gone: 503, calls go on, and all is well again by itself.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use beatmesh_tests::process::run;
use beatmesh_tests::side_file::builtin;
use beatmesh_tests::{Client, NodeSpec, Scratch, TestMesh, database, ledger, until};
use serde_json::json;

/// A schedule that is due every second; answers from when on.
async fn tick(mesh: &TestMesh) -> i64 {
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let every =
        json!({"cron": "* * * * * *", "function": "echo", "misfire": "fire_all", "misfire_cap": 1000});
    let since = ledger::owed_since(&mesh.client(0).put("/v1/schedules/tick", &every).await.ok().json());
    ledger::until_ticks(&mesh.client(0), "tick", 2).await;
    since
}

/// Changes are refused with 503 and a time to come back; calls are answered all the same.
async fn assert_read_only(client: &Client) {
    let answer = client.post("/v1/functions/echo/tasks", "x".repeat(100_000)).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(!answer.header("retry-after").is_empty());
    let problem = answer.json();
    assert!(
        ["store_unavailable", "outcome_unknown"].contains(&problem["type"].as_str().unwrap()),
        "{problem:#}"
    );
    if problem["outcome"] == "unknown" {
        assert!(problem["task_id"].is_string(), "{problem:#}");
    }
    println!("{} {}", problem["type"], problem["detail"]);
    assert_eq!(client.put("/v1/functions/new", &builtin("noop")).await.status, 503);
    for _ in 0..20 {
        assert_eq!(client.call("echo", "calls go on").await.ok().text(), "calls go on");
    }
}

/// Everything works again, and no due time since the schedule was made was lost.
async fn assert_recovered(mesh: &mut TestMesh, since: i64) {
    let client = mesh.client(0);
    let begin = std::time::Instant::now();
    let look = async || client.post("/v1/functions/echo/tasks", "x").await.status;
    until("tasks are taken again", Duration::from_secs(15), look, |status| *status == 202).await;
    println!("tasks are taken again after {:?}", begin.elapsed());
    let task = client.enqueue("echo", "", "back").await;
    assert_eq!(mesh.client(1).finished(&task).await["result"], "back");
    let now = i64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis(),
    );
    let now = now.unwrap();
    let look = async || ledger::read(&client, "tick").await;
    let reached = |ticks: &Vec<ledger::Tick>| ticks.last().is_some_and(|tick| tick.due > now);
    let ticks = until("the ledger goes on", Duration::from_secs(20), look, reached).await;
    ledger::assert_complete(&ticks, since, 1_000);
    println!("the latest tick was {} ms late", ticks.iter().map(|tick| tick.lateness).max().unwrap());
    mesh.until_formed().await;
    mesh.assert_well().await;
}

/// Another program that holds the write lock of an SQLite file.
struct Lock(Child);

impl Lock {
    fn take(file: &Path, how: &str, done: &Path) -> Self {
        let script = format!(".timeout 5000\nBEGIN {how};\n.shell touch {}\n", done.display());
        let mut sqlite = Command::new("sqlite3");
        let mut child = sqlite
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("sqlite3 is installed");
        // Kept open: at the end of its input it would let go.
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), script.as_bytes()).unwrap();
        beatmesh_tests::wait::until_so("the file is locked", Duration::from_secs(10), || done.exists());
        Self(child)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_locked_file_is_503_and_calls_go_on_and_all_is_well_when_the_lock_goes() {
    let mut mesh = TestMesh::start(2).await;
    let since = tick(&mesh).await;
    for how in ["IMMEDIATE", "EXCLUSIVE"] {
        let lock = Lock::take(&mesh.dir.join("mesh.db"), how, &mesh.dir.join(&format!("locked-{how}")));
        assert_read_only(&mesh.client(0)).await;
        assert_read_only(&mesh.client(1)).await;
        drop(lock);
        assert_recovered(&mut mesh, since).await;
    }
}

/// A small file system of its own; `None` where mounting is not allowed.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "beatmesh-e2e"]).arg(&at);
        let said = run(mount, b"", Duration::from_secs(10));
        if said.code == Some(0) {
            return Some(Self(at));
        }
        println!("SKIPPED: a small tmpfs cannot be mounted here: {}", said.stderr.trim());
        None
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        unmount.arg("-l").arg(&self.0);
        let _ = unmount.status();
    }
}

#[tokio::test]
async fn a_full_disk_is_503_and_calls_go_on_and_all_is_well_when_there_is_room() {
    let dir = Scratch::new();
    let Some(disk) = Tmpfs::mount(dir.join("disk"), "8m") else { return };
    let url = format!("sqlite://{}", disk.0.join("mesh.db").display());
    let start = |name: &str| NodeSpec::new(&dir, name).flag("--db", &url).start();
    let nodes = vec![start("node-1"), start("node-2")];
    let mut mesh = TestMesh { nodes, dir };
    mesh.until_formed().await;
    let since = tick(&mesh).await;
    // To the last byte, while the store writes every second.
    let ballast = disk.0.join("ballast");
    let fill = || {
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=4k", "oflag=append", "conv=notrunc"])
            .arg(format!("of={}", ballast.display()));
        dd.stderr(Stdio::null()).status().expect("dd is there")
    };
    let client = mesh.client(0);
    let look = async || {
        fill();
        client.post("/v1/functions/echo/tasks?delay=1h", "x".repeat(100_000)).await.status
    };
    until("the disk is full", Duration::from_secs(10), look, |status| *status == 503).await;
    assert_read_only(&mesh.client(0)).await;
    assert_read_only(&mesh.client(1)).await;
    std::fs::remove_file(&ballast).unwrap();
    assert_recovered(&mut mesh, since).await;
    drop(mesh.nodes.drain(..));
    drop(disk);
}

#[tokio::test]
async fn a_file_that_is_taken_away_is_503_and_calls_go_on_and_all_is_well_when_it_is_back() {
    let mut mesh = TestMesh::start(2).await;
    let since = tick(&mesh).await;
    let (home, aside) = (mesh.dir.path().to_owned(), mesh.dir.join("aside"));
    database::put(&home, &aside);
    assert_read_only(&mesh.client(0)).await;
    assert_read_only(&mesh.client(1)).await;
    assert!(!home.join("mesh.db").exists(), "nobody makes an empty one in its place");
    database::put(&aside, &home);
    assert_recovered(&mut mesh, since).await;
}
