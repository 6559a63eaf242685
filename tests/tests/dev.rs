//! `beatmesh dev`, as a user meets it.

use std::process::Command;
use std::time::{Duration, SystemTime};

use beatmesh_tests::process::{run, send};
use beatmesh_tests::wait::until_so;
use beatmesh_tests::{Client, Process, Scratch, Signal, binary, ledger, processes, until, until_some};

/// From the start until the commands are printed; a second on a quiet machine.
const UP: Duration = Duration::from_secs(40);

/// A running `beatmesh dev`.
struct Dev {
    process: Process,
    dir: Scratch,
    /// When it had said what to try, in milliseconds since 1970: its samples were deployed by then, so due
    /// times since then are owed.
    began: i64,
}

/// A line of the table of nodes.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    pid: i32,
    url: String,
    is_beat: bool,
}

impl Dev {
    fn start(dir: Scratch) -> Self {
        let process = Process::start("dev", command(&dir), &dir.join("dev.log"));
        let mut dev = Self { process, dir, began: 0 };
        until_so("dev prints what to try", UP, || {
            assert_eq!(dev.process.ended(), None, "it ended");
            dev.text().contains("Ctrl-C stops everything")
        });
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        dev.began = i64::try_from(now.as_millis()).unwrap();
        dev
    }

    /// What it has shown.
    fn text(&self) -> String {
        self.process.log()
    }

    /// What `dev` itself has said.
    fn said(&self, part: &str) -> Option<String> {
        let text = self.text();
        text.lines()
            .filter(|line| line.starts_with("dev: "))
            .find(|line| line.contains(part))
            .map(str::to_owned)
    }

    /// The printed table.
    fn rows(&self) -> Vec<Row> {
        let text = self.text();
        let begin = text.lines().skip_while(|line| !line.starts_with("NODE")).skip(1);
        begin
            .take_while(|line| !line.trim().is_empty())
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                Row {
                    name: words[0].to_owned(),
                    pid: words[1].parse().expect("a process id"),
                    url: words[2].to_owned(),
                    is_beat: words.get(4) == Some(&"Beat"),
                }
            })
            .collect()
    }

    /// The commands to try, as printed.
    fn commands(&self) -> Vec<String> {
        let text = self.text();
        text.lines().map(str::trim).filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
    }

    fn client(&self, row: &Row) -> Client {
        Client::new(row.url.strip_prefix("http://").expect("a URL").parse().expect("an address"))
    }

    /// Ctrl-C, and everything is gone.
    fn stop(mut self) -> Scratch {
        let pids: Vec<i32> = self.node_pids();
        self.process.signal(Signal::Interrupt);
        let status = self.process.wait(Duration::from_secs(15));
        assert!(status.success(), "{status}: {}", self.text());
        assert!(self.said("all nodes have left").is_some(), "they leave gracefully: {}", self.text());
        assert!(pids.iter().all(|pid| !is_alive(*pid)), "{pids:?}");
        assert!(self.node_pids().is_empty(), "nothing stays running");
        self.dir
    }

    /// Processes whose command line names this test's directory.
    fn node_pids(&self) -> Vec<i32> {
        let dir = self.dir.join("data").display().to_string();
        let own = self.process.pid();
        processes::with_argument(&dir).into_iter().filter(|pid| *pid != own).collect()
    }
}

fn command(dir: &Scratch) -> Command {
    let mut command = binary::command();
    command.args(["dev", "--http-port", "0", "--data-dir"]).arg(dir.join("data"));
    command
}

fn is_alive(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/exe")).exists()
        && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

fn shell(command: &str) -> String {
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("{command} --silent --show-error --fail-with-body")]);
    let said = run(bash, b"", Duration::from_secs(20));
    assert_eq!(said.code, Some(0), "{command}: {said:?}");
    said.stdout
}

#[tokio::test]
async fn dev_prints_a_table_and_three_commands_that_work_as_printed() {
    let dev = Dev::start(Scratch::new());
    let rows = dev.rows();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(rows.iter().filter(|row| row.is_beat).count(), 1, "{rows:?}");
    let commands = dev.commands();
    assert_eq!(commands.len(), 3, "{commands:?}");
    assert_eq!(shell(&commands[0]), "hello Ada\n");
    let accepted: serde_json::Value = serde_json::from_str(&shell(&commands[1])).unwrap();
    let task = accepted["task_id"].as_str().expect("the second command enqueues a task").to_owned();
    for row in &rows {
        let client = dev.client(row);
        assert_eq!(client.finished(&task).await["result"], "hello Ada\n");
        assert_eq!(client.call("hello", "{\"name\":\"Eve\"}").await.ok().text(), "hello Eve\n");
        assert_eq!(client.get("/v1/mesh").await.ok().json()["self"], row.name.as_str());
        assert!(is_alive(row.pid));
    }
    let ticks =
        async || serde_json::from_str::<serde_json::Value>(&shell(&commands[2])).unwrap()["ticks"].clone();
    let has_two = |ticks: &serde_json::Value| ticks.as_array().is_some_and(|ticks| ticks.len() >= 2);
    until("the schedule of the samples fires every 2 s", Duration::from_secs(10), ticks, has_two).await;
    let ticks = ledger::read(&dev.client(&rows[0]), "every-2s").await;
    ledger::assert_complete(&ticks, dev.began, 2_000);
    drop(dev.stop());
}

#[tokio::test]
async fn a_killed_node_is_restarted_and_dev_says_who_took_over_and_no_due_time_is_lost() {
    let dev = Dev::start(Scratch::new());
    let rows = dev.rows();
    let beat = rows.iter().find(|row| row.is_beat).unwrap().clone();
    let others: Vec<&Row> = rows.iter().filter(|row| !row.is_beat).collect();
    let client = dev.client(others[0]);
    ledger::until_ticks(&client, "every-2s", 1).await;
    send(beat.pid, Signal::Kill).unwrap();
    for _ in 0..50 {
        for other in &others {
            dev.client(other).call("hello", "Ada").await.ok();
        }
    }
    let told = async |part: String| {
        until_some(&format!("dev says `{part}`"), Duration::from_secs(20), async || dev.said(&part)).await
    };
    println!("{}", told(format!("{} (pid {}), which was the Beat, has died", beat.name, beat.pid)).await);
    println!("{}", told("is the Beat now, ".to_owned()).await);
    println!("{}", told(format!("{} is back", beat.name)).await);
    // It is found where it was.
    let again = dev.client(&beat);
    assert_eq!(again.call("hello", "Ada").await.ok().text(), "hello Ada\n");
    let count = ledger::read(&client, "every-2s").await.len() + 1;
    ledger::until_ticks(&again, "every-2s", count).await;
    ledger::assert_complete(&ledger::read(&again, "every-2s").await, dev.began, 2_000);
    drop(dev.stop());
}

#[tokio::test]
async fn after_ctrl_c_a_second_start_finds_everything_again() {
    let dev = Dev::start(Scratch::new());
    let client = dev.client(&dev.rows()[0]);
    client.deploy("mine", &beatmesh_tests::side_file::builtin("echo")).await;
    let nightly = serde_json::json!({"cron": "30 2 * * *", "timezone": "Europe/Berlin", "function": "mine"});
    client.put("/v1/schedules/nightly", &nightly).await.ok();
    let done = client.enqueue("mine", "", "before").await;
    let later = client.enqueue("mine", "?delay=1h", "later").await;
    client.finished(&done).await;
    ledger::until_ticks(&client, "every-2s", 2).await;
    let before = ledger::read(&client, "every-2s").await;
    let since = dev.began;
    let dir = dev.stop();

    let dev = Dev::start(dir);
    let client = dev.client(&dev.rows()[1]);
    assert_eq!(client.call("mine", "again").await.ok().text(), "again");
    assert_eq!(
        client.get("/v1/schedules/nightly").await.ok().json()["definition"]["timezone"],
        "Europe/Berlin"
    );
    assert_eq!(client.finished(&done).await["result"], "before");
    assert_eq!(client.get(&format!("/v1/tasks/{later}")).await.ok().json()["state"], "scheduled");
    let look = async || ledger::read(&client, "every-2s").await;
    let ticks = until("it ticks on", Duration::from_secs(10), look, |ticks| ticks.len() > before.len()).await;
    assert_eq!(ticks[0].due, before[0].due);
    // Nobody was there while it was down: fire_all makes up for it.
    ledger::assert_complete(&ticks, since, 2_000);
    drop(dev.stop());
}

#[tokio::test]
async fn a_killed_dev_takes_its_nodes_down_and_the_next_one_starts_at_once() {
    let mut dev = Dev::start(Scratch::new());
    let pids: Vec<i32> = dev.rows().iter().map(|row| row.pid).collect();
    dev.process.kill();
    let alive = async || pids.iter().copied().filter(|pid| is_alive(*pid)).collect::<Vec<_>>();
    until("its nodes are gone", Duration::from_secs(12), alive, Vec::is_empty).await;
    let Dev { process, dir, .. } = dev;
    drop(process);
    drop(Dev::start(dir).stop());
}

#[tokio::test]
async fn a_directory_and_a_port_are_for_one_dev_at_a_time() {
    let dev = Dev::start(Scratch::new());
    let said = run(command(&dev.dir), b"", Duration::from_secs(10));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains(&format!("pid {}", dev.process.pid())), "{said:?}");
    let port = dev.rows()[0].url.rsplit(':').next().unwrap().to_owned();
    let mut command = binary::command();
    command.args(["dev", "--http-port", &port, "--data-dir"]).arg(dev.dir.join("other"));
    let said = run(command, b"", Duration::from_secs(10));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains(&format!("127.0.0.1:{port}")), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    drop(dev.stop());
}
