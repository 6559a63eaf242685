//! Panics as texts: a panic inside a simulated host fails its seed and says what and where.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::world::spawner::panic_text;

thread_local! {
    /// The first panic of this thread since [`catch`] began; `None` outside of it.
    static FIRST: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Runs `code`; a panic comes back as its text. The first one counts: tokio answers a panic in a task with
/// a panic of its own that says less.
pub(super) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    install();
    FIRST.with_borrow_mut(|first| *first = Some(None));
    let outcome = catch_unwind(AssertUnwindSafe(code));
    let first = FIRST.with_borrow_mut(Option::take).flatten();
    match (outcome, first) {
        (Ok(value), None) => Ok(value),
        // Somebody caught it, and nobody told.
        (_, Some(first)) => Err(first),
        (Err(panic), None) => Err(panic_text(&*panic).to_owned()),
    }
}

/// Panics of threads that run no trial are reported as ever.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            let text = info.to_string();
            let kept = FIRST.with_borrow_mut(|first| match first {
                None => false,
                Some(first) => {
                    first.get_or_insert(text);
                    true
                }
            });
            if !kept {
                usual(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_panic_is_told_with_its_place() {
        let outcome = catch(|| {
            let _ = catch_unwind(|| panic!("the cause"));
            panic!("a consequence")
        });
        let text: String = Result::<(), _>::unwrap_err(outcome);
        assert!(text.contains("the cause") && text.contains("panics.rs"), "{text}");
        assert_eq!(catch(|| 7), Ok(7));
    }

    #[expect(clippy::disallowed_methods, reason = "as a library would do it")]
    #[test]
    fn a_panic_in_a_task_that_nobody_spawned_through_the_seam_ends_the_run() {
        let outcome = catch(|| {
            let mut sim = turmoil::Builder::new().build();
            sim.client("client", async {
                tokio::task::spawn_local(async { panic!("planted") });
                std::future::pending().await
            });
            sim.run()
        });
        let text = outcome.map(|ended| ended.map_err(|error| error.to_string())).unwrap_err();
        assert!(text.contains("planted"), "{text}");
    }
}
