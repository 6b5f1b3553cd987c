//! Deliveries whose lease the broker keeps alive for their consumer (`auto_renew`), and when which is due.
//!
//! The broker that has the consumer's connection keeps them: it alone knows whether the consumer lives. A consumer
//! shows the handle it was given, whatever renewals made of it since. When this broker goes, so do its notes: what is
//! not acknowledged is delivered again after the lease, and the consumer's old handle is void where it was renewed.
//!
//! That a consumer lives does not show that it has what was written to it. A connection that ends soon after may have
//! taken the messages with it: their leases run out in their time, and the handles stay good until then. One that lasted
//! has delivered them: its end says nothing any more.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mainstay_messaging::ReceiptHandle;
use mainstay_proto::rocketmq::Resource;
use parking_lot::Mutex;

use super::access::Permit;
use super::clients::ClientKey;
use crate::listen::{DEAD_WITHIN, Life};

/// What one delivery or renewal grants.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// A lease with less left is renewed.
const RENEW_BELOW: Duration = Duration::from_secs(30);
/// A message held for longer is given up: its lease runs out.
const LONGEST_HOLD: Duration = Duration::from_secs(3 * 3600);

#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// Leases in all, so that calls of others cost no lock.
    held: AtomicUsize,
    by_client: Mutex<HashMap<ClientKey<'static>, HashMap<ReceiptHandle, Lease>>>,
}

/// Who has what one call brought, as which consumer group of which topic.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) client: ClientKey<'static>,
    pub(crate) group: Resource,
    pub(crate) topic: Resource,
    /// By which it was brought, where that is known.
    pub(crate) connection: Option<Life>,
    /// Of the user whose call it was, where there is access control.
    pub(crate) permit: Option<Permit>,
}

#[derive(Debug)]
struct Lease {
    holder: Arc<Holder>,
    current: ReceiptHandle,
    granted: Instant,
    until: Instant,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Written to a connection that is open.
    Sent,
    Arrived,
    /// Perhaps lost with its connection: not renewed any more.
    Lapsing,
}

/// A lease that something has to be done about.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) holder: Arc<Holder>,
    /// As the consumer knows it.
    pub(crate) given: ReceiptHandle,
    pub(crate) current: ReceiptHandle,
    pub(crate) act: Act,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Renew,
    /// The consumer is gone: the message may go to another.
    Release,
}

impl Leases {
    pub(crate) fn grant(
        &self,
        holder: &Arc<Holder>,
        handles: impl Iterator<Item = ReceiptHandle>,
        now: Instant,
    ) {
        let mut by_client = self.by_client.lock();
        let leases = by_client.entry(holder.client.clone()).or_default();
        for handle in handles {
            let (holder, until) = (Arc::clone(holder), now + LEASE);
            let lease = Lease { holder, current: handle, granted: now, until, stage: Stage::Sent };
            if leases.insert(handle, lease).is_none() {
                self.held.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What the handle that `client` was given has become.
    pub(crate) fn current(&self, client: &ClientKey<'_>, given: ReceiptHandle) -> ReceiptHandle {
        if self.held.load(Ordering::Relaxed) == 0 {
            return given;
        }
        let by_client = self.by_client.lock();
        by_client
            .get::<str>(client.borrow())
            .and_then(|leases| leases.get(&given))
            .map_or(given, |lease| lease.current)
    }

    /// The lease is not this broker's to renew any more. Returns what became of the handle, if there was a lease.
    pub(crate) fn end(&self, client: &ClientKey<'_>, given: ReceiptHandle) -> Option<ReceiptHandle> {
        if self.held.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut by_client = self.by_client.lock();
        let leases = by_client.get_mut::<str>(client.borrow())?;
        let ended = leases.remove(&given);
        if ended.is_some() {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
        if leases.is_empty() {
            by_client.remove::<str>(client.borrow());
        }
        ended.map(|lease| lease.current)
    }

    pub(crate) fn renewed(
        &self,
        client: &ClientKey<'_>,
        given: ReceiptHandle,
        current: ReceiptHandle,
        now: Instant,
    ) {
        let mut by_client = self.by_client.lock();
        if let Some(lease) =
            by_client.get_mut::<str>(client.borrow()).and_then(|leases| leases.get_mut(&given))
        {
            lease.current = current;
            lease.until = now + LEASE;
        }
    }

    /// Leases to renew or release. Released and lapsed ones are forgotten here and now.
    pub(crate) fn due(&self, now: Instant, alive: impl Fn(&ClientKey<'_>) -> bool) -> Vec<Due> {
        let mut due = Vec::new();
        if self.held.load(Ordering::Relaxed) == 0 {
            return due;
        }
        self.by_client.lock().retain(|client, leases| {
            let lives = alive(client);
            leases.retain(|given, lease| {
                lease.look_at_connection(now);
                let keep = now < lease.until && now.duration_since(lease.granted) < LONGEST_HOLD;
                let renew =
                    lease.stage != Stage::Lapsing && lease.until.saturating_duration_since(now) < RENEW_BELOW;
                if keep && !lives {
                    due.push(lease.due(*given, Act::Release));
                } else if keep && renew {
                    due.push(lease.due(*given, Act::Renew));
                }
                self.keep(lives && keep)
            });
            !leases.is_empty()
        });
        due
    }

    /// Forgets what `client` holds and returns it for release.
    pub(crate) fn release(&self, client: &ClientKey<'_>) -> Vec<Due> {
        let Some(leases) = self.by_client.lock().remove::<str>(client.borrow()) else { return Vec::new() };
        self.held.fetch_sub(leases.len(), Ordering::Relaxed);
        leases.into_iter().map(|(given, lease)| lease.due(given, Act::Release)).collect()
    }

    fn keep(&self, keep: bool) -> bool {
        if !keep {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
        keep
    }
}

impl Lease {
    fn due(&self, given: ReceiptHandle, act: Act) -> Due {
        Due { holder: Arc::clone(&self.holder), given, current: self.current, act }
    }

    fn look_at_connection(&mut self, now: Instant) {
        if self.stage != Stage::Sent {
            return;
        }
        if self.holder.connection.as_ref().is_some_and(|connection| !connection.is_open()) {
            self.stage = Stage::Lapsing;
        } else if now.duration_since(self.granted) >= DEAD_WITHIN {
            self.stage = Stage::Arrived;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABNyHQz";
    const SECOND: &str = "AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADnPBqX";

    fn key(id: &str) -> ClientKey<'_> {
        ClientKey::new(None, id)
    }

    fn handles() -> (ReceiptHandle, ReceiptHandle) {
        (FIRST.parse().unwrap(), SECOND.parse().unwrap())
    }

    fn name(name: &str) -> Resource {
        Resource { resource_namespace: String::new(), name: name.to_owned() }
    }

    fn granted(now: Instant) -> Leases {
        granted_over(None, now)
    }

    fn granted_over(connection: Option<Life>, now: Instant) -> Leases {
        let leases = Leases::default();
        let (group, topic) = (name("g"), name("t"));
        let holder = Holder { client: key("c").to_owned(), group, topic, connection, permit: None };
        leases.grant(&Arc::new(holder), [handles().0].into_iter(), now);
        leases
    }

    #[test]
    fn a_living_consumer_keeps_its_lease_under_the_handle_it_knows() {
        let (first, second) = handles();
        let start = Instant::now();
        let leases = granted(start);
        assert!(leases.due(start + Duration::from_secs(30), |_| true).is_empty());
        let later = start + Duration::from_secs(31);
        let due = leases.due(later, |_| true);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].given, due[0].current, due[0].act), (first, first, Act::Renew));
        leases.renewed(&key("c"), first, second, later);
        assert_eq!(leases.current(&key("c"), first), second);
        assert_eq!(leases.current(&key("other"), first), first);
        assert!(leases.due(later + Duration::from_secs(30), |_| true).is_empty());
        assert_eq!(leases.due(later + Duration::from_secs(31), |_| true)[0].current, second);
        leases.end(&key("c"), first);
        assert_eq!(leases.current(&key("c"), first), first);
        assert_eq!(leases.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_consumer_that_is_gone_releases_at_once_and_only_once() {
        let start = Instant::now();
        let leases = granted(start);
        let due = leases.due(start + Duration::from_secs(1), |_| false);
        assert_eq!(due.iter().map(|due| due.act).collect::<Vec<_>>(), vec![Act::Release]);
        assert!(leases.due(start + Duration::from_secs(1), |_| false).is_empty());
        assert_eq!(leases.held.load(Ordering::Relaxed), 0);

        let leases = granted(start);
        assert_eq!(leases.release(&key("c")).len(), 1);
        assert!(leases.release(&key("c")).is_empty());
        assert_eq!(leases.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_message_held_for_too_long_or_not_renewed_in_time_is_given_up() {
        let (first, second) = handles();
        let start = Instant::now();
        let leases = granted(start);
        assert!(leases.due(start + LEASE, |_| true).is_empty(), "the lease has run out");
        assert_eq!(leases.held.load(Ordering::Relaxed), 0);

        let leases = granted(start);
        let mut now = start;
        while now < start + LONGEST_HOLD - Duration::from_secs(31) {
            now += Duration::from_secs(31);
            leases.renewed(&key("c"), first, second, now);
        }
        now += Duration::from_secs(31);
        assert!(leases.due(now, |_| true).is_empty());
        assert_eq!(leases.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_may_be_lost_with_its_connection_is_not_renewed_and_stays_its_consumers_until_then() {
        let (first, second) = handles();
        let start = Instant::now();
        let (life, connection) = Life::for_test();
        let leases = granted_over(Some(life), start);
        let later = start + Duration::from_secs(31);
        assert_eq!(leases.due(later, |_| true)[0].act, Act::Renew, "the connection is open");
        leases.renewed(&key("c"), first, second, later);
        drop(connection);
        for seconds in [1, 31, 59] {
            assert!(leases.due(later + Duration::from_secs(seconds), |_| true).is_empty(), "{seconds} s");
            assert_eq!(leases.current(&key("c"), first), second, "it may be acknowledged all the same");
        }
        assert!(leases.due(later + LEASE, |_| true).is_empty());
        assert_eq!(leases.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_connection_that_lasted_has_delivered_and_may_end() {
        let (first, second) = handles();
        let start = Instant::now();
        let (life, connection) = Life::for_test();
        let leases = granted_over(Some(life), start);
        let later = start + Duration::from_secs(31);
        leases.renewed(&key("c"), first, second, later);
        assert_eq!(leases.due(start + DEAD_WITHIN, |_| true).len(), 0);
        drop(connection);
        let due = leases.due(later + Duration::from_secs(31), |_| true);
        assert_eq!((due.len(), due[0].act), (1, Act::Renew));
    }

    #[test]
    fn a_connection_that_ends_does_not_keep_a_consumer_that_is_gone_from_releasing() {
        let start = Instant::now();
        let (life, connection) = Life::for_test();
        let leases = granted_over(Some(life), start);
        drop(connection);
        assert!(leases.due(start, |_| true).is_empty());
        assert_eq!(leases.due(start, |_| false)[0].act, Act::Release);
        assert_eq!(leases.end(&key("c"), handles().0), None);
    }
}
