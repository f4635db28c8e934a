//! Work that takes long, and memory: done beside the threads that answer requests, so much of it at a time.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Done at a time in this process.
const AT_ONCE: usize = 2;
/// What may wait for that.
const WAITING: usize = 64;

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);
static WAITERS: AtomicUsize = AtomicUsize::new(0);

/// Too much waits, or the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too much is to be worked out")]
pub struct Busy;

/// A place to work at.
pub struct Bench {
    _place: SemaphorePermit<'static>,
}

/// Counts who waits, however that ends.
struct Waiter;

impl Waiter {
    fn new() -> Result<Self, Busy> {
        let waiter = Self;
        if WAITERS.fetch_add(1, Ordering::Relaxed) < WAITING { Ok(waiter) } else { Err(Busy) }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        WAITERS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Bench {
    /// Waits for one.
    ///
    /// # Errors
    /// Too many wait.
    pub async fn enter() -> Result<Self, Busy> {
        let _waiter = Waiter::new()?;
        PLACES.acquire().await.map(|place| Self { _place: place }).map_err(|_| Busy)
    }

    /// Works; the place is taken until that is done, also where nobody waits for it any more.
    ///
    /// # Errors
    /// The work has failed.
    pub async fn work<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let worked = tokio::task::spawn_blocking(move || {
            let _bench = self;
            work()
        });
        worked.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn so_much_is_done_at_once_and_so_much_waits() {
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut under_way = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE + WAITING + 40 {
            let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&most));
            under_way.spawn(async move {
                let bench = Bench::enter().await?;
                let work = move || {
                    most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(1));
                    at_once.fetch_sub(1, Ordering::SeqCst);
                };
                bench.work(work).await
            });
        }
        let ended = under_way.join_all().await;
        let done = ended.iter().filter(|ended| ended.is_ok()).count();
        assert!((WAITING..=AT_ONCE + WAITING + 20).contains(&done), "{done}");
        assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
        assert_eq!(WAITERS.load(Ordering::SeqCst), 0);
    }
}
