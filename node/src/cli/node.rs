//! `beatmesh node`: one node in the foreground.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::config::{self, Flag, Machine, Settings, Sources};
use crate::{logs, run};

/// Flags win over the environment (`BEATMESH_SECTION__KEY`), which wins over the file.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  beatmesh node
  beatmesh node --config /etc/beatmesh.toml
  beatmesh node --name eu-1 --mesh 127.0.0.1:7001 --http 127.0.0.1:8081 --seed 127.0.0.1:7000 \\
      --db sqlite:///var/lib/beatmesh/mesh.db --secret-file /etc/beatmesh/secret

Every setting can be given in the environment too: listen.http is BEATMESH_LISTEN__HTTP.")]
pub(super) struct NodeArgs {
    /// A TOML file with settings.
    #[arg(long, env = "BEATMESH_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The node's name, which is its id in the mesh (node.name).
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Where clients reach it, TCP (listen.http) [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    pub(super) http: Option<String>,
    /// Where other nodes reach it, UDP (listen.mesh) [default: 127.0.0.1:7946].
    #[arg(long, value_name = "ADDR")]
    pub(super) mesh: Option<String>,
    /// The mesh address that others dial, when it is another one (listen.advertise).
    #[arg(long, value_name = "ADDR")]
    pub(super) advertise: Option<String>,
    /// A node to dial besides those in the database; may be repeated (seeds.peers).
    #[arg(long, value_name = "ADDR")]
    pub(super) seed: Vec<String>,
    /// The database (seeds.database) [default: the file mesh.db in the data directory].
    #[arg(long, value_name = "URL")]
    pub(super) db: Option<String>,
    /// Where tasks are, redis://HOST:PORT for one (queue.url) [default: the database].
    #[arg(long, value_name = "URL")]
    pub(super) queue: Option<String>,
    /// Where the node keeps its identity (node.data_dir) [default: ./beatmesh-data].
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<String>,
    /// The secret that the nodes share (security.secret_file).
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<String>,
    /// What it does: server, worker, beat, separated by commas (node.roles) [default: all].
    #[arg(long, value_name = "LIST")]
    pub(super) roles: Option<String>,
}

impl NodeArgs {
    /// The flags that were given, under the names of their settings.
    fn flags(&self) -> Vec<Flag> {
        let peers = (!self.seed.is_empty()).then(|| self.seed.join(","));
        [
            ("--name", "node.name", &self.name),
            ("--http", "listen.http", &self.http),
            ("--mesh", "listen.mesh", &self.mesh),
            ("--advertise", "listen.advertise", &self.advertise),
            ("--seed", "seeds.peers", &peers),
            ("--db", "seeds.database", &self.db),
            ("--queue", "queue.url", &self.queue),
            ("--data-dir", "node.data_dir", &self.data_dir),
            ("--secret-file", "security.secret_file", &self.secret_file),
            ("--roles", "node.roles", &self.roles),
        ]
        .into_iter()
        .filter_map(|(name, setting, value)| Some(Flag { name, setting, value: value.clone()? }))
        .collect()
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let sources = Sources {
            file: self.config.as_deref(),
            environment: std::env::vars_os().collect(),
            flags: self.flags(),
        };
        Ok(config::load(sources, &Machine::here())?)
    }
}

/// Loads the settings, starts the log, runs the node.
pub(super) fn run(args: &NodeArgs) -> Result<(), Failure> {
    let settings = args.settings()?;
    logs::start(&settings.log);
    run::run(&settings).map_err(|error| match error.is_configuration() {
        true => Failure::usage(error.to_string()),
        false => Failure::failed(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_names_a_setting_that_exists() {
        let some = |text: &str| Some(text.to_owned());
        let args = NodeArgs {
            config: None,
            name: some("a"),
            http: some("127.0.0.1:1"),
            mesh: some("127.0.0.1:2"),
            advertise: some("127.0.0.1:3"),
            seed: vec!["a:1".into(), "b:2".into()],
            db: some("sqlite://x"),
            queue: some("sqlite://x"),
            data_dir: some("d"),
            secret_file: some("s"),
            roles: some("worker,beat"),
        };
        let sources = Sources { flags: args.flags(), ..Sources::default() };
        let settings = config::load(sources, &Machine::here()).expect("all flags are taken");
        assert_eq!(settings.seeds.peers.len(), 2);
        assert_eq!(settings.node.roles.iter().count(), 2);
        assert_eq!(settings.listen.advertise, Some(([127, 0, 0, 1], 3).into()));
    }
}
