//! Waiting for a condition, with a deadline. There is no sleeping for luck in these tests.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Between two looks: short against everything that is waited for, long against a look.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until there is something.
///
/// # Panics
/// When the time is over. The message names what was waited for.
pub async fn until_some<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain until {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks until the condition holds; `look` answers what it saw, for the message.
///
/// # Panics
/// When the time is over. The message holds the last sight.
pub async fn until<T: Debug>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> T,
    is_so: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        let seen = look().await;
        if is_so(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain until {what}; last seen: {seen:#?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same without an async runtime's help, for what is not asked over HTTP.
///
/// # Panics
/// When the time is over.
pub fn until_so(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    until_some_so(what, within, || is_so().then_some(()));
}

/// The same until there is something.
///
/// # Panics
/// When the time is over.
pub fn until_some_so<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain until {what}");
        std::thread::sleep(PAUSE);
    }
}
