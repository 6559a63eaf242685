//! What goes wrong with the queue's Redis: its processes end and begin, the replica takes its master's place, and what
//! it held is lost.

use std::sync::Arc;

use super::stage::Stage;
use crate::faults::FaultKind;
use crate::world::redis::hosts::{RedisHosts, Snapshot};

impl Stage<'_> {
    fn redis(&self) -> Arc<RedisHosts> {
        self.world.redis.clone().expect("such faults are of worlds with a Redis")
    }

    pub(super) fn harm_queue(&mut self, kind: FaultKind) {
        let redis = self.redis();
        match kind {
            FaultKind::QueueFailsOver(_) => redis.cut_link(self.sim.elapsed()),
            FaultKind::QueueAway(_) => self.end_server(&redis.master()),
            FaultKind::QueueEmptied => redis.go_back_to(None),
            FaultKind::QueueFull => drop(redis.set_full(true)),
            FaultKind::QueueDamaged => drop(redis.damage()),
            _ => unreachable!("it is no fault of the queue"),
        }
    }

    /// Answers whether it met anybody.
    pub(super) fn heal_queue(&mut self, kind: FaultKind) -> bool {
        let redis = self.redis();
        match kind {
            FaultKind::QueueFailsOver(crashes) => {
                if crashes {
                    self.end_server(&redis.master());
                }
                redis.fail_over(self.sim.elapsed());
                self.start_servers();
                true
            }
            FaultKind::QueueAway(forgets) => {
                if forgets {
                    redis.go_back_to(None);
                }
                self.start_servers();
                true
            }
            FaultKind::QueueEmptied => true,
            FaultKind::QueueFull => redis.set_full(false) > 0,
            // That it was found and put right says the history.
            FaultKind::QueueDamaged => true,
            _ => unreachable!("it is no fault of the queue"),
        }
    }

    /// Its servers are started with what was saved earlier.
    pub(super) fn restore_queue(&mut self, earlier: Snapshot) {
        let redis = self.redis();
        redis.names().iter().for_each(|name| self.end_server(name));
        redis.go_back_to(Some(earlier));
        self.start_servers();
    }

    fn end_server(&mut self, name: &str) {
        if self.sim.is_host_running(name) {
            self.sim.crash(name);
        }
    }

    /// Starts those that are down, whatever took them down.
    fn start_servers(&mut self) {
        let redis = self.redis();
        for name in redis.names().iter().map(String::as_str) {
            if !self.sim.is_host_running(name) {
                redis.restart(name);
                self.sim.bounce(name);
            }
        }
    }
}
