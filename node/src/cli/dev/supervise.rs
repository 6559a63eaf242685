//! Watches a running mesh: says who died, who took over, who is back; restarts what died.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::Instant;

use super::super::when;
use super::fleet::{Event, Fleet, ending};
use super::screen::Screen;
use super::view::{Lens, View};
use crate::signals::Signals;

/// Between two looks at a mesh where nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between two looks while somebody is missing.
const LOOK_OFTEN: Duration = Duration::from_millis(100);

/// Before the first restart: time to see the others notice the death and take over, which takes about
/// three seconds. A supervisor of a real mesh would restart at once.
const FIRST_DELAY: Duration = Duration::from_secs(5);

/// Before a restart, however often the node has died.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// A node that lived this long did not die of how it was started.
const LONG_LIFE: Duration = Duration::from_secs(30);

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It runs and sees the mesh.
    Up,
    /// It died, was started again and does not see the mesh yet.
    Starting { died: Instant },
    /// It died, and is started again then.
    Down { died: Instant, until: Instant },
    /// It died and stays away.
    Gone,
}

/// What is known of one node.
#[derive(Clone, Copy, Debug)]
struct Watch {
    state: State,
    since: Instant,
    /// Deaths shortly after a start, in a row.
    short_lives: u32,
}

struct Supervisor {
    watches: Vec<Watch>,
    restart: bool,
    beat: Option<String>,
    /// When the Beat died, until another one is known.
    beat_lost: Option<Instant>,
}

/// Supervises until somebody asks to stop, nobody reads any more, or no node is left. Whether nodes
/// are left.
pub(super) async fn until_asked(
    fleet: &mut Fleet<'_>,
    lens: &Lens,
    view: &View,
    restart: bool,
    signals: &mut Signals,
    screen: &mut Screen,
) -> bool {
    let watch = Watch { state: State::Up, since: Instant::now(), short_lives: 0 };
    let mut supervisor = Supervisor {
        watches: vec![watch; fleet.slots.len()],
        restart,
        beat: view.beat.clone(),
        beat_lost: None,
    };
    let mut look = Box::pin(lens.look(Duration::ZERO, fleet));
    loop {
        let next_restart = supervisor.next_restart();
        tokio::select! {
            event = fleet.next() => match event {
                Event::Line(line) => screen.log(line.node, &fleet.slots[line.node].name, &line.text),
                Event::Ended { node, pid, status } => {
                    supervisor.on_death(node, pid, status, fleet, screen);
                    if supervisor.watches.iter().all(|watch| watch.state == State::Gone) {
                        screen.say("no node is left");
                        return false;
                    }
                    // The look that is under way knows nothing of this yet.
                    look = Box::pin(lens.look(Duration::ZERO, fleet));
                }
            },
            views = &mut look => {
                supervisor.on_views(&views, fleet, screen);
                let pause = if supervisor.is_quiet() { LOOK_EVERY } else { LOOK_OFTEN };
                look = Box::pin(lens.look(pause, fleet));
            }
            () = async { tokio::time::sleep_until(next_restart.unwrap_or_else(Instant::now)).await },
                if next_restart.is_some() => {
                supervisor.restart_due(fleet, screen);
                look = Box::pin(lens.look(Duration::ZERO, fleet));
            }
            () = signals.asked() => return true,
        }
        if screen.is_gone() {
            return true;
        }
    }
}

impl Supervisor {
    fn is_quiet(&self) -> bool {
        self.beat_lost.is_none()
            && self.watches.iter().all(|watch| matches!(watch.state, State::Up | State::Gone))
    }

    fn next_restart(&self) -> Option<Instant> {
        let until = |watch: &Watch| match watch.state {
            State::Down { until, .. } => Some(until),
            _ => None,
        };
        self.watches.iter().filter_map(until).min()
    }

    fn on_death(
        &mut self,
        node: usize,
        pid: u32,
        status: ExitStatus,
        fleet: &Fleet<'_>,
        screen: &mut Screen,
    ) {
        let now = Instant::now();
        let name = &fleet.slots[node].name;
        let was_beat = self.beat.as_ref() == Some(name);
        let watch = &mut self.watches[node];
        watch.short_lives = if now - watch.since > LONG_LIFE { 0 } else { watch.short_lives + 1 };
        let next = if self.restart {
            let delay = restart_delay(watch.short_lives);
            watch.state = State::Down { died: now, until: now + delay };
            format!("it starts again in {}", when::length(i64::try_from(delay.as_millis()).unwrap_or(0)))
        } else {
            watch.state = State::Gone;
            "it stays away (--no-restart)".to_owned()
        };
        let rank = if was_beat { ", which was the Beat," } else { "" };
        screen.say(&format!("{name} (pid {pid}){rank} has died: {}; {next}", ending(status)));
        if was_beat {
            self.beat_lost.get_or_insert(now);
        }
    }

    fn restart_due(&mut self, fleet: &mut Fleet<'_>, screen: &mut Screen) {
        let now = Instant::now();
        for node in 0..self.watches.len() {
            let watch = &mut self.watches[node];
            let State::Down { died, until } = watch.state else { continue };
            if until > now {
                continue;
            }
            match fleet.spawn(node) {
                Ok(_) => (watch.state, watch.since) = (State::Starting { died }, now),
                Err(error) => {
                    watch.short_lives += 1;
                    watch.state = State::Down { died, until: now + restart_delay(watch.short_lives) };
                    screen.say(&format!("{} cannot be started: {error}", fleet.slots[node].name));
                }
            }
        }
    }

    fn on_views(&mut self, views: &[Option<View>], fleet: &Fleet<'_>, screen: &mut Screen) {
        for (node, view) in views.iter().enumerate() {
            let (Some(view), State::Starting { died }) = (view, self.watches[node].state) else { continue };
            let running = fleet.slots.iter().filter(|slot| slot.pid().is_some());
            if running.clone().all(|slot| view.alive.contains(&slot.name)) {
                self.watches[node].state = State::Up;
                let slot = &fleet.slots[node];
                screen.say(&format!(
                    "{} is back {} after it died, pid {}, and sees {} nodes",
                    slot.name,
                    when::length(millis_since(died)),
                    slot.pid().unwrap_or(0),
                    running.count(),
                ));
            }
        }
        self.notice_beat(views, fleet, screen);
    }

    /// Says who is the Beat, once all nodes that are up agree on one that runs.
    fn notice_beat(&mut self, views: &[Option<View>], fleet: &Fleet<'_>, screen: &mut Screen) {
        let mut said = views
            .iter()
            .zip(&self.watches)
            .filter(|(_, watch)| watch.state == State::Up)
            .filter_map(|(view, _)| view.as_ref().map(|view| view.beat.as_ref()));
        let Some(Some(beat)) = said.next() else { return };
        let runs = fleet.slots.iter().any(|slot| slot.name == *beat && slot.pid().is_some());
        if !runs || said.any(|other| other != Some(beat)) {
            return;
        }
        let lost = self.beat_lost.take();
        if self.beat.as_ref() == Some(beat) && lost.is_none() {
            return;
        }
        let after = lost.map_or(String::new(), |at| {
            format!(", {} after the old one died", when::length(millis_since(at)))
        });
        screen.say(&format!("{beat} is the Beat now{after}"));
        self.beat = Some(beat.clone());
    }
}

fn millis_since(then: Instant) -> i64 {
    i64::try_from(then.elapsed().as_millis()).unwrap_or(i64::MAX)
}

/// Doubles with every short life, so that a node that cannot start does not keep the machine busy.
fn restart_delay(short_lives: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << short_lives.saturating_sub(1).min(10)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_become_rarer() {
        let delays: Vec<u128> = [0, 1, 2, 3, 7, 100].map(|lives| restart_delay(lives).as_millis()).to_vec();
        assert_eq!(delays, [5_000, 5_000, 10_000, 20_000, 60_000, 60_000]);
    }
}
