//! The command line: what users type, and what they read.
//!
//! Most commands are clients of a node's HTTP API. Two are not: `node` runs one, `dev` starts several
//! as processes of their own. Nothing here runs inside of a node, so it may use clocks and tasks of
//! its own.
#![expect(clippy::disallowed_methods, reason = "the command line runs outside of a node and has no seams")]

mod args;
mod bench;
mod call;
mod client;
mod deploy;
mod dev;
mod failure;
mod functions;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod members;
mod node;
mod output;
mod queues;
mod ring;
mod schedules;
mod secret;
mod sse;
mod table;
mod tasks;
mod ticks;
mod when;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use client::Client;
use failure::Failure;
use output::Output;

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    // Usage errors come before the arguments are known, so this one is looked for by hand.
    let json = std::env::args_os().any(|argument| argument == "--json");
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error, json),
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(failure) => failure.report(json),
    }
}

fn usage(error: &clap::Error, json: bool) -> ExitCode {
    if json && error.use_stderr() {
        return Failure::usage(mistake(error)).report(true);
    }
    // Fails when nobody reads, for example in `beatmesh --help | head -1`: then nobody misses it.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

/// What is wrong, in one line: everything that clap says before it explains the usage.
fn mistake(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; `--help` lists them".to_owned();
    }
    let text = error.to_string();
    let is_usage = |line: &&str| line.starts_with("Usage:") || line.starts_with("For more information");
    let lines = text.lines().take_while(|line| !is_usage(line)).map(str::trim);
    let mut mistake = String::new();
    for line in lines.filter(|line| !line.is_empty()) {
        match mistake.chars().last() {
            None => {}
            Some(':') => mistake.push(' '),
            Some(_) => mistake.push_str("; "),
        }
        mistake.push_str(line.trim_start_matches("error: "));
    }
    mistake
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let done = |result: Result<(), Failure>| result.map(|()| ExitCode::SUCCESS);
    let command = match cli.command {
        Command::Node(args) => return done(node::run(&args)),
        Command::Dev(args) => return on_tokio(dev::run(&args)),
        Command::Secret(args) => return done(secret::run(&args, &Output::new(cli.client.json))),
        other => other,
    };
    let output = Output::new(cli.client.json);
    if let Command::Bench(args) = &command {
        return done(on_tokio(bench::run(args, &output)));
    }
    let client = Client::new(&cli.client)?;
    done(on_tokio(async {
        match command {
            Command::Deploy(args) => deploy::run(&args, &client, &output).await,
            Command::Call(args) => call::run(&args, &client, &output).await,
            Command::Members(args) => members::run(&args, &client, &output).await,
            Command::Ring(args) => ring::run(&args, &client, &output).await,
            Command::Queues(args) => queues::run(&args, &client, &output).await,
            Command::Functions(args) => functions::run(&args, &client, &output).await,
            Command::Schedules(args) => schedules::run(&args, &client, &output).await,
            Command::Ticks(args) => ticks::run(&args, &client, &output).await,
            Command::Tasks(args) => tasks::run(&args, &client, &output).await,
            Command::Node(_) | Command::Dev(_) | Command::Secret(_) | Command::Bench(_) => Ok(()),
        }
    }))
}

/// Runs on this thread, which is the main one: `dev` must start its nodes from a thread that lives as
/// long as the process, see `dev::node_process`.
fn on_tokio<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the operating system gives no event queue: {error}")))?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_told_whole_and_in_one_line() {
        let told = |arguments: &[&str]| {
            let words = ["beatmesh"].iter().chain(arguments);
            mistake(&Cli::try_parse_from(words).expect_err("a mistake"))
        };
        insta::assert_snapshot!(told(&["ring"]), @"the following required arguments were not provided: <KEY>");
        insta::assert_snapshot!(told(&["members", "--jsno"]), @"unexpected argument '--jsno' found; tip: a similar argument exists: '--json'");
        insta::assert_snapshot!(told(&["tasks", "--limit", "0"]), @"invalid value '0' for '--limit <COUNT>': 0 is not in 1..=1000");
        insta::assert_snapshot!(told(&[]), @"a command is missing; `--help` lists them");
    }
}
