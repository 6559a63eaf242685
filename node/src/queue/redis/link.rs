//! One connection to the server that takes writes, replaced whenever it, or the server behind it, is no longer good.
//!
//! Nothing is repeated here: an answer that did not come is "unknown", and the caller knows what may be asked again.
//! While there is no connection, callers are refused at once; one of them tries to connect now and then, with a
//! pause that grows.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::Env;
use parking_lot::Mutex as SyncMutex;
use rand::RngExt;
use rand::rngs::StdRng;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::{Asked, Failure, failure, plain};
use super::keys::Keys;
use super::locate::{Connection, Locator, NoConnection};
use super::scripts::Script;
use super::server::{Demands, is_enough};
use crate::config::Durability;
use crate::queue::StoreError;

/// A server that is silent for so long is not waited for: a stuck one must not hold up callers that have deadlines of
/// their own.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// How long a change may need to reach the replicas before its outcome counts as unknown.
const REPLICATED_WITHIN: Duration = Duration::from_secs(1);

/// And to reach the disk: with `appendfsync everysec` the next sync is up to a second away, and takes its time.
const ON_DISK_WITHIN: Duration = Duration::from_millis(2_500);
const _: () = assert!(ON_DISK_WITHIN.as_millis() < ANSWER_WITHIN.as_millis());

/// The pause between two attempts to connect; it doubles up to the second one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A way to the server.
pub(super) struct Link {
    env: Env,
    locator: Arc<Locator>,
    demands: Demands,
    keys: Keys,
    state: Mutex<State>,
    dice: SyncMutex<StdRng>,
}

#[derive(Default)]
struct State {
    live: Option<Connection>,
    /// Since the last connection was lost.
    failures: u32,
    /// Why the last attempt failed, when the next one may begin, and what [`Locator::found`] was: the other link may
    /// be through sooner.
    failed: Option<(NoConnection, Instant, u64)>,
}

impl Link {
    pub(super) fn new(env: Env, locator: Arc<Locator>, demands: Demands, keys: Keys) -> Self {
        let dice = SyncMutex::new(env.entropy.rng());
        Self { env, locator, demands, keys, state: Mutex::default(), dice }
    }

    /// Connects now, if there is no connection.
    pub(super) async fn open(&self) -> Result<(), NoConnection> {
        self.connection().await.map(drop)
    }

    /// Closes the connection; whoever waits for an answer gets an error.
    pub(super) async fn close(&self) {
        if let Some(live) = self.state.lock().await.live.take() {
            live.closing.cancel();
        }
    }

    /// Runs a script. With `durable` its changes are where the mesh's durability wants them when this is `Ok`.
    pub(super) async fn run(
        &self,
        script: &Script,
        args: &[&[u8]],
        durable: bool,
    ) -> Result<Value, StoreError> {
        let mut live = self.connection().await.map_err(unavailable)?;
        let by_digest = self.script_command("EVALSHA", script.digest(), args);
        let answered = match self.send(&mut live, &by_digest, durable).await {
            // A server that has restarted, or taken over, knows no scripts.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let by_text = self.script_command("EVAL", &script.text, args);
                self.send(&mut live, &by_text, durable).await
            }
            answered => answered,
        };
        let (value, confirmed) = match answered {
            Ok(answered) => answered,
            Err(error) => return Err(self.judge(&live, &error, Asked::Write).await),
        };
        let what = self.demands.durability.as_str();
        match confirmed {
            Some(Ok(confirmed)) if !is_enough(self.demands.durability, self.demands.replicas, &confirmed) => {
                Err(StoreError::Unknown(format!(
                    "it was written, but not confirmed as `{what}` within {:?}",
                    self.confirmed_within()
                )))
            }
            // Whatever the error says of itself, the change was made: by a master that is none any more, perhaps.
            Some(Err(error)) => {
                live.closing.cancel();
                Err(StoreError::Unknown(format!(
                    "it was written, but not confirmed as `{what}`: {}",
                    plain(&error)
                )))
            }
            Some(Ok(_)) | None => Ok(value),
        }
    }

    /// Asks something that changes nothing.
    pub(super) async fn read(&self, command: &Cmd) -> Result<Value, StoreError> {
        let mut live = self.connection().await.map_err(unavailable)?;
        match live.ask(command).await {
            Ok(value) => Ok(value),
            Err(error) => Err(self.judge(&live, &error, Asked::Read).await),
        }
    }

    /// Asks several things at once that change nothing.
    pub(super) async fn read_all(&self, commands: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let mut live = self.connection().await.map_err(unavailable)?;
        let answered = live.commands.send_packed_commands(commands, 0, commands.len()).await;
        match answered {
            Ok(values) => Ok(values),
            Err(error) => Err(self.judge(&live, &error, Asked::Read).await),
        }
    }

    fn script_command(&self, how: &str, which: &str, args: &[&[u8]]) -> Cmd {
        let mut command = redis::cmd(how);
        command.arg(which).arg(1).arg(self.keys.prefix());
        for arg in args {
            command.arg(*arg);
        }
        command
    }

    fn confirmed_within(&self) -> Duration {
        match self.demands.durability {
            Durability::Disk => ON_DISK_WITHIN,
            Durability::Fast | Durability::Replicated => REPLICATED_WITHIN,
        }
    }

    /// One command; when it has to be durable, its confirmation comes with it, for it counts what this connection
    /// has written.
    async fn send(
        &self,
        live: &mut Connection,
        command: &Cmd,
        durable: bool,
    ) -> Result<(Value, Option<RedisResult<Value>>), RedisError> {
        let within = self.confirmed_within().as_millis().to_string();
        let mut confirm = match self.demands.durability {
            _ if !durable => return Ok((live.ask(command).await?, None)),
            Durability::Fast => return Ok((live.ask(command).await?, None)),
            Durability::Replicated => redis::cmd("WAIT"),
            Durability::Disk => redis::cmd("WAITAOF"),
        };
        match self.demands.durability {
            Durability::Disk => confirm.arg(1).arg(0).arg(within),
            _ => confirm.arg(self.demands.replicas).arg(within),
        };
        let mut both = Pipeline::with_capacity(2);
        both.add_command(command.clone()).add_command(confirm);
        let mut answers = live.commands.send_packed_commands(&both, 0, 2).await?.into_iter();
        let mut next = || match answers.next() {
            Some(Value::ServerError(error)) => Err(RedisError::from(error)),
            other => Ok(other.unwrap_or_default()),
        };
        Ok((next()?, Some(next())))
    }

    /// The connection, made if there is none and the last failure was long enough ago.
    async fn connection(&self) -> Result<Connection, NoConnection> {
        let mut state = self.state.lock().await;
        if let Some(live) = &state.live {
            if !live.closing.is_cancelled() {
                return Ok(live.clone());
            }
            tracing::warn!(server = %live.peer, "the connection to Redis was lost");
            state.live = None;
        }
        let found = self.locator.found();
        if let Some((why, until, seen)) = &state.failed
            && self.env.clock.now() < *until
            && *seen == found
        {
            return Err(why.clone());
        }
        match self.connect().await {
            Ok(live) => {
                if state.failed.take().is_some() {
                    tracing::info!(server = %live.peer, "Redis can be used again");
                }
                self.locator.has_found();
                state.failures = 0;
                state.live = Some(live.clone());
                Ok(live)
            }
            Err(why) => {
                let doubled = FIRST_PAUSE * 2_u32.saturating_pow(state.failures.min(16));
                let pause = doubled.min(LONGEST_PAUSE).mul_f64(self.dice.lock().random_range(0.5..1.0));
                if state.failed.is_none() {
                    let (NoConnection::Now(reason) | NoConnection::AsItIs(reason)) = &why;
                    tracing::warn!(%reason, "Redis cannot be used now");
                }
                state.failures = state.failures.saturating_add(1);
                state.failed = Some((why.clone(), self.env.clock.now() + pause, found));
                Err(why)
            }
        }
    }

    async fn connect(&self) -> Result<Connection, NoConnection> {
        let mut live = self.locator.connect(ANSWER_WITHIN).await?;
        match self.demands.check(&mut live, &self.keys, self.locator.is_cluster()).await {
            Ok(()) => Ok(live),
            Err(error) => {
                live.closing.cancel();
                Err(error)
            }
        }
    }

    /// What an error means; a connection that is good for nothing any more is dropped, by whoever finds out first.
    async fn judge(&self, live: &Connection, error: &RedisError, asked: Asked) -> StoreError {
        let Failure { error, look_again } = failure(error, asked);
        if look_again {
            live.closing.cancel();
        }
        error
    }
}

fn unavailable(why: NoConnection) -> StoreError {
    let (NoConnection::Now(reason) | NoConnection::AsItIs(reason)) = why;
    StoreError::Unavailable(reason)
}
