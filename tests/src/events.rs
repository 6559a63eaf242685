//! A follower of `GET /v1/mesh/events`.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value;
use tokio::time::timeout;

use crate::Client;

/// Longer than any test follows.
const LONGEST: Duration = Duration::from_secs(300);

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number.
    pub id: u64,
    /// `snapshot`, `member`, `ring` or `beat`.
    pub name: String,
    /// What it tells.
    pub data: Value,
}

/// A stream that is being read.
#[derive(Debug)]
pub struct Events {
    response: Response,
    rest: String,
    waiting: VecDeque<Event>,
    /// Comments so far.
    pub comments: usize,
}

impl Events {
    /// Begins to follow.
    ///
    /// # Panics
    /// When the node refuses.
    pub async fn follow(client: &Client) -> Self {
        let request = client.request(Method::GET, "/v1/mesh/events").timeout(LONGEST);
        let response = request.send().await.expect("the node answers");
        let head = (response.status().as_u16(), response.headers().get("content-type").cloned());
        assert_eq!(head, (200, Some("text/event-stream".parse().expect("a header"))));
        Self { response, rest: String::new(), waiting: VecDeque::new(), comments: 0 }
    }

    /// The next event; `None` when the stream has ended in order.
    ///
    /// # Panics
    /// When it breaks off, holds nonsense, or nothing comes in time.
    pub async fn next(&mut self, within: Duration) -> Option<Event> {
        let reading = self.next_or_break();
        let next = timeout(within, reading).await.unwrap_or_else(|_| panic!("no event within {within:?}"));
        next.expect("the stream does not break off")
    }

    /// The next event, however long it takes; `None` when the stream has ended in order.
    ///
    /// # Errors
    /// It broke off: the node died, say.
    ///
    /// # Panics
    /// When it holds nonsense.
    pub async fn next_or_break(&mut self) -> reqwest::Result<Option<Event>> {
        while self.waiting.is_empty() && self.read().await? {}
        Ok(self.waiting.pop_front())
    }

    /// Reads until this event; answers all up to it, itself included.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn until(
        &mut self,
        what: &str,
        within: Duration,
        is_it: impl Fn(&Event) -> bool,
    ) -> Vec<Event> {
        let mut seen = Vec::new();
        let reading = async {
            while !seen.last().is_some_and(&is_it) {
                match self.next(within).await {
                    Some(event) => seen.push(event),
                    None => return false,
                }
            }
            true
        };
        let is_found = timeout(within, reading).await;
        assert_eq!(is_found, Ok(true), "waited {within:?} in vain for {what}; events: {seen:#?}");
        seen
    }

    /// Reads on until a comment has come.
    ///
    /// # Panics
    /// When none comes in time, or the stream ends.
    pub async fn until_comment(&mut self, within: Duration) {
        let before = self.comments;
        let reading = async {
            while self.comments == before && self.read().await.expect("the stream does not break off") {}
        };
        let in_time = timeout(within, reading).await.is_ok();
        assert!(in_time && self.comments > before, "no comment within {within:?}");
    }

    /// Takes the next piece; answers whether there was one.
    async fn read(&mut self) -> reqwest::Result<bool> {
        let Some(piece) = self.response.chunk().await? else {
            return Ok(false);
        };
        self.rest.push_str(std::str::from_utf8(&piece).expect("events are sent whole"));
        while let Some(end) = self.rest.find("\n\n") {
            let block: String = self.rest.drain(..end + 2).collect();
            let field = |name: &str| {
                block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
            };
            match field("data") {
                Some(data) => self.waiting.push_back(Event {
                    id: field("id").and_then(|id| id.parse().ok()).expect("each event has a number"),
                    name: field("event").expect("each event has a name").to_owned(),
                    data: serde_json::from_str(data).expect("each event holds JSON"),
                }),
                None => self.comments += 1,
            }
        }
        Ok(true)
    }
}
