//! The command around the simulator. What it says is in `command`, what it does in the library.
#![expect(clippy::disallowed_methods, reason = "the command measures real time, nodes do not run here")]

mod command;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match command::Cli::parse().play() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(usage) => {
            eprintln!("error: {usage}");
            ExitCode::from(2)
        }
    }
}
