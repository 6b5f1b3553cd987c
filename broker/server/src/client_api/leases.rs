//! Deliveries whose lease the broker keeps alive for their consumer (`auto_renew`), and when which is due.
//!
//! The broker that has the consumer's connection keeps them: it alone knows whether the consumer lives. A consumer
//! shows the handle it was given, whatever renewals made of it since. When this broker goes, so do its notes: what is
//! not acknowledged is delivered again after the lease, and the consumer's old handle is void where it was renewed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mainstay_messaging::ReceiptHandle;
use mainstay_proto::rocketmq::Resource;
use parking_lot::Mutex;

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
    by_client: Mutex<HashMap<String, HashMap<ReceiptHandle, Lease>>>,
}

#[derive(Debug, Clone)]
struct Lease {
    group: Resource,
    topic: Resource,
    current: ReceiptHandle,
    granted: Instant,
    until: Instant,
}

/// A lease that something has to be done about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Due {
    pub(crate) client: String,
    pub(crate) group: Resource,
    pub(crate) topic: Resource,
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
        client: &str,
        group: &Resource,
        topic: &Resource,
        handles: impl Iterator<Item = ReceiptHandle>,
        now: Instant,
    ) {
        let mut by_client = self.by_client.lock();
        let leases = by_client.entry(client.to_owned()).or_default();
        for handle in handles {
            let (group, topic) = (group.clone(), topic.clone());
            let lease = Lease { group, topic, current: handle, granted: now, until: now + LEASE };
            if leases.insert(handle, lease).is_none() {
                self.held.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What the handle that `client` was given has become.
    pub(crate) fn current(&self, client: &str, given: ReceiptHandle) -> ReceiptHandle {
        if self.held.load(Ordering::Relaxed) == 0 {
            return given;
        }
        let by_client = self.by_client.lock();
        by_client.get(client).and_then(|leases| leases.get(&given)).map_or(given, |lease| lease.current)
    }

    /// The lease is not this broker's to renew any more.
    pub(crate) fn end(&self, client: &str, given: ReceiptHandle) {
        if self.held.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut by_client = self.by_client.lock();
        let Some(leases) = by_client.get_mut(client) else { return };
        if leases.remove(&given).is_some() {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
        if leases.is_empty() {
            by_client.remove(client);
        }
    }

    pub(crate) fn renewed(&self, client: &str, given: ReceiptHandle, current: ReceiptHandle, now: Instant) {
        let mut by_client = self.by_client.lock();
        if let Some(lease) = by_client.get_mut(client).and_then(|leases| leases.get_mut(&given)) {
            lease.current = current;
            lease.until = now + LEASE;
        }
    }

    /// Leases to renew or release. Released and lapsed ones are forgotten here and now.
    pub(crate) fn due(&self, now: Instant, alive: impl Fn(&str) -> bool) -> Vec<Due> {
        let mut due = Vec::new();
        if self.held.load(Ordering::Relaxed) == 0 {
            return due;
        }
        self.by_client.lock().retain(|client, leases| {
            let lives = alive(client);
            leases.retain(|given, lease| {
                let keep = now < lease.until && now.duration_since(lease.granted) < LONGEST_HOLD;
                let act = if lives { Act::Renew } else { Act::Release };
                if keep && (!lives || lease.until - now < RENEW_BELOW) {
                    due.push(lease.due(client, *given, act));
                }
                self.keep(lives && keep)
            });
            !leases.is_empty()
        });
        due
    }

    /// Forgets what `client` holds and returns it for release.
    pub(crate) fn release(&self, client: &str) -> Vec<Due> {
        let Some(leases) = self.by_client.lock().remove(client) else { return Vec::new() };
        self.held.fetch_sub(leases.len(), Ordering::Relaxed);
        leases.into_iter().map(|(given, lease)| lease.due(client, given, Act::Release)).collect()
    }

    fn keep(&self, keep: bool) -> bool {
        if !keep {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
        keep
    }
}

impl Lease {
    fn due(&self, client: &str, given: ReceiptHandle, act: Act) -> Due {
        Due {
            client: client.to_owned(),
            group: self.group.clone(),
            topic: self.topic.clone(),
            given,
            current: self.current,
            act,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABNyHQz";
    const SECOND: &str = "AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADnPBqX";

    fn handles() -> (ReceiptHandle, ReceiptHandle) {
        (FIRST.parse().unwrap(), SECOND.parse().unwrap())
    }

    fn name(name: &str) -> Resource {
        Resource { resource_namespace: String::new(), name: name.to_owned() }
    }

    fn granted(now: Instant) -> Leases {
        let leases = Leases::default();
        leases.grant("c", &name("g"), &name("t"), [handles().0].into_iter(), now);
        leases
    }

    #[test]
    fn a_living_consumer_keeps_its_lease_under_the_handle_it_knows() {
        let (first, second) = handles();
        let start = Instant::now();
        let leases = granted(start);
        assert_eq!(leases.due(start + Duration::from_secs(30), |_| true), vec![]);
        let later = start + Duration::from_secs(31);
        let due = leases.due(later, |_| true);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].given, due[0].current, due[0].act), (first, first, Act::Renew));
        leases.renewed("c", first, second, later);
        assert_eq!(leases.current("c", first), second);
        assert_eq!(leases.current("other", first), first);
        assert_eq!(leases.due(later + Duration::from_secs(30), |_| true), vec![]);
        assert_eq!(leases.due(later + Duration::from_secs(31), |_| true)[0].current, second);
        leases.end("c", first);
        assert_eq!(leases.current("c", first), first);
        assert_eq!(leases.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_consumer_that_is_gone_releases_at_once_and_only_once() {
        let start = Instant::now();
        let leases = granted(start);
        let due = leases.due(start + Duration::from_secs(1), |_| false);
        assert_eq!(due.iter().map(|due| due.act).collect::<Vec<_>>(), vec![Act::Release]);
        assert_eq!(leases.due(start + Duration::from_secs(1), |_| false), vec![]);
        assert_eq!(leases.held.load(Ordering::Relaxed), 0);

        let leases = granted(start);
        assert_eq!(leases.release("c").len(), 1);
        assert_eq!(leases.release("c"), vec![]);
        assert_eq!(leases.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_message_held_for_too_long_or_not_renewed_in_time_is_given_up() {
        let (first, second) = handles();
        let start = Instant::now();
        let leases = granted(start);
        assert_eq!(leases.due(start + LEASE, |_| true), vec![], "the lease has run out");
        assert_eq!(leases.held.load(Ordering::Relaxed), 0);

        let leases = granted(start);
        let mut now = start;
        while now < start + LONGEST_HOLD - Duration::from_secs(31) {
            now += Duration::from_secs(31);
            leases.renewed("c", first, second, now);
        }
        now += Duration::from_secs(31);
        assert_eq!(leases.due(now, |_| true), vec![]);
        assert_eq!(leases.held.load(Ordering::Relaxed), 0);
    }
}
