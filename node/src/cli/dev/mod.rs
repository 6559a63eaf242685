//! `beatmesh dev`: a mesh on one machine, made of real node processes, to try and to break.
//!
//! Everything happens on the main thread: the kernel sends a node its parent-death signal when the
//! *thread* that started it ends, so nodes must be started by one that lives as long as this process.

mod banner;
mod fleet;
mod log_line;
mod node_process;
mod place;
mod ports;
mod samples;
mod screen;
mod start;
mod supervise;
mod view;

#[cfg(any(test, fuzzing))]
pub(super) use log_line::{is_trouble, render};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::failure::Failure;
use crate::signals::Signals;
use fleet::Fleet;
use place::Place;
use screen::Screen;
use start::Started;
use view::Lens;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  beatmesh dev
  beatmesh dev --nodes 5 --http-port 9000
  BEATMESH_LOG__LEVEL=debug beatmesh dev --http-port 0

While it runs, kill a node with `kill -9 PID`: it says who takes over and starts the node again.
Ctrl-C stops the nodes gracefully, a second one at once. A second start finds everything again.")]
pub(super) struct DevArgs {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=50))]
    nodes: u16,
    /// The first node's port; the others take the following ones. 0 takes free ones.
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    http_port: u16,
    /// Where everything is kept.
    #[arg(long, default_value = "./beatmesh-dev", value_name = "DIR")]
    data_dir: PathBuf,
    /// Leave a node that died alone.
    #[arg(long)]
    no_restart: bool,
    /// Do not deploy the sample functions and their schedule.
    #[arg(long)]
    no_samples: bool,
}

pub(super) async fn run(args: &DevArgs) -> Result<ExitCode, Failure> {
    let place = Place::take(&args.data_dir)?;
    let addresses = ports::choose(args.nodes, args.http_port)?;
    let mut screen = Screen::new();
    let mut signals = Signals::listen()
        .map_err(|error| Failure::failed(format!("signals cannot be listened to: {error}")))?;
    let lens = Lens::new()?;
    let mut fleet = Fleet::new(&place, addresses);

    let clean = match start::start(&mut fleet, &lens, &mut signals, &mut screen).await {
        Ok(Started::Asked) => true,
        Ok(Started::Ready(view)) => {
            let samples = async {
                if !args.no_samples {
                    samples::deploy(&fleet, &lens, &mut screen).await;
                }
            };
            let asked = tokio::select! {
                () = samples => false,
                () = signals.asked() => true,
            };
            if asked {
                true
            } else {
                screen.line(&banner::text(&fleet, &view, &args.data_dir));
                let restart = !args.no_restart;
                supervise::until_asked(&mut fleet, &lens, &view, restart, &mut signals, &mut screen).await
            }
        }
        Err(failure) => {
            fleet.stop(&mut signals, &mut screen).await;
            return Err(failure);
        }
    };
    let clean = fleet.stop(&mut signals, &mut screen).await && clean;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
