//! From the node's memory to another program without copying that memory.
//!
//! `fork` copies the page tables of the whole node, and every page touched afterwards is copied too: with
//! 500 MB resident, a start cost tens of milliseconds (measured). So the child is made as `posix_spawn` of
//! glibc makes it, with `CLONE_VM | CLONE_VFORK`: it borrows the memory while the forking thread sleeps
//! until the exec. `posix_spawn` itself cannot ask for the death signal.
//!
//! Invariant: the child touches nothing but its own stack, the [`Plan`] and system calls, and no signal
//! handler of the node can run in it.

use std::ffi::{CStr, CString, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use libc::{c_char, c_int, pid_t};

/// What is to run: ready for `execve`, so that nothing has to be computed in the child.
#[derive(Debug)]
pub(super) struct Program {
    /// Where the program may be, in the order of the search path.
    pub(super) paths: Vec<CString>,
    /// Its name and arguments.
    pub(super) arguments: Vec<CString>,
    /// `NAME=value` each.
    pub(super) environment: Vec<CString>,
    /// Where it starts; the node's own directory by default.
    pub(super) dir: Option<CString>,
}

/// A child that runs its program.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) pid: pid_t,
    pub(super) pidfd: OwnedFd,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Words of the child's stack: 64 KiB, of which it uses a few hundred bytes, in a debug build a few thousand.
const STACK: usize = 64 * 1024 / size_of::<u128>();

/// Starts programs; belongs to one thread, which must not end before they do.
pub(super) struct Launcher {
    parent: pid_t,
    stack: Box<[MaybeUninit<u128>]>,
}

/// What the child is told, and its one answer.
struct Plan {
    pipes: [RawFd; 3],
    paths: *const *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    dir: *const c_char,
    parent: pid_t,
    error: AtomicI32,
}

impl Launcher {
    /// Blocks every signal in the calling thread, for good: no handler may run in a child that still shares
    /// the node's memory.
    #[expect(unsafe_code, reason = "std has no interface to a thread's signal mask")]
    pub(super) fn for_this_thread(parent: pid_t) -> Self {
        // SAFETY: a sigset_t is plain data, filled before it is used.
        unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, ptr::null_mut());
        }
        Self { parent, stack: Box::new_uninit_slice(STACK) }
    }

    /// Starts the program as the leader of a new process group.
    ///
    /// # Errors
    /// The system's reason; then nothing runs and no zombie is left.
    pub(super) fn launch(&mut self, program: &Program) -> io::Result<Launched> {
        let (child_stdin, stdin) = io::pipe()?;
        let (stdout, child_stdout) = io::pipe()?;
        let (stderr, child_stderr) = io::pipe()?;
        let paths = pointers(&program.paths);
        let arguments = pointers(&program.arguments);
        let environment = pointers(&program.environment);
        let plan = Plan {
            pipes: [child_stdin.as_raw_fd(), child_stdout.as_raw_fd(), child_stderr.as_raw_fd()],
            paths: paths.as_ptr(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            dir: program.dir.as_deref().map_or(ptr::null(), CStr::as_ptr),
            parent: self.parent,
            error: AtomicI32::new(0),
        };
        let (pid, pidfd) = self.clone_child(&plan)?;
        match plan.error.load(Ordering::Acquire) {
            0 => {
                Ok(Launched { pid, pidfd, stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() })
            }
            error => {
                bury(pid);
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    #[expect(unsafe_code, reason = "there is no safe interface to clone")]
    fn clone_child(&mut self, plan: &Plan) -> io::Result<(pid_t, OwnedFd)> {
        let mut pidfd: c_int = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: the stack belongs to this launcher, is aligned to 16 bytes, and is used by one child at a
        // time, because CLONE_VFORK keeps this thread here until the child has called exec or has ended.
        // `plan` and what it points to outlive the call for the same reason. `child` never returns and
        // never unwinds. With CLONE_PIDFD the kernel writes a new descriptor to `pidfd`, which nobody else
        // owns.
        unsafe {
            let top = self.stack.as_mut_ptr().add(self.stack.len());
            let argument = ptr::from_ref(plan).cast_mut().cast::<c_void>();
            let pid = libc::clone(child, top.cast(), flags, argument, &raw mut pidfd);
            if pid == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok((pid, OwnedFd::from_raw_fd(pidfd)))
        }
    }
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// Runs in the child, in the node's memory.
#[expect(unsafe_code, reason = "between clone and exec there are only system calls")]
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `clone_child` passes a Plan that lives until this child has called exec or has ended. All calls
    // are async-signal-safe and allocate nothing; nothing here can panic. errno is the sleeping thread's.
    unsafe {
        let plan = &*plan.cast::<Plan>();
        plan.error.store(become_program(plan), Ordering::Release);
        libc::_exit(127)
    }
}

/// Returns only the number of an error.
///
/// # Safety
/// Only in the child of `clone_child`.
#[expect(unsafe_code, reason = "between clone and exec there are only system calls")]
unsafe fn become_program(plan: &Plan) -> c_int {
    // SAFETY: the pointers are those of a Plan: strings that end with NUL, lists that end with null. The
    // table of signal handlers is the child's own (no CLONE_SIGHAND), as are its descriptors (no CLONE_FILES).
    unsafe {
        // Handlers first, mask last: no handler of the node can run in between. What the node ignores
        // (SIGPIPE, or SIGHUP under nohup), a program does not expect to be ignored.
        let default: libc::sigaction = std::mem::zeroed();
        let mut signal = 1;
        while signal <= 64 {
            // Fails for the two that nobody can catch, and for those of the C library.
            libc::sigaction(signal, &raw const default, ptr::null_mut());
            signal += 1;
        }
        // std keeps 0 to 2 open in every program, so no pipe has one of these numbers.
        let [stdin, stdout, stderr] = plan.pipes;
        if libc::dup2(stdin, 0) == -1 || libc::dup2(stdout, 1) == -1 || libc::dup2(stderr, 2) == -1 {
            return *libc::__errno_location();
        }
        if libc::setpgid(0, 0) == -1 || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == -1 {
            return *libc::__errno_location();
        }
        // The node may have died before the line above took effect: then no signal will come.
        if libc::getppid() != plan.parent {
            return libc::ESRCH;
        }
        // Everything that the node opens is close-on-exec anyway; this covers what it has inherited itself.
        // Before Linux 5.11 the call fails, and that net is missing.
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        if !plan.dir.is_null() && libc::chdir(plan.dir) == -1 {
            return *libc::__errno_location();
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        first_that_runs(plan)
    }
}

/// As `execvp` searches, but a file that is no program is an error and not handed to a shell.
///
/// # Safety
/// Only in the child of `clone_child`.
#[expect(unsafe_code, reason = "between clone and exec there are only system calls")]
unsafe fn first_that_runs(plan: &Plan) -> c_int {
    let mut reason = libc::ENOENT;
    // SAFETY: as in `become_program`; the list of paths ends with null.
    unsafe {
        let mut path = plan.paths;
        while !(*path).is_null() {
            libc::execve(*path, plan.arguments, plan.environment);
            match *libc::__errno_location() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => reason = libc::EACCES,
                other => return other,
            }
            path = path.add(1);
        }
    }
    reason
}

/// Reaps a child that never became a program. It has ended already, or is about to.
#[expect(unsafe_code, reason = "waitpid has no safe interface for a pid that std did not start")]
fn bury(pid: pid_t) {
    // SAFETY: waitpid with a null status writes nothing. Every signal is blocked here: no EINTR.
    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
}
