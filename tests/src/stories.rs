//! Tells a store the stories of every store, several at a time.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use beatmesh_node::for_each_story;
use beatmesh_node::queue::conformance::{self, Subject};
use futures_util::stream::iter;
use futures_util::{FutureExt, StreamExt};

/// Longer than any story takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Stories that are told at once: they wait more than they work, but each is three nodes.
const AT_ONCE: usize = 4;

/// Tells all stories; `BEATMESH_STORY` picks those whose names hold it.
///
/// # Panics
/// Names the stories whose promises the store did not keep.
pub async fn tell_all(subject: &dyn Subject) {
    let wanted = std::env::var("BEATMESH_STORY").unwrap_or_default();
    let mut stories = Vec::new();
    macro_rules! collect {
        ($($file:ident::$story:ident,)*) => {
            $(if stringify!($story).contains(&wanted) {
                let story = async move {
                    let began = Instant::now();
                    let story = tokio::time::timeout(DEADLINE, conformance::$file::$story(subject));
                    let is_green = matches!(AssertUnwindSafe(story).catch_unwind().await, Ok(Ok(())));
                    println!("{} {} {:?}", if is_green { "ok " } else { "RED" }, stringify!($story), began.elapsed());
                    (stringify!($story), is_green)
                };
                stories.push(story.boxed_local());
            })*
        };
    }
    for_each_story!(collect);
    let told: Vec<(&str, bool)> = iter(stories).buffer_unordered(AT_ONCE).collect().await;
    let red: Vec<&str> = told.iter().filter(|(_, is_green)| !is_green).map(|(story, _)| *story).collect();
    assert!(red.is_empty(), "of {} stories these are red: {red:#?}", told.len());
    assert!(!told.is_empty());
}
