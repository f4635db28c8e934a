//! What this process asks of the system for itself.

#![allow(unsafe_code)]

use std::io;

/// Raises the limit of open descriptors to the most that is allowed; what it is then. Each connection takes one, and the
/// usual limit of 1,024 is far below what is configured to be served.
///
/// # Errors
/// The system's; the limit stays as it was.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit, written by the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid rlimit, only read by the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// Keeps other processes of the same user, and core dumps, from reading the memory in which keys are.
///
/// # Errors
/// The system's.
pub fn forbid_dumps() -> io::Result<()> {
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has the allocator give large blocks back to the system as soon as they are free, and not keep a heap for each thread that
/// allocates at the same time as another. Only the GNU C library takes advice; elsewhere nothing changes.
///
/// `heaps` is how many threads allocate at the same time most of the time.
pub fn keep_little_memory(heaps: usize) {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 64 << 10;
        const SPARE: libc::c_int = 1 << 20;
        let heaps = libc::c_int::try_from(heaps.max(1)).unwrap_or(libc::c_int::MAX);
        // SAFETY: takes numbers only, and is called before there are other threads.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_ARENA_MAX, heaps);
            // What is free at a heap's end is soon asked for again.
            libc::mallopt(libc::M_TRIM_THRESHOLD, SPARE);
        }
    }
}

/// Gives back to the system what of the heaps is free, wherever it lies: worth it after much was allocated that is not needed again.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number only, and locks the heaps itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// How long a turn on a processor is that [`take_short_turns`] asks for, in nanoseconds.
const TURN: u64 = 500_000;

/// Has the calling thread take short turns: where others are busy as well, the scheduler lets who asks for less have it sooner (EEVDF), and gives
/// it no more in all. Linux has that since 6.12; before, nothing changes. A thread that runs by another policy than the usual one stays as it is.
///
/// # Errors
/// The system's.
pub fn take_short_turns() -> io::Result<()> {
    let mut attributes = scheduling()?;
    if attributes.sched_policy != libc::SCHED_OTHER.unsigned_abs() {
        return Ok(());
    }
    attributes.sched_runtime = TURN;
    attributes.sched_flags = 0;
    // SAFETY: `attributes` is a valid sched_attr, only read by the call, and 0 the calling thread.
    if unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// How the calling thread is scheduled.
fn scheduling() -> io::Result<libc::sched_attr> {
    let mut attributes = libc::sched_attr {
        size: 0,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: `attributes` is a valid sched_attr of the size that is said, written by the call, and 0 the calling thread.
    if unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size_of::<libc::sched_attr>(), 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(attributes)
}

/// Asks a child process to end (SIGTERM). One that has ended is left alone.
pub fn terminate(child: &std::process::Child) {
    if let Ok(id) = libc::pid_t::try_from(child.id()) {
        // SAFETY: takes numbers only. The child is ours and not waited for while it is borrowed, so that the number is its own.
        unsafe { libc::kill(id, libc::SIGTERM) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_takes_short_turns_and_is_as_nice_as_before() {
        let before = scheduling().expect("Linux");
        take_short_turns().expect("no right is needed");
        let after = scheduling().expect("Linux");
        assert_eq!((after.sched_policy, after.sched_nice), (before.sched_policy, before.sched_nice));
        // A system that knows of turns says how long they are.
        if before.sched_runtime > 0 && before.sched_policy == libc::SCHED_OTHER.unsigned_abs() {
            assert_eq!(after.sched_runtime, TURN);
        }
    }

    #[test]
    fn the_limit_is_raised_to_what_is_allowed() {
        let raised = raise_descriptor_limit().expect("the hard limit may always be reached");
        assert_eq!(raise_descriptor_limit().expect("and again"), raised);
        let shown = std::fs::read_to_string("/proc/self/limits").expect("Linux");
        let line = shown.lines().find(|line| line.starts_with("Max open files")).expect("listed");
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(fields[3], fields[4], "soft and hard: {line}");
    }
}
