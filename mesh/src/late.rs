//! What to do first when a timer is late: this process had too little time, so the answer that it is about to give up
//! may be here already, on its way through the tasks that read it.
//!
//! Without that a busy machine suspects whoever it asked: a hundred nodes on two cores never came together.

use std::time::Duration;

use tokio::sync::mpsc;

/// Timers are exact to a millisecond or two. One that is so late waited for this process to run.
const LATE: Duration = Duration::from_millis(10);

/// Tasks that a datagram goes through from the socket to its reader: quinn's of the endpoint and of the connection,
/// and the link's.
const HANDS: usize = 3;

/// What has come to `inbox`, with what is on its way there if the timer is `late`.
pub(crate) async fn take_what_has_come<T>(late: Duration, inbox: &mut mpsc::Receiver<T>) -> Vec<T> {
    if late >= LATE {
        for _ in 0..HANDS {
            tokio::task::yield_now().await;
        }
    }
    let here = inbox.len();
    std::iter::from_fn(|| inbox.try_recv().ok()).take(here).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test has tasks of its own")]
mod tests {
    use super::*;

    /// One task hands over to the next, as from a socket to its reader, all of them in one thread.
    async fn found(late: Duration) -> Vec<u32> {
        let (first, mut inbox) = mpsc::channel(1);
        for _ in 0..3 {
            let (sender, receiver) = mpsc::channel(1);
            let mut from = std::mem::replace(&mut inbox, receiver);
            tokio::spawn(async move {
                while let Some(word) = from.recv().await {
                    let _ = sender.send(word).await;
                }
            });
        }
        // All of them wait.
        tokio::time::sleep(Duration::from_millis(1)).await;
        first.send(7).await.unwrap();
        take_what_has_come(late, &mut inbox).await
    }

    #[tokio::test]
    async fn only_a_late_timer_waits_for_what_is_on_its_way() {
        assert_eq!(found(LATE).await, [7]);
        assert_eq!(found(Duration::ZERO).await, [0; 0]);
    }
}
