//! Whether the stories of every store can fail on this one: its guards are taken away one by one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use parking_lot::Mutex;

use super::guards::{Guard, Guards};
use super::scratch::{Scratch, here, url};
use super::{Retention, SqlStore};
use crate::for_each_story;
use crate::queue::conformance::{self, NODES, Node, Subject};

/// Longer than any story takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A file whose stores lack a guard.
struct Guarded {
    guards: Guards,
    scratches: Mutex<Vec<Scratch>>,
}

#[async_trait]
impl Subject for Guarded {
    async fn fresh(&self, keep: Duration) -> Vec<Node> {
        let scratch = Scratch::new();
        let retention = Retention { tasks: keep, ticks: keep };
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            let opened = SqlStore::open_guarded(&here(), &url(&scratch.0), retention, self.guards).await;
            let store = Arc::new(opened.expect("opened"));
            nodes.push(Node { queue: store.clone(), catalogue: store.clone(), seeds: store });
        }
        self.scratches.lock().push(scratch);
        nodes
    }

    async fn pass(&self, span: Duration) {
        // The store's clock counts in milliseconds and is the machine's.
        tokio::time::sleep(span + Duration::from_millis(1)).await;
    }
}

/// The files of stories that guards concern. Of the others each would take longer than all of these.
const CONCERNED: [&str; 8] =
    ["completions", "fences", "given_up", "keys", "leases", "owners", "suspects", "ticks"];

/// Tells stories at once, because they wait more than they work; answers which of them turned red.
async fn told_without(guard: Guard) -> Vec<&'static str> {
    let subject = Guarded { guards: Guards::without(guard), scratches: Mutex::default() };
    let red = Mutex::new(Vec::new());
    macro_rules! tell {
        ($($file:ident::$story:ident,)*) => {
            futures_util::future::join_all([$({
                let (subject, red) = (&subject, &red);
                async move {
                    if !CONCERNED.contains(&stringify!($file)) {
                        return;
                    }
                    let story = tokio::time::timeout(DEADLINE, conformance::$file::$story(subject));
                    let is_green = matches!(std::panic::AssertUnwindSafe(story).catch_unwind().await, Ok(Ok(())));
                    if !is_green {
                        red.lock().push(stringify!($story));
                    }
                }.boxed_local()
            }),*]).await
        };
    }
    for_each_story!(tell);
    red.into_inner()
}

#[tokio::test]
async fn no_guard_can_be_taken_away_unnoticed() {
    let guards = [
        Guard::CursorCompare,
        Guard::RevisionCompare,
        Guard::EnabledCheck,
        Guard::StoreClock,
        Guard::AttemptToken,
        Guard::SuspectsApart,
        Guard::OneOfAKey,
        Guard::EditsLeaveLines,
    ];
    println!("guard removed from SQLite's statements: stories that turned red");
    let mut unnoticed = Vec::new();
    for guard in guards {
        let red = told_without(guard).await;
        println!("{guard:?}: {}", red.join(", "));
        if red.is_empty() {
            unnoticed.push(guard);
        }
    }
    assert_eq!(unnoticed, []);
}
