//! The servers of the tests themselves: each starts, keeps what it promised over a kill, can be frozen, and leaves
//! nothing behind.

use std::time::Duration;

use beatmesh_tests::process::Signal;
use beatmesh_tests::processes;
use beatmesh_tests::servers::{Cluster, Daemon, MASTER, MariaDb, Postgres, Redis, Sentinels};
use beatmesh_tests::wait::until_so;

/// What is gone when a server is dropped.
struct Traces {
    pids: Vec<i32>,
    data: std::path::PathBuf,
}

impl Traces {
    fn of(daemon: &Daemon) -> Self {
        let pids = daemon.pids();
        assert!(pids.contains(&daemon.pid()), "{pids:?}");
        Self { pids, data: daemon.data_dir() }
    }

    fn assert_gone(&self) {
        let left: Vec<_> = self.pids.iter().filter(|pid| processes::is_alive(**pid)).collect();
        assert!(left.is_empty(), "{left:?} still run");
        assert!(!self.data.exists(), "{} is still there", self.data.display());
    }
}

/// Freezes it, sees that all its processes stand still, and lets it go on.
fn freeze(daemon: &Daemon) {
    daemon.signal(Signal::Stop);
    assert!(!daemon.is_running());
    let moving: Vec<_> = daemon.pids().into_iter().filter(|pid| !processes::is_stopped(*pid)).collect();
    assert!(moving.is_empty(), "{moving:?} still move");
    daemon.signal(Signal::Continue);
    until_so("it runs again", Duration::from_secs(5), || daemon.is_running());
}

#[test]
fn postgres_keeps_its_rows_over_a_kill() {
    let mut postgres = Postgres::start();
    let url = postgres.create_database("mesh");
    assert!(url.starts_with("postgres://beatmesh:") && url.ends_with("/mesh"), "{url}");
    postgres.sql("mesh", "CREATE TABLE t (x BIGINT); INSERT INTO t VALUES (7)");
    assert_eq!(postgres.sql("mesh", "SHOW fsync"), "on");
    assert_eq!(postgres.sql("mesh", "SHOW synchronous_commit"), "on");
    assert!(postgres.try_sql("mesh", "SELECT nonsense").unwrap_err().contains("nonsense"));
    assert!(postgres.pids().len() > 3, "a PostgreSQL has many processes");
    freeze(&postgres);

    let before = Traces::of(&postgres);
    postgres.kill();
    assert!(before.pids.iter().all(|pid| !processes::is_alive(*pid)));
    assert!(postgres.try_sql("mesh", "SELECT 1").is_err());
    postgres.start_again();
    assert_eq!(postgres.sql("mesh", "SELECT x FROM t"), "7");
    assert!(postgres.log().contains("not properly shut down"), "{}", postgres.log());

    let traces = Traces::of(&postgres);
    drop(postgres);
    traces.assert_gone();
}

#[test]
fn mariadb_keeps_its_rows_over_a_kill() {
    let mut mariadb = MariaDb::start();
    let url = mariadb.create_database("mesh");
    assert!(url.starts_with("mysql://beatmesh:") && url.ends_with("/mesh"), "{url}");
    mariadb.sql("mesh", "CREATE TABLE t (x BIGINT); INSERT INTO t VALUES (7)");
    assert_eq!(mariadb.sql("mesh", "SELECT @@innodb_flush_log_at_trx_commit"), "1");
    assert!(mariadb.try_sql("mesh", "SELECT nonsense").unwrap_err().contains("nonsense"));
    freeze(&mariadb);

    mariadb.kill();
    assert!(mariadb.try_sql("mesh", "SELECT 1").is_err());
    mariadb.start_again();
    assert_eq!(mariadb.sql("mesh", "SELECT x FROM t"), "7");

    let traces = Traces::of(&mariadb);
    drop(mariadb);
    traces.assert_gone();
}

#[test]
fn redis_keeps_what_it_appends_and_hands_it_to_a_replica() {
    let settings = [("appendonly", "yes"), ("requirepass", "canary")];
    let mut master = Redis::start_with(&settings);
    assert_eq!(master.url(), format!("redis://:canary@{}", master.addr()));
    assert_eq!(master.cli(&["set", "a", "1 2\n3"]), "OK");
    assert!(master.try_cli(&["nonsense"]).unwrap_err().contains("unknown command"));
    freeze(&master);
    master.kill();
    assert!(master.try_cli(&["ping"]).is_err());
    master.start_again();
    assert_eq!(master.cli(&["get", "a"]), "1 2\n3");

    let mut replica = Redis::start_with(&[("maxmemory", "50mb")]);
    replica.replica_of(&master);
    assert_eq!(replica.cli(&["get", "a"]), "1 2\n3");
    // It stays one.
    replica.kill();
    replica.start_again();
    assert!(!replica.is_master());
    replica.wait_for_link();

    master.flush();
    assert_eq!(master.cli(&["dbsize"]), "0");
    master.config_set("maxmemory", "1000000");
    assert_eq!(master.info("maxmemory").as_deref(), Some("1000000"));

    // Nobody's frozen server stays behind either.
    replica.signal(Signal::Stop);
    let traces = [Traces::of(&master), Traces::of(&replica)];
    drop((master, replica));
    traces.iter().for_each(Traces::assert_gone);
}

#[test]
fn sentinels_make_the_replica_the_master_and_the_old_master_a_replica() {
    let settings = [("requirepass", "canary"), ("masterauth", "canary")];
    let (mut master, replica) = (Redis::start_with(&settings), Redis::start_with(&settings));
    replica.replica_of(&master);
    let mut sentinels = Sentinels::start(3, &master, 2);
    let url = sentinels.url(MASTER);
    assert!(url.starts_with("redis+sentinel://127.0.0.1:") && url.ends_with("/mymaster"), "{url}");
    assert_eq!(url.matches(',').count(), 2, "{url}");
    assert_eq!(sentinels.master(), master.addr());
    master.cli(&["set", "a", "1"]);
    assert_eq!(master.cli(&["wait", "1", "5000"]), "1");

    master.kill();
    assert_eq!(sentinels.wait_for_another(master.addr(), Duration::from_secs(20)), replica.addr());
    assert!(replica.is_master());
    assert_eq!(replica.cli(&["get", "a"]), "1");
    master.start_again();
    until_so("the old master obeys", Duration::from_secs(20), || !master.is_master());
    master.wait_for_link();
    // A Sentinel has written down what it knows.
    sentinels.each[0].kill();
    sentinels.each[0].start_again();
    assert_eq!(sentinels.master(), replica.addr());

    let traces: Vec<_> = sentinels.each.iter().map(Traces::of).collect();
    drop(sentinels);
    traces.iter().for_each(Traces::assert_gone);
}

#[test]
fn a_cluster_moves_slots_and_survives_the_death_of_a_master() {
    let settings = [("appendonly", "yes")];
    let mut cluster = Cluster::start_with(&settings);
    assert_eq!(cluster.url().matches("127.0.0.1:").count(), 6, "{}", cluster.url());
    assert!(cluster.url().starts_with("redis+cluster://127.0.0.1:"), "{}", cluster.url());
    assert_eq!(cluster.masters(), [0, 1, 2]);
    cluster.cli("{a}1", &["set", "{a}1", "one"]);

    let from = cluster.owner("{a}1");
    let to = (from + 1) % 3;
    let moving = cluster.begin_move("{a}1", to);
    assert_eq!(cluster.nodes[from].cli(&["get", "{a}1"]), "one");
    let ask = cluster.nodes[from].try_cli(&["get", "{a}2"]).unwrap_err();
    assert!(ask.contains(&format!("ASK {} {}", moving.slot, cluster.nodes[to].addr())), "{ask}");
    cluster.move_keys(&moving);
    let ask = cluster.nodes[from].try_cli(&["get", "{a}1"]).unwrap_err();
    assert!(ask.contains("ASK "), "{ask}");
    cluster.finish_move(moving);
    let moved = cluster.nodes[from].try_cli(&["get", "{a}1"]).unwrap_err();
    assert!(moved.contains("MOVED "), "{moved}");
    assert_eq!(cluster.owner("{a}1"), to);
    cluster.move_slot("{a}1", from);
    assert_eq!(cluster.owner("{a}1"), from);
    assert_eq!(cluster.cli("{a}1", &["get", "{a}1"]), "one");

    let heirs = cluster.replicas(from);
    assert_eq!(heirs.len(), 1, "{heirs:?}");
    assert_eq!(cluster.nodes[from].cli(&["wait", "1", "5000"]), "1");
    cluster.nodes[from].kill();
    assert_eq!(cluster.wait_for_another(from, "{a}1"), heirs[0]);
    assert_eq!(cluster.cli("{a}1", &["get", "{a}1"]), "one");
    cluster.nodes[from].start_again();
    cluster.wait_until_ok();
    let is_replica = || cluster.replicas(heirs[0]) == [from];
    until_so("the old master is known as a replica", Duration::from_secs(20), is_replica);

    let traces: Vec<_> = cluster.nodes.iter().map(|node| Traces::of(node)).collect();
    drop(cluster);
    traces.iter().for_each(Traces::assert_gone);
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let start = || Redis::start_with(&[("nonsense", "yes")]);
    let panic = std::panic::catch_unwind(start).expect_err("Redis knows its settings");
    let message = panic.downcast_ref::<String>().expect("it has words");
    assert!(message.contains("has ended instead of answering: exit status: 1"), "{message}");
    let (_, log) = message.split_once("; its log: ").expect("it says where the log is");
    let said = std::fs::read_to_string(log).expect("the files of a test that fails are kept");
    assert!(said.contains("nonsense"), "{said}");
    std::fs::remove_dir_all(std::path::Path::new(log).parent().expect("a directory")).expect("it is ours");
}
