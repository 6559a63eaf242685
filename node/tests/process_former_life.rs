//! The next life of a node against everything that a former one may have left behind, and against everything
//! that only looks like it.

mod harness;

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use beatmesh_mesh::system::{SystemClock, SystemEntropy, SystemFiles};
use beatmesh_node::data_dir::DataDir;
use beatmesh_node::worker::runtime::process::{FormerLife, Mark, Orphans, ProcessRuntime};
use harness::*;

/// A place for data directories; removed when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("beatmesh-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One life on a data directory, which it holds, and the mark as its programs see it.
struct Life {
    _data_dir: DataDir,
    mark: Mark,
    value: String,
}

impl Life {
    async fn begin(path: &Path) -> Self {
        // A child of another test has all descriptors of this process, the lock too, until its exec.
        let mut data_dir = None;
        eventually("the data directory is free", || {
            data_dir = DataDir::take(&SystemFiles, &SystemClock, path).ok();
            data_dir.is_some()
        })
        .await;
        let data_dir = data_dir.expect("just taken");
        let mark = Mark::of_new_life(&data_dir, &SystemEntropy).expect("a mark");
        let runtime = ProcessRuntime::start("node-1", Orphans::Leave).expect("a runtime").marked(&mark);
        let (_, seen) = answer(&runtime, shell("printf %s $BEATMESH_LIFE")).await;
        Self { _data_dir: data_dir, mark, value: String::from_utf8(seen).expect("UTF-8") }
    }

    async fn end_former(&self) {
        FormerLife::begin_ending(&self.mark).expect("a thread").ended().await;
    }
}

/// A sleeper with this mark. Killed when dropped.
struct Sleeper(Child);

impl Sleeper {
    fn command(mark: &str) -> Command {
        let mut command = Command::new("sleep");
        command.arg("1000").env("BEATMESH_LIFE", mark);
        command
    }

    fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("sleep"))
    }

    fn group_of_its_own(mark: &str) -> Self {
        let mut command = Self::command(mark);
        command.process_group(0);
        Self::start(command)
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("pids are small")
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_none()
    }

    fn was_killed(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_some_and(|status| status.signal() == Some(9))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_next_life_kills_what_the_former_left_behind_and_nobody_else() {
    let place = Place::new("former-life");
    let first = Life::begin(&place.0.join("a")).await;
    let former = first.value.clone();
    drop(first);
    let life = Life::begin(&place.0.join("a")).await;
    let other = Life::begin(&place.0.join("b")).await;
    assert!(former != life.value && former != other.value);

    let mut own_group = Sleeper::start(Sleeper::command(&former));
    let mut leader = Sleeper::group_of_its_own(&former);
    let mut large = Sleeper::command(&former);
    // In front of the mark: environments are handed over in the order of their names.
    large.envs((10..25).map(|number| (format!("A{number}"), "x".repeat(100_000))));
    let mut large = Sleeper::start(large);
    let mut present = Sleeper::group_of_its_own(&life.value);
    let mut of_other = Sleeper::group_of_its_own(&other.value);
    let mut joined = Sleeper::command(&former);
    joined.process_group(of_other.pid());
    let mut joined = Sleeper::start(joined);

    life.end_former().await;

    assert!(leader.was_killed() && large.was_killed());
    assert!(own_group.was_killed(), "alone: this test is in the same group and goes on");
    assert!(joined.was_killed(), "alone: the group is a stranger's");
    assert!(of_other.lives(), "another node's");
    assert!(present.lives(), "this life's own");
}

#[tokio::test]
async fn whoever_hides_in_the_group_of_a_dead_program_dies_with_its_marked_members() {
    let place = Place::new("former-group");
    let former = Life::begin(&place.0).await.value;
    let mut program = Command::new("sh");
    program.args(["-c", "sleep 60 >&- & env -i sleep 60 >&- & echo $!; echo $$"]);
    program.env("BEATMESH_LIFE", &former).process_group(0).stdout(Stdio::piped());
    let mut program = program.spawn().expect("sh");
    let mut said = Vec::new();
    program.stdout.take().expect("its stdout").read_to_end(&mut said).expect("its answer");
    // Its end: the group has no leader any more.
    program.wait().expect("its end");
    let hidden = pids(&said)[0];
    let cleared = || std::fs::read(format!("/proc/{hidden}/environ")).is_ok_and(|bytes| bytes.is_empty());
    eventually("env has replaced itself", || cleared() && lives(hidden)).await;

    Life::begin(&place.0).await.end_former().await;

    eventually("it is dead", || !lives(hidden)).await;
}

#[tokio::test]
async fn a_copied_data_directory_does_not_kill_for_the_original() {
    let place = Place::new("former-copy");
    let (original, copy) = (place.0.join("original"), place.0.join("copy"));
    let running = Life::begin(&original).await;
    let mut sleeper = Sleeper::group_of_its_own(&running.value);
    std::fs::create_dir(&copy).expect("a directory");
    for file in std::fs::read_dir(&original).expect("the original").flatten() {
        std::fs::copy(file.path(), copy.join(file.file_name())).expect("a copy");
    }
    let twin = Life::begin(&copy).await;
    let token = |life: &Life| life.value.split('-').next().map(str::to_owned);
    assert_eq!(token(&twin), token(&running), "it is a copy indeed");
    twin.end_former().await;
    assert!(sleeper.lives());
}

#[tokio::test]
async fn more_than_can_be_killed_at_once_are_killed_all_the_same() {
    let place = Place::new("former-many");
    let former = Life::begin(&place.0).await.value;
    let mut sleepers: Vec<_> = (0..300).map(|_| Sleeper::start(Sleeper::command(&former))).collect();
    Life::begin(&place.0).await.end_former().await;
    assert!(sleepers.iter_mut().all(Sleeper::was_killed));
}
