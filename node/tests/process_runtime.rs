//! What a function may do to a worker, with real processes.
//!
//! The runtime under test sweeps orphans, so nothing else in this binary may start a process.
#![expect(clippy::disallowed_methods, reason = "a test owns its tasks")]

mod harness;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::queue::task::{Attempt, Origin};
use beatmesh_node::worker::runtime::local::LocalFunctions;
use beatmesh_node::worker::runtime::process::{Orphans, ProcessRuntime};
use beatmesh_node::worker::runtime::{Ended, Failure, Functions, STDERR_TAIL};
use bytes::Bytes;
use harness::*;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

static FUNCTIONS: LazyLock<LocalFunctions> = LazyLock::new(|| {
    LocalFunctions::new(ProcessRuntime::start("node-1", Orphans::Sweep).expect("a process runtime"))
});

/// Prints a pid that has left the group for a session of its own, before the script goes on: the
/// substitution returns when the escaped process has closed its end.
const ESCAPE: &str = "echo $(setsid sh -c 'echo $$; exec >&- 2>&-; exec sleep 1000' &)";

fn failed(ended: &Ended) -> &Failure {
    ended.result.as_ref().expect_err("a failure")
}

fn scratch(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("process_runtime");
    std::fs::create_dir_all(&dir).expect("a directory for this test");
    dir.join(name)
}

#[tokio::test]
async fn input_goes_in_and_the_answer_comes_out_in_order() {
    let mut cat = execution(process(&["cat"]));
    let input: String = (0..100_000).map(|n| format!("{n}\n")).collect();
    cat.input = Bytes::from(input.clone());
    let (ended, answer) = answer(&*FUNCTIONS, cat).await;
    assert_eq!(ended, Ended { result: Ok(()), stderr_tail: String::new() });
    assert!(answer == input.as_bytes(), "{} bytes of {}", answer.len(), input.len());
}

#[tokio::test]
async fn an_exit_code_comes_with_the_end_of_stderr() {
    let script = "i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1";
    let (ended, _) = answer(&*FUNCTIONS, shell(script)).await;
    assert_eq!(failed(&ended), &Failure::Exit(1));
    assert_eq!(ended.stderr_tail.len(), STDERR_TAIL);
    assert!(ended.stderr_tail.ends_with("line 1998\nline 1999\n"), "{}", ended.stderr_tail);
}

#[tokio::test]
async fn what_a_failing_program_has_written_is_passed_on() {
    for end in ["exit 1", "kill -KILL $$"] {
        let (ended, answer) = answer(&*FUNCTIONS, shell(&format!("head -c 60000 /dev/zero; {end}"))).await;
        assert!(ended.result.is_err());
        assert_eq!(answer.len(), 60_000, "{end}");
    }
}

#[tokio::test]
async fn a_signal_is_told_apart_from_an_exit_code() {
    let (ended, _) = answer(&*FUNCTIONS, shell("echo about to >&2; kill -USR1 $$")).await;
    assert_eq!(failed(&ended), &Failure::Signal(10));
    assert_eq!(ended.stderr_tail, "about to\n");
}

#[tokio::test]
async fn more_output_than_the_limit_kills() {
    let (ended, answer) = answer(&*FUNCTIONS, shell("echo $$; exec yes")).await;
    assert_eq!(failed(&ended), &Failure::OutputTooLarge(1024 * 1024));
    assert!(answer.len() <= 1024 * 1024, "{} bytes", answer.len());
    let line = answer.split(|byte| *byte == b'\n').next().expect("a line");
    gone(pids(line)[0]).await;
}

#[tokio::test]
async fn output_of_exactly_the_limit_is_an_answer() {
    for (size, result) in [(1000, Ok(())), (1001, Err(Failure::OutputTooLarge(1000)))] {
        let mut some = shell(&format!("head -c {size} /dev/zero"));
        some.output_limit = 1000;
        assert_eq!(answer(&*FUNCTIONS, some).await.0.result, result, "{size}");
    }
}

#[tokio::test]
async fn input_that_is_never_read_does_no_harm() {
    for program in ["true", "exec <&-; echo done", "head -c 10 >/dev/null"] {
        let mut deaf = shell(program);
        deaf.input = Bytes::from(vec![b'x'; 5_000_000]);
        assert_eq!(answer(&*FUNCTIONS, deaf).await.0.result, Ok(()), "{program}");
    }
}

#[tokio::test]
async fn stdout_closed_early_does_not_end_an_execution() {
    // The exit code comes after the pipe has ended, so it proves that the execution was waited for.
    let (ended, early) = answer(&*FUNCTIONS, shell("echo early; exec >&-; sleep 0.3; exit 7")).await;
    assert_eq!((failed(&ended), early.as_slice()), (&Failure::Exit(7), b"early\n".as_slice()));

    let mut stuck = shell("exec >&- 2>&-; exec sleep 1000");
    stuck.timeout = Duration::from_millis(300);
    let (ended, _) = answer(&*FUNCTIONS, stuck).await;
    assert!(matches!(failed(&ended), Failure::TimedOut(_)), "{ended:?}");
}

#[tokio::test]
async fn an_execution_past_its_timeout_is_killed() {
    for script in ["echo $$; exec sleep 1000", "trap '' TERM INT HUP; echo $$; while :; do sleep 1; done"] {
        let mut slow = shell(script);
        // Enough for the shell to start on a busy machine.
        slow.timeout = Duration::from_secs(2);
        let (ended, answer) = answer(&*FUNCTIONS, slow).await;
        assert_eq!(failed(&ended), &Failure::TimedOut(Duration::from_secs(2)));
        gone(pids(&answer)[0]).await;
    }
}

#[tokio::test]
async fn the_timeout_holds_while_nobody_takes_the_output() {
    let mut talker = shell("exec yes");
    talker.timeout = Duration::from_millis(300);
    let (sender, _full) = mpsc::channel(1);
    let ended = timeout(DEADLINE, FUNCTIONS.run(talker, sender)).await.expect("in time");
    assert!(matches!(failed(&ended), Failure::TimedOut(_)), "{ended:?}");
}

#[tokio::test]
async fn grandchildren_in_the_group_die_with_their_leader() {
    for end in ["exit 0", "exit 3", "kill -KILL $$", "exec sleep 1000"] {
        let mut parent = shell(&format!("sleep 1000 & echo $!; (sleep 1000 & echo $!); {end}"));
        parent.timeout = Duration::from_secs(2);
        let (_, answer) = answer(&*FUNCTIONS, parent).await;
        let grandchildren = pids(&answer);
        assert_eq!(grandchildren.len(), 2);
        for pid in grandchildren {
            gone(pid).await;
        }
    }
}

#[tokio::test]
async fn a_grandchild_that_escaped_the_group_is_swept_up() {
    let (ended, answer) = answer(&*FUNCTIONS, shell(ESCAPE)).await;
    assert_eq!(ended.result, Ok(()));
    gone(pids(&answer)[0]).await;
}

#[tokio::test]
async fn a_daemon_of_a_live_execution_is_spared_until_that_ends() {
    let (sender, mut output) = mpsc::channel(4);
    let live = FUNCTIONS.run(shell(&format!("{ESCAPE}; exec sleep 1000")), sender);
    let mut live = Box::pin(live);
    let daemon = tokio::select! {
        ended = &mut live => panic!("{ended:?}"),
        pid = next_pid(&mut output) => pid,
    };
    // A sweep has passed when it has taken the escaped process of another execution.
    let (_, other) = answer(&*FUNCTIONS, shell(ESCAPE)).await;
    gone(pids(&other)[0]).await;
    assert!(lives(daemon));
    drop(live);
    gone(daemon).await;
}

#[tokio::test]
async fn a_dropped_execution_is_killed_with_all_it_started() {
    let (sender, mut output) = mpsc::channel(4);
    let mut running = Box::pin(FUNCTIONS.run(shell("echo $$; sleep 1000 & echo $!; wait"), sender));
    let mut both = Vec::new();
    while both.len() < 2 {
        let chunk = tokio::select! {
            ended = &mut running => panic!("{ended:?}"),
            chunk = output.recv() => chunk.expect("output"),
        };
        both.extend(pids(&chunk));
    }
    assert!(both.iter().all(|pid| lives(*pid)));
    drop(running);
    for pid in both {
        gone(pid).await;
    }
}

#[tokio::test]
async fn an_execution_that_nobody_listens_to_is_killed() {
    let (sender, mut output) = mpsc::channel(4);
    let running = FUNCTIONS.run(shell("echo $$; exec sleep 1000"), sender);
    let leave = async {
        let pid = next_pid(&mut output).await;
        drop(output);
        pid
    };
    let (ended, pid) = tokio::join!(running, leave);
    assert!(matches!(failed(&ended), Failure::Lost(reason) if reason.contains("nobody")), "{ended:?}");
    gone(pid).await;
}

#[tokio::test]
async fn what_cannot_start_says_what_to_do() {
    let file = |name: &str, text: &str, mode: u32| {
        let path = scratch(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
        path.into_os_string().into_string().expect("a path in UTF-8")
    };
    let plain = &*file("plain.txt", "no program", 0o644);
    let orphan_script = &*file("orphan-script", "#!/no/such/interpreter\n", 0o755);
    // execvp would hand this one to a shell.
    let headless_script = &*file("headless-script", "echo from a shell\n", 0o755);
    let in_dir = |dir: &str| {
        let mut function = process(&["/bin/true"]);
        function.dir = Some(dir.into());
        function
    };
    for (function, parts) in [
        (process(&["no-such-program"]), ["`no-such-program`", "PATH"]),
        (process(&["/no/such/program"]), ["`/no/such/program`", "does not exist"]),
        (process(&[plain]), [plain, "chmod +x"]),
        (process(&[orphan_script]), [orphan_script, "interpreter"]),
        (process(&[headless_script]), [headless_script, "`#!`"]),
        (in_dir("/no/such/dir"), ["/no/such/dir", "`dir`"]),
        (in_dir(plain), [plain, "not a directory"]),
    ] {
        let (ended, _) = answer(&*FUNCTIONS, execution(function)).await;
        let Failure::NotStarted(reason) = failed(&ended) else { panic!("{ended:?}") };
        assert!(parts.iter().all(|part| reason.contains(part)), "{parts:?}: {reason}");
    }
}

#[tokio::test]
async fn a_function_starts_in_its_directory() {
    let mut function = process(&["pwd"]);
    function.dir = Some("/usr".into());
    assert_eq!(answer(&*FUNCTIONS, execution(function)).await.1, b"/usr\n");
}

#[tokio::test]
async fn a_program_is_searched_in_the_path_of_the_function() {
    let own = scratch("bin");
    std::fs::create_dir_all(&own).expect("a directory");
    let tool = own.join("tool-of-its-own");
    std::fs::write(&tool, "#!/bin/sh\necho found").expect("a file");
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).expect("a mode");
    let mut function = process(&["tool-of-its-own"]);
    let path = format!("/no/such/dir:{}:/usr/bin:/bin", own.display());
    function.env.insert("PATH".into(), path);
    assert_eq!(answer(&*FUNCTIONS, execution(function)).await.1, b"found\n");
}

#[tokio::test]
async fn the_environment_holds_what_was_promised_and_nothing_else() {
    // Not vacuous: the test's own environment has more than that.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let mut function = process(&["/usr/bin/env"]);
    function.env.insert("GREETING".into(), "hello world".into());
    function.env.insert("LANG".into(), "xx_YY".into());
    let mut asked = execution(function);
    asked.attempt = Attempt(3);
    asked.content_type = "text/plain".into();
    asked.origin =
        Origin::Schedule { schedule: "nightly".parse().expect("a name"), due: UnixMs(1_700_000_000_000) };
    let task = asked.task;

    let (_, text) = answer(&*FUNCTIONS, asked.clone()).await;
    let text = String::from_utf8(text).expect("UTF-8");
    let lines: BTreeSet<&str> = text.lines().collect();
    let inherited = ["PATH", "HOME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok().map(|value| format!("{name}={value}")));
    let expected: BTreeSet<String> = inherited
        .chain([
            "GREETING=hello world".into(),
            "LANG=xx_YY".into(),
            format!("BEATMESH_TASK={task}"),
            "BEATMESH_ATTEMPT=3".into(),
            "BEATMESH_FUNCTION=tried".into(),
            "BEATMESH_NODE=node-1".into(),
            "BEATMESH_CONTENT_TYPE=text/plain".into(),
            "BEATMESH_SCHEDULE=nightly".into(),
            "BEATMESH_DUE=1700000000000".into(),
        ])
        .collect();
    assert_eq!(lines, expected.iter().map(String::as_str).collect());

    asked.origin = Origin::Trigger { schedule: "nightly".parse().expect("a name") };
    let (_, text) = answer(&*FUNCTIONS, asked).await;
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.contains("BEATMESH_SCHEDULE=nightly\n") && !text.contains("BEATMESH_DUE"), "{text}");
}

#[tokio::test]
async fn arguments_are_never_read_by_a_shell() {
    let arguments = ["$HOME", "a b", "*", "; exit 9", "`id`", "'\"", "", "\n"];
    let mut command = vec!["printf", "<%s>"];
    command.extend(arguments);
    let (ended, answer) = answer(&*FUNCTIONS, execution(process(&command))).await;
    assert_eq!(ended.result, Ok(()));
    let expected: String = arguments.iter().map(|argument| format!("<{argument}>")).collect();
    assert_eq!(String::from_utf8(answer).expect("UTF-8"), expected);
}

#[tokio::test]
async fn signals_are_as_a_program_expects_them() {
    // Rust ignores SIGPIPE for itself; a program that inherits that never ends behind `head`.
    let (_, status) = answer(&*FUNCTIONS, execution(process(&["cat", "/proc/self/status"]))).await;
    let status = String::from_utf8(status).expect("UTF-8");
    let mask = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a mask");
        u64::from_str_radix(line.trim(), 16).expect("a mask")
    };
    const SIGPIPE: u64 = 1 << (13 - 1);
    assert_eq!((mask("SigBlk:"), mask("SigIgn:") & SIGPIPE), (0, 0));
}

#[tokio::test]
async fn no_descriptor_of_the_node_reaches_a_function() {
    // One that the node has inherited itself, so nobody has marked it close-on-exec.
    let inherited = std::fs::File::open("/dev/null").expect("a file");
    #[expect(unsafe_code, reason = "std opens everything close-on-exec")]
    // SAFETY: the descriptor is open, and the flag is an integer.
    let cleared = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&inherited), libc::F_SETFD, 0) };
    assert_eq!(cleared, 0);
    let (_, open) = answer(&*FUNCTIONS, execution(process(&["ls", "/proc/self/fd"]))).await;
    // The fourth is the listing's own.
    assert_eq!(String::from_utf8(open).expect("UTF-8"), "0\n1\n2\n3\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_run_at_the_same_time() {
    // Each names itself, then waits for an input that comes only when all have spoken.
    let (speak, mut spoken) = mpsc::channel(64);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let speak = speak.clone();
        running.spawn(async move {
            let (sender, mut output) = mpsc::channel(4);
            let waiting = FUNCTIONS.run(shell("echo $$; exec sleep 1000"), sender);
            let listen = async {
                speak.send(next_pid(&mut output).await).await.expect("the test listens");
                std::future::pending::<()>().await;
            };
            tokio::join!(waiting, listen);
        });
    }
    let mut all = BTreeSet::new();
    while all.len() < 64 {
        all.insert(timeout(DEADLINE, spoken.recv()).await.expect("in time").expect("a pid"));
    }
    assert!(all.iter().all(|pid| lives(*pid)));
    running.shutdown().await;
    for pid in all {
        gone(pid).await;
    }
}

#[tokio::test]
async fn builtins_answer_without_a_process() {
    let builtin = |handler: &str| {
        let text = format!("runtime = \"builtin\"\nhandler = \"{handler}\"");
        let mut execution = execution(toml::from_str(&text).expect("a function"));
        execution.input = Bytes::from_static(b"hello");
        execution
    };
    for (handler, expected) in [("noop", b"".as_slice()), ("echo", b"hello")] {
        let (ended, answer) = answer(&*FUNCTIONS, builtin(handler)).await;
        assert_eq!((ended.result, answer.as_slice()), (Ok(()), expected), "{handler}");
    }
    let mut small = builtin("echo");
    small.output_limit = 4;
    assert_eq!(answer(&*FUNCTIONS, small).await.0.result, Err(Failure::OutputTooLarge(4)));
    let (sender, _) = mpsc::channel(1);
    let deserted = FUNCTIONS.run(builtin("echo"), sender).await;
    assert!(matches!(deserted.result, Err(Failure::Lost(_))), "{deserted:?}");
}

#[tokio::test]
async fn an_input_is_dropped_as_soon_as_the_program_has_it() {
    struct Input(Vec<u8>, Arc<AtomicBool>);
    impl AsRef<[u8]> for Input {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Input {
        fn drop(&mut self) {
            self.1.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    // More than a pipe holds, so that the program must really have read it.
    let mut reads = shell("cat > /dev/null; echo read; exec sleep 30");
    reads.input = Bytes::from_owner(Input(vec![7; 1 << 20], dropped.clone()));
    let (sender, mut output) = mpsc::channel(4);
    let dropped_in_time = async {
        assert_eq!(output.recv().await.as_deref(), Some(&b"read\n"[..]));
        while !dropped.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        ended = FUNCTIONS.run(reads, sender) => panic!("it still runs: {ended:?}"),
        in_time = timeout(DEADLINE, dropped_in_time) => in_time.expect("dropped while the program runs"),
    }
}
