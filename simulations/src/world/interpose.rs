//! The operating system's randomness and clocks on a trial's thread: decided by the seed, and still.
//!
//! A node takes time and dice through the seams, its libraries do not: ring draws keys, std seeds its hash
//! maps, chitchat picks partners, rustls looks at the calendar. All of them end in three functions of libc.
//! They are defined here, so the linker takes these; on threads that play no trial they do what libc does.
//!
//! Invariant: on a trial's thread nothing that comes from here depends on anything but the seed and the
//! order of the calls.
#![expect(unsafe_code, reason = "functions with C's interface stand in for those of libc")]

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_uint, c_void};

thread_local! {
    /// The state of the dice; `None` where no trial is played. Const and without a destructor: it can be
    /// read at any moment of a thread's life, also by the allocator.
    static DICE: Cell<Option<u64>> = const { Cell::new(None) };
    /// What every clock shows, in nanoseconds since 1970.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// Begins a trial on this thread; it has no end, because the thread ends with its trial.
pub fn begin(seed: u64, epoch_ns: u64) {
    DICE.set(Some(seed));
    NOW.set(epoch_ns);
}

/// SplitMix64 (Steele, Lea, Flood 2014): every bit of its state counts, and it needs no table.
fn draw(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, mixed ^ (mixed >> 31))
}

/// Fills from the trial's dice; `None` where no trial is played.
///
/// # Safety
/// `buffer` must be writable for `length` bytes.
unsafe fn fill(buffer: *mut c_void, length: usize) -> Option<isize> {
    let mut state = DICE.get()?;
    // SAFETY: the caller's promise.
    let bytes = (length > 0).then(|| unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) });
    for chunk in bytes.into_iter().flat_map(|bytes| bytes.chunks_mut(8)) {
        let (next, drawn) = draw(state);
        state = next;
        chunk.copy_from_slice(&drawn.to_le_bytes()[..chunk.len()]);
    }
    DICE.set(Some(state));
    Some(length.cast_signed())
}

/// The kernel's answer to a system call, with errno set as libc sets it.
///
/// # Safety
/// That of the system call.
#[cfg(target_arch = "x86_64")]
unsafe fn kernel(number: c_long, arguments: [c_long; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    let answer: c_long;
    // SAFETY: the kernel's calling convention: it changes rcx and r11 besides its answer.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    with_errno(answer)
}

/// As above.
///
/// # Safety
/// That of the system call.
#[cfg(target_arch = "aarch64")]
unsafe fn kernel(number: c_long, arguments: [c_long; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    let answer: c_long;
    // SAFETY: the kernel's calling convention.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => answer,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    with_errno(answer)
}

fn with_errno(answer: c_long) -> c_long {
    if !(-4095..0).contains(&answer) {
        return answer;
    }
    // SAFETY: this thread's errno is always there.
    unsafe { *libc::__errno_location() = c_int::try_from(-answer).unwrap_or(libc::EIO) };
    -1
}

/// Stands in for libc's.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    // SAFETY: the caller's promise is the same.
    unsafe {
        match fill(buffer, length) {
            Some(filled) => filled,
            None => {
                let arguments = [buffer as c_long, length as c_long, c_long::from(flags), 0, 0, 0];
                kernel(libc::SYS_getrandom, arguments) as isize
            }
        }
    }
}

/// Stands in for libc's. C gives it a variable number of arguments; in registers six are always there.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    // SAFETY: the caller's promise is the same.
    unsafe {
        if number == libc::SYS_getrandom
            && let Some(filled) = fill(a as *mut c_void, b as usize)
        {
            return filled as c_long;
        }
        kernel(number, [a, b, c, d, e, f])
    }
}

/// Stands in for libc's.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, shown: *mut libc::timespec) -> c_int {
    if DICE.get().is_some() {
        let now = NOW.get();
        let (seconds, rest) = (now / 1_000_000_000, now % 1_000_000_000);
        // SAFETY: the caller gives a place for the time.
        unsafe { *shown = libc::timespec { tv_sec: seconds as i64, tv_nsec: rest as i64 } };
        return 0;
    }
    // SAFETY: the caller's promise is the same.
    unsafe { kernel(libc::SYS_clock_gettime, [c_long::from(clock), shown as c_long, 0, 0, 0, 0]) as c_int }
}
