//! From nothing to a mesh: starts all nodes and waits until each sees all the others.

use std::time::Duration;

use tokio::time::Instant;

use super::super::failure::Failure;
use super::fleet::{Event, Fleet, ending};
use super::log_line;
use super::screen::Screen;
use super::view::{Lens, View};
use crate::signals::Signals;

/// Three nodes take about a second; a slow, busy machine gets a multiple of it.
const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How it went.
pub(super) enum Started {
    /// All nodes see each other; this is what they see.
    Ready(View),
    /// Somebody asked to stop before that.
    Asked,
}

/// Starts the nodes. On an error those that run are left for the caller to stop.
pub(super) async fn start(
    fleet: &mut Fleet<'_>,
    lens: &Lens,
    signals: &mut Signals,
    screen: &mut Screen,
) -> Result<Started, Failure> {
    let count = fleet.slots.len();
    screen.say(&format!("starting {count} nodes"));
    for node in 0..count {
        fleet.spawn(node).map_err(|error| {
            Failure::failed(format!("{} cannot be started: {error}", fleet.slots[node].name))
        })?;
    }
    let deadline = tokio::time::sleep_until(Instant::now() + DEADLINE);
    tokio::pin!(deadline);
    let mut ready = 0;
    let mut look = Box::pin(lens.look(Duration::ZERO, fleet));
    loop {
        tokio::select! {
            event = fleet.next() => match event {
                Event::Line(line) if log_line::is_trouble(&line.text) => {
                    screen.log(line.node, &fleet.slots[line.node].name, &line.text);
                }
                Event::Line(_) => {}
                Event::Ended { node, status, .. } => {
                    let why = format!("{} ended while starting: {}", fleet.slots[node].name, ending(status));
                    return Err(with_last_lines(fleet, &[node], why).await);
                }
            },
            views = &mut look => {
                let seeing = views.iter().flatten().filter(|view| sees_all(view, fleet)).count();
                if seeing != ready {
                    ready = seeing;
                    screen.say(&format!("{ready} of {count} nodes see the whole mesh"));
                }
                // The Beat is known when the ring is: a moment after the members.
                if let Some(Some(view)) = views.into_iter().find(|view| view.as_ref().is_some_and(|v| v.beat.is_some()))
                    && ready == count
                {
                    return Ok(Started::Ready(view));
                }
                look = Box::pin(lens.look(LOOK_EVERY, fleet));
            }
            () = signals.asked() => return Ok(Started::Asked),
            () = &mut deadline => {
                let why = format!(
                    "after {} s only {ready} of {count} nodes see the whole mesh; the last lines of each follow",
                    DEADLINE.as_secs()
                );
                let all: Vec<usize> = (0..count).collect();
                return Err(with_last_lines(fleet, &all, why).await);
            }
        }
        if screen.is_gone() {
            return Ok(Started::Asked);
        }
    }
}

fn sees_all(view: &View, fleet: &Fleet<'_>) -> bool {
    fleet.slots.iter().all(|slot| view.alive.contains(&slot.name))
}

async fn with_last_lines(fleet: &mut Fleet<'_>, nodes: &[usize], mut why: String) -> Failure {
    for node in nodes {
        let name = fleet.slots[*node].name.clone();
        for line in fleet.last_lines(*node).await {
            why.push_str("\n  ");
            why.push_str(&log_line::render(*node, &name, &line, false));
        }
    }
    Failure::failed(why)
}
