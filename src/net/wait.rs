//! Waiting for several sockets, a wake-up from other threads and a point in time, whichever comes first.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Wakes a waiting thread; cheap when it is awake already.
#[derive(Clone)]
pub struct Waker {
    inner: Arc<WakerInner>,
}

struct WakerInner {
    event: OwnedFd,
    raised: AtomicBool,
}

impl Waker {
    /// A waker that nobody has raised.
    ///
    /// # Errors
    /// The system's, where no descriptor is left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: creates a descriptor, which is owned from here on.
        let event = unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self { inner: Arc::new(WakerInner { event, raised: AtomicBool::new(false) }) })
    }

    /// Wakes the thread.
    pub fn wake(&self) {
        if !self.inner.raised.swap(true, Ordering::AcqRel) {
            let one = 1u64;
            // SAFETY: eight octets of a live integer; a full counter still reads as raised.
            unsafe { libc::write(self.inner.event.as_raw_fd(), ptr::from_ref(&one).cast(), 8) };
        }
    }

    /// Takes the raise back; call before looking for what it announced. The descriptor itself is emptied by [`wait`].
    pub fn clear(&self) {
        self.inner.raised.swap(false, Ordering::AcqRel);
    }

    /// Empties the descriptor. Whoever raised it may write late, after the raise was taken back: it is emptied whenever
    /// it is found readable, whatever `raised` says.
    fn drain(&self) {
        let mut count = 0u64;
        // SAFETY: eight octets of a live integer.
        unsafe { libc::read(self.inner.event.as_raw_fd(), ptr::from_mut(&mut count).cast(), 8) };
    }
}

/// Waits until one of `sockets` is readable, the waker is raised, or `timeout` is over (`None`: no end). Which sockets
/// are readable is told in `readable`.
///
/// # Errors
/// The system's; an interruption is none.
pub fn wait(sockets: &[RawFd], waker: &Waker, timeout: Option<Duration>, readable: &mut Vec<bool>) -> io::Result<()> {
    const MOST: usize = 8;
    let mut fds = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; MOST];
    let count = (sockets.len() + 1).min(MOST);
    fds[0].fd = waker.inner.event.as_raw_fd();
    for (slot, fd) in fds[1..].iter_mut().zip(sockets) {
        slot.fd = *fd;
    }
    let timeout = timeout.map(|span| libc::timespec { tv_sec: span.as_secs() as libc::time_t, tv_nsec: span.subsec_nanos().into() });
    let limit = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `count` valid pollfds, and a timespec (or none) that outlives the call.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), count as libc::nfds_t, limit, ptr::null()) };
    readable.clear();
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
    }
    if fds[0].revents != 0 {
        waker.drain();
    }
    readable.extend(fds[1..count].iter().map(|slot| slot.revents != 0));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// How long a wait of at most `most` takes.
    fn waits(waker: &Waker, most: Duration) -> Duration {
        let begun = Instant::now();
        wait(&[], waker, Some(most), &mut Vec::new()).expect("waits");
        begun.elapsed()
    }

    #[test]
    fn a_raise_ends_one_wait_and_one_only() {
        let waker = Waker::new().expect("a descriptor");
        let most = Duration::from_millis(50);
        waker.wake();
        waker.wake();
        assert!(waits(&waker, Duration::from_secs(60)) < Duration::from_secs(30));
        waker.clear();
        assert!(waits(&waker, most) >= most);
        waker.wake();
        assert!(waits(&waker, Duration::from_secs(60)) < Duration::from_secs(30), "it can be raised again");
    }

    #[test]
    fn a_write_that_comes_after_the_raise_was_taken_back_is_emptied_all_the_same() {
        let waker = Waker::new().expect("a descriptor");
        waker.wake();
        // As if the other thread had been stopped between its raise and its write.
        waker.inner.raised.store(false, Ordering::SeqCst);
        waker.clear();
        let most = Duration::from_millis(50);
        waits(&waker, most);
        waker.clear();
        assert!(waits(&waker, most) >= most, "the descriptor stays readable");
    }
}
