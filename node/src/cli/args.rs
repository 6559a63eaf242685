//! Everything that can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{
    bench, call, deploy, dev, functions, members, node, queues, ring, schedules, secret, tasks, ticks,
};

/// A mesh of nodes that runs functions: called over HTTP, queued for later, or fired by a schedule.
#[derive(Debug, Parser)]
#[command(
    name = "beatmesh",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Examples:
  beatmesh dev                                   three nodes on this machine, with samples
  beatmesh call hello '{\"name\":\"Ada\"}'           call a function
  beatmesh members                               who is in the mesh

Exit codes: 0 done, 1 the operation failed, 2 wrong usage or configuration."
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) client: ClientOptions,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of the commands that talk to a node.
#[derive(Args, Debug)]
#[command(next_help_heading = "Client options")]
pub(super) struct ClientOptions {
    /// The node to talk to; of several, separated by commas, the first that answers.
    #[arg(
        long,
        global = true,
        env = "BEATMESH_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub(super) url: String,
    /// A file that holds the API key; or set BEATMESH_API_KEY.
    #[arg(long, global = true, env = "BEATMESH_API_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub(super) api_key_file: Option<PathBuf>,
    /// Print JSON; errors are problem objects on stderr.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start several nodes on this machine, with sample functions and a schedule.
    Dev(dev::DevArgs),
    /// Run one node in the foreground.
    Node(node::NodeArgs),
    /// Apply a manifest of functions, queues and schedules.
    Deploy(deploy::DeployArgs),
    /// Call a function, or enqueue a task for it.
    Call(call::CallArgs),
    /// Show who is in the mesh, and with --watch what becomes of them.
    Members(members::MembersArgs),
    /// Show which node owns a key, and who follows.
    Ring(ring::RingArgs),
    /// List, show and delete functions.
    Functions(functions::FunctionsArgs),
    /// List schedules; preview, pause, resume, trigger and delete them.
    Schedules(schedules::SchedulesArgs),
    /// Show the ledger of a schedule: every due time, fired or skipped.
    Ticks(ticks::TicksArgs),
    /// Show what waits and runs in each queue.
    Queues(queues::QueuesArgs),
    /// List tasks; show, cancel and retry them.
    Tasks(tasks::TasksArgs),
    /// Make the secret that the nodes of a mesh share.
    Secret(secret::SecretArgs),
    /// Measure calls, tasks, memory and start-up on this machine.
    Bench(bench::BenchArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:\n  beatmesh "), "{}", command.get_name());
        }
    }

    fn help(command: &str) -> String {
        Cli::command()
            .find_subcommand_mut(command)
            .expect("the command exists")
            .clone()
            .term_width(100)
            .render_help()
            .to_string()
    }

    #[test]
    fn the_help_of_the_program_is_as_agreed() {
        let help = Cli::command().term_width(100).render_help().to_string();
        insta::assert_snapshot!(help, @r#"
        A mesh of nodes that runs functions: called over HTTP, queued for later, or fired by a schedule

        Usage: beatmesh [OPTIONS] <COMMAND>

        Commands:
          dev        Start several nodes on this machine, with sample functions and a schedule
          node       Run one node in the foreground
          deploy     Apply a manifest of functions, queues and schedules
          call       Call a function, or enqueue a task for it
          members    Show who is in the mesh, and with --watch what becomes of them
          ring       Show which node owns a key, and who follows
          functions  List, show and delete functions
          schedules  List schedules; preview, pause, resume, trigger and delete them
          ticks      Show the ledger of a schedule: every due time, fired or skipped
          queues     Show what waits and runs in each queue
          tasks      List tasks; show, cancel and retry them
          secret     Make the secret that the nodes of a mesh share
          bench      Measure calls, tasks, memory and start-up on this machine
          help       Print this message or the help of the given subcommand(s)

        Options:
          -h, --help     Print help
          -V, --version  Print version

        Client options:
              --url <URL>            The node to talk to; of several, separated by commas, the first that
                                     answers [env: BEATMESH_URL] [default: http://127.0.0.1:8080]
              --api-key-file <FILE>  A file that holds the API key; or set BEATMESH_API_KEY [env:
                                     BEATMESH_API_KEY_FILE]
              --json                 Print JSON; errors are problem objects on stderr

        Examples:
          beatmesh dev                                   three nodes on this machine, with samples
          beatmesh call hello '{"name":"Ada"}'           call a function
          beatmesh members                               who is in the mesh

        Exit codes: 0 done, 1 the operation failed, 2 wrong usage or configuration.
        "#);
    }

    #[test]
    fn the_help_of_dev_is_as_agreed() {
        insta::assert_snapshot!(help("dev"), @r"
        Start several nodes on this machine, with sample functions and a schedule

        Usage: dev [OPTIONS]

        Options:
              --nodes <COUNT>     How many nodes [default: 3]
              --http-port <PORT>  The first node's port; the others take the following ones. 0 takes free
                                  ones [default: 8080]
              --data-dir <DIR>    Where everything is kept [default: ./beatmesh-dev]
              --no-restart        Leave a node that died alone
              --no-samples        Do not deploy the sample functions and their schedule
          -h, --help              Print help

        Examples:
          beatmesh dev
          beatmesh dev --nodes 5 --http-port 9000
          BEATMESH_LOG__LEVEL=debug beatmesh dev --http-port 0

        While it runs, kill a node with `kill -9 PID`: it says who takes over and starts the node again.
        Ctrl-C stops the nodes gracefully, a second one at once. A second start finds everything again.
        ");
    }

    #[test]
    fn the_help_of_node_is_as_agreed() {
        insta::assert_snapshot!(help("node"), @r"
        Run one node in the foreground

        Usage: node [OPTIONS]

        Options:
              --config <FILE>       A TOML file with settings [env: BEATMESH_CONFIG]
              --name <NAME>         The node's name, which is its id in the mesh (node.name)
              --http <ADDR>         Where clients reach it, TCP (listen.http) [default: 127.0.0.1:8080]
              --mesh <ADDR>         Where other nodes reach it, UDP (listen.mesh) [default: 127.0.0.1:7946]
              --advertise <ADDR>    The mesh address that others dial, when it is another one
                                    (listen.advertise)
              --seed <ADDR>         A node to dial besides those in the database; may be repeated
                                    (seeds.peers)
              --db <URL>            The database (seeds.database) [default: the file mesh.db in the data
                                    directory]
              --queue <URL>         Where tasks are, redis://HOST:PORT for one (queue.url) [default: the
                                    database]
              --data-dir <DIR>      Where the node keeps its identity (node.data_dir) [default:
                                    ./beatmesh-data]
              --secret-file <FILE>  The secret that the nodes share (security.secret_file)
              --roles <LIST>        What it does: server, worker, beat, separated by commas (node.roles)
                                    [default: all]
          -h, --help                Print help

        Examples:
          beatmesh node
          beatmesh node --config /etc/beatmesh.toml
          beatmesh node --name eu-1 --mesh 127.0.0.1:7001 --http 127.0.0.1:8081 --seed 127.0.0.1:7000 \
              --db sqlite:///var/lib/beatmesh/mesh.db --secret-file /etc/beatmesh/secret

        Every setting can be given in the environment too: listen.http is BEATMESH_LISTEN__HTTP.
        ");
    }

    #[test]
    fn the_help_of_members_is_as_agreed() {
        insta::assert_snapshot!(help("members"), @r#"
        Show who is in the mesh, and with --watch what becomes of them

        Usage: members [OPTIONS]

        Options:
          -f, --watch  Go on and show each change
          -h, --help   Print help

        Examples:
          beatmesh members
          beatmesh members --watch
          beatmesh members --json | jq '.members[].id'
          beatmesh members --watch --json | jq 'select(.event == "member") | .data'

        With --watch each change of members, ring and Beat is told as the asked node sees it, until that
        node stops. With --json each event is one line: its name, its number and its data.
        "#);
    }

    #[test]
    fn the_help_of_call_is_as_agreed() {
        insta::assert_snapshot!(help("call"), @r#"
        Call a function, or enqueue a task for it

        Usage: call [OPTIONS] <NAME> [JSON|@FILE|-]

        Arguments:
          <NAME>          The function
          [JSON|@FILE|-]  Its input: JSON, @FILE for a file's content, or - for stdin; nothing by default

        Options:
              --async           Enqueue a task and print its id instead of waiting for the answer
              --wait            Enqueue a task and wait for its end
              --key <KEY>       Equal keys go to one node while it has room (header Beatmesh-Key)
              --timeout <SPAN>  How long to wait for the answer, for example 10s
          -h, --help            Print help

        Options of tasks:
              --delay <SPAN>         A task: not before this has passed
              --queue <QUEUE>        A task: where it waits
              --priority <PRIORITY>  A task: higher runs first
              --expires <SPAN>       A task: given up when it has not begun after this
              --retries <COUNT>      A task: further attempts after a failed one
              --order-key <KEY>      A task: it starts when the tasks of the function that were enqueued
                                     with this key before it have ended

        Examples:
          beatmesh call hello '{"name":"Ada"}'
          beatmesh call resize @photo.jpg > small.jpg
          date | beatmesh call echo -
          beatmesh call hello '{"name":"Ada"}' --async --wait

        Equal values of --key go to the same node while it lives and has room: a call waits up to 250ms for
        a slot there, then goes to the next node.
        "#);
    }
}
