//! Starts that cannot work: one readable line on stderr, exit code 1 or 2, nothing left running.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::Duration;

use beatmesh_tests::process::{Said, run};
use beatmesh_tests::{Node, NodeSpec, Scratch, binary};

fn sqlite(dir: &Scratch, statement: &str) {
    let mut sqlite = Command::new("sqlite3");
    sqlite.arg(dir.join("mesh.db")).arg(statement);
    let said = run(sqlite, b"", Duration::from_secs(10));
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// One line, which names what is at fault.
#[track_caller]
fn assert_refused(said: &Said, code: i32, parts: &[&str]) {
    println!("{}", said.stderr.trim_end());
    assert_eq!(said.code, Some(code), "{said:?}");
    let lines: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(lines.len(), 1, "one line for people: {said:?}");
    assert!(!said.stderr.contains("panicked") && !said.stderr.contains("RUST_BACKTRACE"), "{said:?}");
    assert!(said.stdout.is_empty(), "{said:?}");
    for part in parts {
        assert!(lines[0].contains(part), "`{part}` is not in: {}", lines[0]);
    }
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_one_wherever_it_stands() {
    let dir = Scratch::new();
    let config = dir.file("beatmesh.toml", "[listen]\nhtp = \"127.0.0.1:0\"\n");
    let said = NodeSpec::new(&dir, "node-1").flag("--config", config.display()).fail();
    assert_refused(&said, 2, &["htp", "listen.http", "beatmesh.toml"]);
    let said = NodeSpec::new(&dir, "node-1").set("limits.inptu", "1MiB").fail();
    assert_refused(&said, 2, &["BEATMESH_LIMITS__INPTU", "BEATMESH_LIMITS__INPUT"]);
    let mut command = binary::command();
    command.args(["node", "--htpp", "127.0.0.1:0"]);
    let said = run(command, b"", Duration::from_secs(10));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("--htpp") && said.stderr.contains("--http"), "{said:?}");
    let config = dir.file("beatmesh.toml", "[listen\n");
    let said = NodeSpec::new(&dir, "node-1").flag("--config", config.display()).fail();
    assert_refused(&said, 2, &["beatmesh.toml"]);
    let said = NodeSpec::new(&dir, "node-1").flag("--config", "/nonexistent/file").fail();
    assert_refused(&said, 2, &["/nonexistent/file"]);
}

#[test]
fn values_that_cannot_be_are_refused_with_the_setting() {
    let dir = Scratch::new();
    for (setting, value, part) in [
        ("limits.input", "lots", "LIMITS__INPUT"),
        ("limits.shutdown", "8", "LIMITS__SHUTDOWN"),
        ("queue.lease", "10ms", "queue.lease"),
        ("node.roles", "cook", "cook"),
        ("node.slots", "0", "NODE__SLOTS"),
        ("log.level", "loud", "loud"),
        ("mesh.name", "Not A Name", "Not A Name"),
        ("queue.durability", "replicated", "replicated"),
    ] {
        assert_refused(&NodeSpec::new(&dir, "node-1").set(setting, value).fail(), 2, &[part]);
    }
    assert_refused(&NodeSpec::new(&dir, "Node_1").fail(), 2, &["Node_1"]);
    assert_refused(&NodeSpec::new(&dir, "a-").fail(), 2, &["flag --name", "`a-`"]);
    let said = NodeSpec::new(&dir, "node-1").flag("--db", "postgres://user:canary@host").fail();
    assert_refused(&said, 2, &["seeds.database", "postgres://user:***@host", "one database"]);
    assert!(!said.stderr.contains("canary"), "a password in a message: {said:?}");
    let said = NodeSpec::new(&dir, "node-1").flag("--db", "redis://user:canary@host/0").fail();
    assert_refused(&said, 2, &["seeds.database", "not an SQL database", "queue.url"]);
    assert!(!said.stderr.contains("canary"), "a password in a message: {said:?}");
    assert_refused(&NodeSpec::new(&dir, "node-1").flag("--seed", "nowhere").fail(), 2, &["nowhere"]);
}

#[test]
fn an_address_beyond_loopback_needs_api_keys() {
    let dir = Scratch::new();
    let said = NodeSpec::new(&dir, "node-1").http("0.0.0.0:0".parse().unwrap()).fail();
    assert_refused(&said, 2, &["listen.http", "0.0.0.0:0", "api_keys_file"]);
}

#[test]
fn a_port_in_use_is_named() {
    let dir = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let said = NodeSpec::new(&dir, "node-1").http(addr).fail();
    assert_refused(&said, 1, &["listen.http", &addr.to_string()]);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr: SocketAddr = taken.local_addr().unwrap();
    let said = NodeSpec::new(&dir, "node-1").mesh(addr).fail();
    assert_refused(&said, 1, &[&addr.to_string()]);
}

#[test]
fn a_secret_that_cannot_be_used_is_named_and_never_shown() {
    let dir = Scratch::new();
    let with =
        |path: &std::path::Path| NodeSpec::new(&dir, "node-1").flag("--secret-file", path.display()).fail();
    assert_refused(&with(&dir.join("missing")), 2, &["security.secret_file", "missing"]);
    assert_refused(&with(dir.path()), 2, &["security.secret_file"]);
    assert_refused(&with(&dir.secret_file("empty", "")), 2, &["security.secret_file", "empty"]);
    let said = with(&dir.secret_file("short", "c0ffee"));
    assert_refused(&said, 2, &["security.secret_file", "short"]);
    assert!(!said.stderr.contains("c0ffee"), "{said:?}");
}

#[test]
fn api_keys_that_cannot_be_used_are_named_and_never_shown() {
    let dir = Scratch::new();
    let with = |path: &std::path::Path| {
        NodeSpec::new(&dir, "node-1").set("security.api_keys_file", path.display()).fail()
    };
    assert_refused(&with(&dir.join("missing")), 2, &["security.api_keys_file", "missing"]);
    let said = with(&dir.secret_file("short", "ci:c0ffee"));
    assert_refused(&said, 2, &["security.api_keys_file", "short", "line 1"]);
    assert!(!said.stderr.contains("c0ffee"), "{said:?}");
}

#[test]
fn a_secret_that_others_can_read_is_warned_of_and_never_shown() {
    let dir = Scratch::new();
    let secret = "0c8f1b1e4c5f6a7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9f0a1b2c3d4e5f";
    let mut node =
        NodeSpec::new(&dir, "node-1").flag("--secret-file", dir.file("readable", secret).display()).start();
    assert_eq!(node.events("the secret can be read by other users").len(), 1);
    assert!(node.stop().success());
    assert!(!node.log().contains(&secret[..16]));
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let dir = Scratch::new();
    assert!(NodeSpec::new(&dir, "node-1").start().stop().success());
    sqlite(&dir, "INSERT INTO beatmesh SELECT 'kept', value FROM beatmesh WHERE name = 'schema'");
    sqlite(&dir, "UPDATE beatmesh SET value = '99' WHERE name = 'schema'");
    let said = NodeSpec::new(&dir, "node-1").fail();
    assert_refused(&said, 1, &["seeds.database", "version 99", "newer"]);
    let again = "SELECT value FROM beatmesh WHERE name = 'kept'";
    sqlite(&dir, &format!("UPDATE beatmesh SET value = ({again}) WHERE name = 'schema'"));
    let mut node = NodeSpec::new(&dir, "node-1").start();
    node.assert_well().await;
}

#[test]
fn a_database_that_cannot_be_made_or_is_none_is_named() {
    let dir = Scratch::new();
    let with = |url: String| NodeSpec::new(&dir, "node-1").flag("--db", url).fail();
    assert_refused(
        &with("sqlite:///nonexistent/dir/mesh.db".into()),
        1,
        &["seeds.database", "/nonexistent/dir/mesh.db"],
    );
    assert_refused(&with(format!("sqlite://{}", dir.path().display())), 1, &["seeds.database"]);
    let nonsense = dir.file("nonsense.db", "this is a letter to my aunt, and no database. ".repeat(100));
    let said = with(format!("sqlite://{}", nonsense.display()));
    assert_refused(&said, 1, &["seeds.database", "nonsense.db", "not a database"]);
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    let kept = std::fs::read_to_string(nonsense).unwrap();
    assert!(kept.starts_with("this is a letter"), "a file that is none of ours is left alone");
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let dir = Scratch::new();
    let file = dir.file("file", "");
    let said = NodeSpec::new(&dir, "node-1").flag("--data-dir", file.join("below").display()).fail();
    assert_refused(&said, 1, &["node.data_dir"]);
}

#[tokio::test]
async fn a_second_node_with_the_same_data_directory_exits_and_says_so() {
    let dir = Scratch::new();
    let mut first = NodeSpec::new(&dir, "node-1").start();
    let said = NodeSpec::new(&dir, "node-2").flag("--data-dir", first.data_dir().display()).fail();
    assert_refused(&said, 1, &["node.data_dir", "in use by another node"]);
    first.assert_well().await;
    // kill -9 leaves no lock behind.
    first.kill();
    first.restart();
    first.assert_well().await;
}

#[tokio::test]
async fn a_second_node_with_the_same_name_exits_and_says_so_and_the_first_goes_on() {
    let dir = Scratch::new();
    let first = NodeSpec::new(&dir, "twin").start();
    let third = NodeSpec::new(&dir, "node-3").start();
    let mut mesh = beatmesh_tests::TestMesh { nodes: vec![first, third], dir };
    mesh.until_formed().await;
    let said = NodeSpec::new(&mesh.dir, "twin").flag("--data-dir", mesh.dir.join("other").display()).fail();
    println!("{}", said.stderr);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.lines().any(|line| line.starts_with("error") && line.contains("`twin`")), "{said:?}");
    mesh.assert_well().await;
    mesh.until_formed().await;
    let owner: &Node = &mesh.nodes[0];
    let seen = mesh.nodes[1].view().await;
    let members = seen["members"].as_array().unwrap();
    let twin = members.iter().find(|member| member["id"] == "twin").unwrap();
    assert_eq!(twin["http"], owner.http().to_string(), "others go on with the first: {seen:#}");
}
