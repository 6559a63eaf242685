//! Who stands how at whom, as the observers tell, with the moment at which this process heard it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There; suspects too are.
    Alive,
    /// Held for dead.
    Dead,
    /// It said goodbye.
    Left,
}

/// A change at one observer. Members go by their indexes.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    pub at: Instant,
    pub observer: usize,
    pub subject: usize,
    pub previous: Option<State>,
    pub state: State,
}

/// What all observers of a group have told.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    sights: Vec<Sight>,
    now: BTreeMap<(usize, usize), State>,
}

/// Between two looks at the board; the times are those of the observers' words, not of the looks.
const PAUSE: Duration = Duration::from_millis(5);

impl Board {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An observer tells.
    pub fn tell(&self, observer: usize, subject: usize, state: State) {
        let at = Instant::now();
        let mut told = self.told();
        let previous = told.now.insert((observer, subject), state);
        if previous != Some(state) {
            told.sights.push(Sight { at, observer, subject, previous, state });
        }
    }

    /// An observer has ended, and with it all that it knew.
    pub fn forget(&self, observer: usize) {
        self.told().now.retain(|(of, _), _| *of != observer);
    }

    /// Whether an observer has told of itself: it runs.
    pub fn knows_itself(&self, observer: usize) -> bool {
        self.told().now.contains_key(&(observer, observer))
    }

    /// How all others see this member, in the order of the observers.
    pub fn views_of(&self, subject: usize, count: usize) -> Vec<Option<State>> {
        let told = self.told();
        let others = (0..count).filter(|observer| *observer != subject);
        others.map(|observer| told.now.get(&(observer, subject)).copied()).collect()
    }

    /// Whether all hold all for alive.
    pub fn is_whole(&self, count: usize) -> bool {
        (0..count)
            .all(|subject| self.views_of(subject, count).into_iter().all(|state| state == Some(State::Alive)))
    }

    /// What was told from then on.
    pub fn since(&self, since: Instant) -> Vec<Sight> {
        self.told().sights.iter().filter(|sight| sight.at >= since).copied().collect()
    }

    /// Waits; answers whether it became so in time.
    pub async fn until(&self, within: Duration, is_so: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + within;
        while !is_so(self) {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
        true
    }
}
