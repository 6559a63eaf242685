//! How fast tasks go through a mesh: real node processes, a real store, the builtin no-op on the full path of lease,
//! attempt and completion.
//!
//! ```text
//! cargo run --release -p beatmesh-tests --bin queue_bench -- --store redis --tasks 200000
//! ```
//! Set `BEATMESH_BIN` to the binary to be measured; by default it is the one of the same build.

mod stages;

use std::path::PathBuf;

use beatmesh_tests::servers::{MariaDb, Postgres, Redis};
use beatmesh_tests::{Node, NodeSpec, Scratch};
use clap::{Parser, ValueEnum};

#[derive(Parser, Debug)]
#[command(
    about = "Measures tasks through a mesh",
    after_help = "Examples:
  queue_bench --store redis --tasks 200000
  queue_bench --store postgres --tasks 20000 --runs 5
  queue_bench --store redis --json"
)]
struct Options {
    /// Where tasks are.
    #[arg(long, value_enum, default_value = "redis")]
    store: Store,
    /// How many go through in each run.
    #[arg(long, default_value_t = 100_000)]
    tasks: usize,
    /// How many stand in one batch.
    #[arg(long, default_value_t = 1_000)]
    batch: usize,
    /// Clients that enqueue at the same time.
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Tasks that the worker runs at the same time.
    #[arg(long, default_value_t = 256)]
    slots: u32,
    /// How often everything is measured; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// One JSON object in place of the table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    Redis,
    Postgres,
    Mariadb,
    Sqlite,
}

/// A server that lives as long as this.
enum Server {
    Redis(Redis),
    Postgres(#[expect(dead_code, reason = "it ends with its owner")] Postgres, String),
    MariaDb(#[expect(dead_code, reason = "it ends with its owner")] MariaDb, String),
    None,
}

impl Server {
    fn start(store: Store) -> Self {
        match store {
            Store::Redis => Self::Redis(Redis::start()),
            Store::Postgres => {
                let server = Postgres::start();
                let url = server.create_database("bench");
                Self::Postgres(server, url)
            }
            Store::Mariadb => {
                let server = MariaDb::start();
                let url = server.create_database("bench");
                Self::MariaDb(server, url)
            }
            Store::Sqlite => Self::None,
        }
    }

    fn spec(&self, dir: &Scratch, name: &str) -> NodeSpec {
        let spec = NodeSpec::new(dir, name);
        match self {
            Self::Redis(server) => spec.set("queue.url", server.url()),
            Self::Postgres(_, url) | Self::MariaDb(_, url) => spec.without("--db").set("seeds.database", url),
            Self::None => spec,
        }
    }
}

/// A node that takes requests and one that runs functions: what is measured crosses from one process to another.
struct Bench {
    server: Node,
    worker: Node,
    store: Server,
    dir: Scratch,
    slots: u32,
}

impl Bench {
    async fn start(options: &Options) -> Self {
        let (dir, store) = (Scratch::new(), Server::start(options.store));
        let server = store.spec(&dir, "front").flag("--roles", "server,beat").start();
        let worker = worker(&store, &dir, "back", options.slots).start();
        let bench = Self { server, worker, store, dir, slots: options.slots };
        let noop = serde_json::json!({"runtime": "builtin", "handler": "noop"});
        bench.server.client().deploy("noop", &noop).await;
        bench
    }

    /// Another worker, not started yet.
    fn another(&self, name: &str) -> NodeSpec {
        worker(&self.store, &self.dir, name, self.slots)
    }
}

fn worker(store: &Server, dir: &Scratch, name: &str, slots: u32) -> NodeSpec {
    store.spec(dir, name).flag("--roles", "server,worker").set("node.slots", slots)
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let binary: PathBuf = beatmesh_tests::binary::path();
    if !options.json {
        println!(
            "{} through {:?}, {} tasks a run, {} runs",
            binary.display(),
            options.store,
            options.tasks,
            options.runs
        );
    }
    let mut rows: Vec<(&str, &str, Vec<f64>)> = vec![
        ("enqueued in batches", "tasks/s", Vec::new()),
        ("processed, enqueued before", "tasks/s", Vec::new()),
        ("enqueued one at a time, 32 clients", "tasks/s", Vec::new()),
        ("enqueue to start on another node, p50", "ms", Vec::new()),
        ("enqueue to start on another node, p99", "ms", Vec::new()),
        ("enqueued and waited for, alone, p50", "ms", Vec::new()),
        ("enqueued and waited for, alone, p99", "ms", Vec::new()),
    ];
    for run in 0..options.runs {
        let mut bench = Bench::start(&options).await;
        let figures = stages::all(&mut bench, &options).await;
        for (row, figure) in rows.iter_mut().zip(figures) {
            row.2.push(figure);
        }
        if !options.json {
            println!("run {}: {}", run + 1, figures.map(|figure| format!("{figure:.2}")).join("  "));
        }
    }
    report(&options, &mut rows);
}

fn report(options: &Options, rows: &mut [(&str, &str, Vec<f64>)]) {
    rows.iter_mut().for_each(|row| row.2.sort_by(f64::total_cmp));
    if options.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(what, unit, figures)| {
                serde_json::json!({"what": what, "unit": unit, "median": figures[figures.len() / 2], "all": figures})
            })
            .collect();
        println!("{}", serde_json::json!({"store": format!("{:?}", options.store), "figures": rows}));
        return;
    }
    for (what, unit, figures) in rows {
        let (least, most) = (figures[0], figures[figures.len() - 1]);
        println!("{what:38} {:>12.2} {unit:8} ({least:.2} to {most:.2})", figures[figures.len() / 2]);
    }
}
