//! Whether a server can keep what a mesh promises: asked on every new connection, because after a failover it is
//! another server.

use redis::Value;

use super::codec::{list, number, text};
use super::keys::Keys;
use super::locate::{Connection, NoConnection, refused};
use crate::config::Durability;

/// Scripts write what they decided, not what they were called with, from 5.0 on; the rest of what is used is there
/// from 6.2 on.
const OLDEST: (u32, u32) = (6, 2);

/// `WAITAOF`.
const OLDEST_FOR_DISK: (u32, u32) = (7, 2);

/// What a server must be, and must promise.
#[derive(Clone, Debug)]
pub(super) struct Demands {
    /// The id of the database that the queue belongs to.
    pub(super) store_id: String,
    pub(super) durability: Durability,
    /// Replicas that must have a change before it is acknowledged; for `replicated`.
    pub(super) replicas: u32,
}

/// What `INFO` says.
struct Info(String);

impl Info {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Major and minor; of Valkey the version of Redis that it is compatible with.
    fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.get("redis_version")?.split('.').map_while(|part| part.parse().ok());
        Some((parts.next()?, parts.next()?))
    }
}

impl Demands {
    /// Looks at the server behind a fresh connection, and marks it as this mesh's.
    pub(super) async fn check(
        &self,
        connection: &mut Connection,
        keys: &Keys,
        is_cluster: bool,
    ) -> Result<(), NoConnection> {
        let peer = connection.peer.clone();
        let now = |error: redis::RedisError| refused(&peer, &error);
        let role = connection.ask(&redis::cmd("ROLE")).await.map_err(now)?;
        match list(&role).and_then(|role| text(role.first()?)) {
            Some("master") => {}
            Some("sentinel") => {
                return Err(NoConnection::AsItIs(format!(
                    "{peer} is a sentinel; write redis+sentinel://HOST:PORT,HOST:PORT/MASTER"
                )));
            }
            Some(role) => return Err(NoConnection::Now(format!("{peer} is a {role} and takes no writes"))),
            None => return Err(NoConnection::AsItIs(format!("{peer} does not answer like a Redis server"))),
        }
        let info = connection.ask(&redis::cmd("INFO")).await.map_err(now)?;
        let info = match &info {
            Value::VerbatimString { text, .. } => text.clone(),
            other => text(other).unwrap_or_default().to_owned(),
        };
        let info = Info(info);
        if info.get("cluster_enabled") == Some("1") && !is_cluster {
            // It may hold our keys today.
            return Err(NoConnection::AsItIs(format!(
                "{peer} is a node of a cluster; write redis+cluster://HOST:PORT,HOST:PORT"
            )));
        }
        self.judge(&peer, &info)?;
        self.mark(connection, keys).await
    }

    fn judge(&self, peer: &str, info: &Info) -> Result<(), NoConnection> {
        let never = |reason: String| Err(NoConnection::AsItIs(format!("{peer} {reason}")));
        let (major, minor) = info.version().unwrap_or_default();
        if (major, minor) < OLDEST {
            return never(format!("is version {major}.{minor}; Redis 6.2 or later is needed"));
        }
        let policy = info.get("maxmemory_policy").unwrap_or("noeviction");
        if info.number("maxmemory") > 0 && policy != "noeviction" {
            return never(format!(
                "drops keys when its memory is full (maxmemory-policy {policy}), so accepted tasks would be lost; set it to noeviction"
            ));
        }
        match self.durability {
            Durability::Fast => Ok(()),
            Durability::Replicated => self.judge_replicas(peer, info),
            Durability::Disk if (major, minor) < OLDEST_FOR_DISK => never(format!(
                "is version {major}.{minor}; queue.durability = \"disk\" needs Redis 7.2 or later"
            )),
            Durability::Disk if info.get("aof_enabled") != Some("1") => never(
                "keeps no append-only file (appendonly no), which queue.durability = \"disk\" rests on"
                    .to_owned(),
            ),
            Durability::Disk => Ok(()),
        }
    }

    fn judge_replicas(&self, peer: &str, info: &Info) -> Result<(), NoConnection> {
        let (connected, wanted) = (info.number("connected_slaves"), u64::from(self.replicas));
        if connected < wanted {
            return Err(NoConnection::Now(format!(
                "{peer} has {connected} connected replicas, and queue.durability = \"replicated\" waits for {wanted} (queue.replicas): nothing could be acknowledged"
            )));
        }
        if connected > wanted {
            tracing::warn!(
                connected,
                wanted,
                "the server has more replicas than queue.replicas waits for: a failover that promotes one of the others loses what it has not got; set queue.replicas to the number of replicas that may be promoted"
            );
        }
        Ok(())
    }

    /// Two meshes of one name must not share a queue: each would run the other's tasks.
    async fn mark(&self, connection: &mut Connection, keys: &Keys) -> Result<(), NoConnection> {
        let peer = connection.peer.clone();
        let now = |error: redis::RedisError| refused(&peer, &error);
        let key = keys.named("store");
        let mut found = connection.ask(redis::cmd("GET").arg(&key)).await.map_err(now)?;
        if found == Value::Nil {
            connection.ask(redis::cmd("SETNX").arg(&key).arg(&self.store_id)).await.map_err(now)?;
            found = connection.ask(redis::cmd("GET").arg(&key)).await.map_err(now)?;
        }
        match text(&found) {
            Some(id) if id == self.store_id => Ok(()),
            found => Err(NoConnection::AsItIs(format!(
                "{peer} holds the queue of another mesh of this name (its database has the id `{}`, this one `{}`); give the mesh another name or the queue another database",
                found.unwrap_or("none"),
                self.store_id
            ))),
        }
    }
}

/// Whether an answer to `WAIT` or `WAITAOF` says that enough have the change.
pub(super) fn is_enough(durability: Durability, replicas: u32, answer: &Value) -> bool {
    match durability {
        Durability::Fast => true,
        Durability::Replicated => number(answer).is_some_and(|count| count >= i64::from(replicas)),
        // [local, replicas]
        Durability::Disk => {
            list(answer).and_then(|counts| number(counts.first()?)).is_some_and(|local| local >= 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.2.1\r\n# Memory\r\nmaxmemory:1000\r\nmaxmemory_policy:noeviction\r\n# Persistence\r\naof_enabled:1\r\n# Replication\r\nrole:master\r\nconnected_slaves:2\r\n";

    fn judge(durability: Durability, replicas: u32, info: &str) -> Result<(), NoConnection> {
        Demands { store_id: "s".to_owned(), durability, replicas }.judge("r:1", &Info(info.to_owned()))
    }

    #[test]
    fn a_server_that_cannot_keep_the_promise_is_refused_with_what_to_change() {
        use Durability::{Disk, Fast, Replicated};
        for durability in [Fast, Replicated, Disk] {
            assert_eq!(judge(durability, 2, GOOD), Ok(()));
        }
        let evicts = GOOD.replace("noeviction", "allkeys-lru");
        let old = GOOD.replace("7.2.1", "6.0.16");
        let plain = GOOD.replace("aof_enabled:1", "aof_enabled:0");
        let seven = GOOD.replace("7.2.1", "7.0.15");
        for (durability, info, word) in [
            (Fast, &evicts, "noeviction"),
            (Fast, &old, "6.2 or later"),
            (Disk, &plain, "appendonly"),
            (Disk, &seven, "7.2 or later"),
        ] {
            match judge(durability, 1, info) {
                Err(NoConnection::AsItIs(reason)) => assert!(reason.contains(word), "{reason}"),
                other => panic!("{durability:?} {word}: {other:?}"),
            }
        }
        assert_eq!(
            judge(Fast, 1, &evicts.replace("maxmemory:1000", "maxmemory:0")),
            Ok(()),
            "it never evicts"
        );
        assert!(matches!(judge(Replicated, 3, GOOD), Err(NoConnection::Now(_))), "one may come back");
    }
}
