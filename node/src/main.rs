//! The program `beatmesh`.

use std::process::ExitCode;

fn main() -> ExitCode {
    beatmesh_node::cli::run()
}
