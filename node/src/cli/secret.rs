//! `beatmesh secret`: the secret that the nodes of a mesh share.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::json;

use super::failure::Failure;
use super::output::Output;
use crate::config::secret;

#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  beatmesh secret new
  beatmesh secret new --out /etc/beatmesh/secret"
)]
pub(super) struct SecretArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a fresh secret of 256 bits.
    #[command(after_help = "Examples:
  beatmesh secret new
  beatmesh secret new --out /etc/beatmesh/secret

Give every node of the mesh the same file. Who holds the secret can join as any node.")]
    New {
        /// Write it to this new file, readable by you only, instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(super) fn run(args: &SecretArgs, output: &Output) -> Result<(), Failure> {
    let Action::New { out } = &args.action;
    let fresh = secret::fresh();
    match out {
        None => output.show(&json!({"secret": fresh.expose_secret()}), |_| fresh.expose_secret().to_owned()),
        Some(path) => {
            secret::create(path, &fresh).map_err(|error| {
                let exists = path.exists();
                let hint = if exists { "; an existing file is never overwritten" } else { "" };
                Failure::failed(format!("--out: {}{hint}", error.without_setting()))
            })?;
            output.show(&json!({"file": path}), |_| {
                format!(
                    "wrote a fresh secret to {}; give every node of the mesh the same file",
                    path.display()
                )
            })
        }
    }
}
