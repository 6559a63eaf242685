//! A node in production: the machine's own clock, network, threads and files, and an SQL database.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::MeshParts;
use beatmesh_mesh::env::Env;
use beatmesh_mesh::system::{Ending, OwnThread, SystemSpawner, environment};

use crate::assembly::{Node, Parts, StartError};
use crate::config::{ApiKeys, Settings, secret};
use crate::data_dir::{DataDir, DataDirError};
use crate::signals::Signals;
use crate::stores::Stores;
use crate::worker::runtime::local::LocalFunctions;
use crate::worker::runtime::process::{FormerLife, Mark, Orphans, ProcessRuntime};

/// How long tasks may take to end after they were told to, before the process ends anyway.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// Runs a node in the foreground until a signal or a fault stops it.
///
/// # Errors
/// [`StartError`].
pub fn run(settings: &Settings) -> Result<(), StartError> {
    let system = |error: std::io::Error| StartError::System(error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("beatmesh")
        .enable_all()
        .build()
        .map_err(system)?;
    let mesh_thread = OwnThread::start("beatmesh-mesh").map_err(system)?;
    let ended = runtime.block_on(run_until_stopped(settings, &mesh_thread));
    // What is left has been given its time.
    runtime.shutdown_timeout(LAST_TASKS);
    ended
}

async fn run_until_stopped(settings: &Settings, mesh_thread: &OwnThread) -> Result<(), StartError> {
    let system = |error: std::io::Error| StartError::System(error.to_string());
    let mut signals = Signals::listen().map_err(system)?;
    let ending = Ending::default();
    let spawner = |handle| Arc::new(SystemSpawner::new(handle, ending.clone()));
    let env = environment(spawner(tokio::runtime::Handle::current()), spawner(mesh_thread.handle()));
    let (node, stores) = match start_unless_asked(&env, settings, &ending, &mut signals).await {
        Err(StartError::Asked) => return Ok(()),
        started => started?,
    };
    let outcome = tokio::select! {
        () = signals.asked() => Ok(()),
        // Asked while it started.
        () = ending.stopping.cancelled() => Ok(()),
        () = ending.fault.cancelled() => Err(StartError::Stopped("a part of it failed; see the log".to_owned())),
        (_, why) = node.identity_taken() => Err(StartError::Stopped(why)),
    };
    ending.stopping.cancel();
    let stopping = async {
        node.stop(settings.limits.shutdown.0).await;
        stores.close().await;
    };
    tokio::select! {
        () = stopping => {}
        // A second signal: now.
        () = signals.asked() => tracing::warn!("stopping at once"),
    }
    outcome
}

/// Starts the node. A signal does not break the start off, because others may know of the node by then:
/// it goes on as far as needed for an orderly end. A second signal does.
async fn start_unless_asked(
    env: &Env,
    settings: &Settings,
    ending: &Ending,
    signals: &mut Signals,
) -> Result<(Node, Stores), StartError> {
    let mut starting = std::pin::pin!(start(env, settings, ending));
    tokio::select! {
        started = &mut starting => return started,
        () = signals.asked() => {}
    }
    tracing::info!("asked to stop while starting");
    ending.stopping.cancel();
    tokio::select! {
        started = starting => started,
        () = signals.asked() => Err(StartError::Asked),
    }
}

async fn start(env: &Env, settings: &Settings, ending: &Ending) -> Result<(Node, Stores), StartError> {
    let security = |error: &dyn std::fmt::Display| StartError::Security(error.to_string());
    let data_dir = DataDir::take(&*env.files, &*env.clock, &settings.node.data_dir)?;
    // From here on every former life of this node is dead. Its remains are cleared away beside the rest of
    // the start.
    let mark = Mark::of_new_life(&data_dir, &*env.entropy)
        .map_err(|reason| DataDirError::Unusable { path: data_dir.path().display().to_string(), reason })?;
    let system = |error: std::io::Error| StartError::System(error.to_string());
    let former_life = FormerLife::begin_ending(&mark).map_err(system)?;
    let secret = secret::of(settings).map_err(|error| security(&error))?;
    let keys = settings.security.api_keys_file.as_deref().map(ApiKeys::read).transpose();
    let keys = keys.map_err(|error| security(&error))?;

    let opening = ending.stopping.run_until_cancelled(Stores::open(env, settings));
    let stores = opening.await.ok_or(StartError::Asked)??;
    let processes = ProcessRuntime::start(settings.node.name.as_str(), Orphans::Sweep);
    let processes = processes.map_err(system)?.marked(&mark);
    let parts = Parts {
        store: stores.catalogue(),
        seeds: stores.database.clone(),
        queue: stores.queue(),
        functions: Arc::new(LocalFunctions::new(processes)),
        stopping: ending.stopping.clone(),
        mesh: MeshParts::default(),
    };
    // Before this life runs a task, nothing of the last one does any more.
    former_life.ended().await;
    match Node::start(env.clone(), settings, data_dir, &secret, keys, parts).await {
        Ok(node) => Ok((node, stores)),
        Err(error) => {
            ending.stopping.cancel();
            stores.close().await;
            Err(error)
        }
    }
}
