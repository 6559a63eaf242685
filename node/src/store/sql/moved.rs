//! Which store has the mesh's queue, written down in the database that all nodes share.
//!
//! Two nodes of one catalogue with two queues would each keep cursors of their own, and every due time would be fired
//! twice. Refusing each other as members would not help: each would go on by itself. So the second one does not start.

use std::time::Duration;

use super::SqlStore;
use super::open::{set_value, value};
use crate::queue::StoreError;

/// The name of the value in the table `beatmesh`.
const QUEUE: &str = "queue";

/// A node that has started has its row in the table of nodes within this time; until then, that it agreed counts.
const STARTING: Duration = Duration::from_secs(5);

/// Nodes renew their rows every half minute; one that has been silent for so long is dead.
const SILENT: Duration = Duration::from_secs(90);

impl SqlStore {
    /// Writes down that the queue is in a store of this kind, unless other nodes use one of another kind, which is the
    /// answer then. When no other node runs, the queue has moved.
    ///
    /// # Errors
    /// It could not be written down; trying again is safe.
    pub async fn agree_on_queue(&self, node: &str, kind: &'static str) -> Result<Option<String>, StoreError> {
        let node = node.to_owned();
        let agreeing = self.writer.run(move |tx| {
            let node = node.clone();
            Box::pin(async move {
                let known = value(tx.connection, tx.dialect, QUEUE).await?;
                if let Some((other, since, by)) = known.as_deref().and_then(read)
                    && other != kind
                {
                    let starts = by != node && since > tx.now.minus(STARTING).0;
                    let others = tx
                        .dialect
                        .query("SELECT node FROM nodes WHERE node <> ? AND last_seen > ? LIMIT 1")
                        .bind(node.clone())
                        .bind(tx.now.minus(SILENT).0);
                    if starts || others.fetch_optional(&mut *tx.connection).await?.is_some() {
                        return Ok(Some(other.to_owned()));
                    }
                }
                let agreed = format!("{}|{node}|{kind}", tx.now.0);
                set_value(tx.connection, tx.dialect, QUEUE, &agreed).await?;
                Ok(None)
            })
        });
        agreeing.await
    }
}

/// Kind, when a node agreed, and which: `WHEN|NODE|KIND`.
fn read(agreed: &str) -> Option<(&str, i64, &str)> {
    let (since, rest) = agreed.split_once('|')?;
    let (node, kind) = rest.split_once('|')?;
    Some((kind, since.parse().ok()?, node))
}
