//! What one network may have of something at a time. Who comes on top waits, and keeps nobody of another network waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::net::admission::network;

/// How many have one or wait for one, and those that are left.
type Known = HashMap<IpAddr, (usize, Arc<Semaphore>)>;

/// So many for each network, which is an IPv4 address or an IPv6 /64.
#[derive(Debug)]
pub struct Shares {
    most: usize,
    known: Mutex<Known>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Share {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// Who has one or waits for one: a network is known as long as it has somebody who does.
#[derive(Debug)]
struct Counted {
    shares: Arc<Shares>,
    network: IpAddr,
}

impl Shares {
    /// `most` at a time.
    pub fn new(most: usize) -> Self {
        Self { most, known: Mutex::default() }
    }

    /// Waits for one of the network of an address, canonical. May be given up.
    pub async fn enter(self: &Arc<Self>, address: IpAddr) -> Share {
        let network = network(address);
        let left = {
            let mut known = self.lock();
            let (count, left) = known.entry(network).or_insert_with(|| (0, Arc::new(Semaphore::new(self.most))));
            *count += 1;
            Arc::clone(left)
        };
        let counted = Counted { shares: Arc::clone(self), network };
        let permit = left.acquire_owned().await.expect("it is never closed");
        Share { _permit: permit, _counted: counted }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut known = self.shares.lock();
        if let Some((count, _)) = known.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                known.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_network_has_so_many_and_others_have_theirs() {
        let shares = Arc::new(Shares::new(2));
        let enter = async |text: &str| timeout(Duration::from_secs(1), shares.enter(text.parse().expect("an address"))).await.ok();
        let (first, second) = (enter("2001:db8::1").await, enter("2001:db8::2").await);
        assert!(first.is_some() && second.is_some());
        assert!(enter("2001:db8::ffff:3").await.is_none(), "the same /64");
        let others = [enter("2001:db8:0:1::1").await, enter("192.0.2.1").await, enter("192.0.2.1").await, enter("192.0.2.2").await];
        assert!(others.iter().all(Option::is_some));
        assert!(enter("192.0.2.1").await.is_none());
        // Who waits gets what is given back, and who gave up is in nobody's way.
        let waits = tokio::spawn({
            let shares = Arc::clone(&shares);
            async move { shares.enter("2001:db8::4".parse().expect("an address")).await }
        });
        tokio::task::yield_now().await;
        drop(first);
        let third = waits.await.expect("no panic");
        assert!(enter("2001:db8::5").await.is_none());
        drop((second, third, others));
        assert!(shares.lock().is_empty(), "nothing is remembered of who has gone");
    }
}
