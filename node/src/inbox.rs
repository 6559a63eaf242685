//! What other nodes send: calls for this node's worker, and hints.

use std::sync::Arc;

use beatmesh_mesh::env::{OnExit, Spawner};
use beatmesh_mesh::id::NodeId;
use beatmesh_mesh::transport::Inbox;
use beatmesh_mesh::transport::channel::Channel;
use beatmesh_mesh::wire::to_payload;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::catalogue::cache::CatalogueCache;
use crate::gateway::waiters::Waiters;
use crate::notice::{Notice, topic};
use crate::router::rings::OtherRings;
use crate::router::serve::serve_call;
use crate::router::wire::{CALL_SERVICE, No, kind};
use crate::worker::Worker;

/// Hands over and returns at once: it is called on the mesh's own thread.
pub struct NodeInbox {
    /// Where calls are served: the product's tasks, not the mesh's.
    pub spawner: Arc<dyn Spawner>,
    /// This node's worker, if it is one.
    pub worker: Option<Arc<Worker>>,
    /// Larger inputs are refused.
    pub input_limit: u64,
    /// Told of ended tasks.
    pub waiters: Arc<Waiters>,
    /// Rung when there may be work.
    pub bell: Arc<Notify>,
    /// Told of edits.
    pub catalogue: Arc<CatalogueCache>,
    /// Compares the rings by which others route.
    pub rings: Arc<OtherRings>,
    /// Counts the calls of other nodes that run here: a node that leaves waits for them.
    pub calls: TaskTracker,
}

impl Inbox for NodeInbox {
    fn on_channel(&self, from: NodeId, service: u16, header: Bytes, channel: Channel) {
        let worker = self.worker.clone().filter(|_| service == CALL_SERVICE);
        let (input_limit, rings) = (self.input_limit, self.rings.clone());
        let serving = async move {
            match worker {
                Some(worker) => {
                    serve_call(worker, header, input_limit, channel, |ring| rings.note(&from, ring)).await
                }
                None => refuse(channel).await,
            }
        };
        let serving = self.calls.track_future(serving);
        self.spawner.spawn("call of another node", OnExit::Fine, Box::pin(serving));
    }

    fn on_notice(&self, _from: NodeId, notice: Bytes) {
        match Notice::decode(&notice) {
            Some(Notice::Work) => self.bell.notify_one(),
            Some(Notice::Ended(tasks)) => tasks.into_iter().for_each(|task| self.waiters.ended(task)),
            // A later version's.
            None => {}
        }
    }

    fn on_news(&self, topic: u16, value: u64) {
        if topic == topic::CATALOGUE && value > self.catalogue.current().revision {
            self.catalogue.nudge();
        }
    }
}

/// Not a worker, or a service of a later version: the caller looks elsewhere.
async fn refuse(channel: Channel) {
    let mut writer = channel.writer;
    if writer.send(kind::NO, &to_payload(&No::Stopping)).await.is_ok() {
        writer.finish();
    }
}
