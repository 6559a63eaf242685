//! Every story of every store, on one file that three stores share.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_node::for_each_story;
use beatmesh_node::queue::conformance::{self, NODES, Node, Subject};
use std::sync::Arc;

use crate::scratch::{DEADLINE, Scratch, try_open_with, url};

/// Each fresh store is a directory that lives as long as the test.
#[derive(Default)]
struct Sqlite(Mutex<Vec<Scratch>>);

#[async_trait]
impl Subject for Sqlite {
    async fn fresh_with(&self, keep: Duration, most: u32) -> Vec<Node> {
        let scratch = Scratch::new();
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            let store = Arc::new(try_open_with(&url(&scratch.0), keep, most).await.expect("opened"));
            nodes.push(Node { queue: store.clone(), catalogue: store.clone(), seeds: store });
        }
        self.0.lock().expect("no test panics while it holds this").push(scratch);
        nodes
    }

    async fn pass(&self, span: Duration) {
        // The store's clock counts in milliseconds and is the machine's.
        tokio::time::sleep(span + Duration::from_millis(1)).await;
    }
}

macro_rules! tests {
    ($($file:ident::$story:ident,)*) => {
        $(
            #[tokio::test]
            async fn $story() {
                let story = conformance::$file::$story;
                tokio::time::timeout(DEADLINE, story(&Sqlite::default())).await.expect("in time");
            }
        )*
    };
}

for_each_story!(tests);
