//! The clients this broker hears from: their open streams, and when they last beat or asked for messages.
//!
//! Kept for deciding when a consumer is gone. Nothing else depends on it, so that it may be lost at any time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mainstay_proto::rocketmq::ClientType;
use parking_lot::Mutex;

/// Clients beat every 10 s, so this is two beats missed and some delay.
const SILENCE: Duration = Duration::from_secs(25);
/// A client unheard of for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(crate) struct Clients {
    by_id: Mutex<HashMap<String, Client>>,
}

#[derive(Debug)]
struct Client {
    kind: ClientType,
    /// A client may hold several.
    streams: u32,
    heard: Instant,
}

impl Client {
    fn alive(&self, now: Instant) -> bool {
        self.streams > 0 || now.saturating_duration_since(self.heard) < SILENCE
    }
}

impl Clients {
    /// The client called; `kind` unless the call does not tell.
    pub(crate) fn heard(&self, id: &str, kind: ClientType, now: Instant) {
        self.update(id, now, |client| {
            if kind != ClientType::Unspecified {
                client.kind = kind;
            }
        });
    }

    /// The client asks for messages. One that has the broker keep its leases is a push consumer, unless it said otherwise:
    /// after a start of this broker its settings may come minutes later.
    pub(crate) fn receives(&self, id: &str, auto_renew: bool, now: Instant) {
        self.update(id, now, |client| {
            if auto_renew && client.kind == ClientType::Unspecified {
                client.kind = ClientType::PushConsumer;
            }
        });
    }

    pub(crate) fn stream_opened(&self, id: &str, now: Instant) {
        self.update(id, now, |client| client.streams += 1);
    }

    pub(crate) fn stream_closed(&self, id: &str) {
        if let Some(client) = self.by_id.lock().get_mut(id) {
            client.streams = client.streams.saturating_sub(1);
        }
    }

    /// The client said that it ends.
    pub(crate) fn ended(&self, id: &str) {
        self.by_id.lock().remove(id);
    }

    pub(crate) fn kind(&self, id: &str) -> ClientType {
        self.by_id.lock().get(id).map_or(ClientType::Unspecified, |client| client.kind)
    }

    pub(crate) fn alive(&self, id: &str, now: Instant) -> bool {
        self.by_id.lock().get(id).is_some_and(|client| client.alive(now))
    }

    /// Drops what was not heard of for long.
    pub(crate) fn forget_silent(&self, now: Instant) {
        self.by_id.lock().retain(|_, client| {
            client.streams > 0 || now.saturating_duration_since(client.heard) < FORGOTTEN_AFTER
        });
    }

    fn update(&self, id: &str, now: Instant, change: impl FnOnce(&mut Client)) {
        let mut clients = self.by_id.lock();
        if let Some(client) = clients.get_mut(id) {
            client.heard = now;
            change(client);
        } else {
            let mut client = Client { kind: ClientType::Unspecified, streams: 0, heard: now };
            change(&mut client);
            clients.insert(id.to_owned(), client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_lives_as_long_as_a_stream_or_its_heartbeats() {
        let clients = Clients::default();
        let start = Instant::now();
        assert!(!clients.alive("c", start));
        clients.heard("c", ClientType::PushConsumer, start);
        assert!(clients.alive("c", start + SILENCE - Duration::from_millis(1)));
        assert!(!clients.alive("c", start + SILENCE));
        clients.stream_opened("c", start);
        clients.stream_opened("c", start);
        clients.stream_closed("c");
        assert!(clients.alive("c", start + FORGOTTEN_AFTER), "one of two streams is still open");
        assert_eq!(clients.kind("c"), ClientType::PushConsumer, "a stream does not change what it is");
        clients.forget_silent(start + FORGOTTEN_AFTER);
        assert!(clients.alive("c", start + FORGOTTEN_AFTER));
        clients.stream_closed("c");
        clients.stream_closed("c");
        assert!(!clients.alive("c", start + SILENCE));
        clients.forget_silent(start + FORGOTTEN_AFTER);
        assert!(clients.by_id.lock().is_empty());
    }

    #[test]
    fn a_client_that_receives_lives_and_is_what_it_asks_for_until_it_says_what_it_is() {
        let clients = Clients::default();
        let start = Instant::now();
        clients.receives("simple", false, start);
        assert_eq!(clients.kind("simple"), ClientType::Unspecified);
        clients.receives("push", true, start);
        assert_eq!(clients.kind("push"), ClientType::PushConsumer);
        for client in ["simple", "push"] {
            assert!(clients.alive(client, start + SILENCE - Duration::from_millis(1)));
            assert!(!clients.alive(client, start + SILENCE));
        }
        clients.heard("push", ClientType::LitePushConsumer, start);
        clients.receives("push", true, start + SILENCE);
        assert_eq!(clients.kind("push"), ClientType::LitePushConsumer);
        assert!(clients.alive("push", start + SILENCE));
    }

    #[test]
    fn a_client_that_ended_is_gone_at_once() {
        let clients = Clients::default();
        let now = Instant::now();
        clients.stream_opened("c", now);
        clients.ended("c");
        assert!(!clients.alive("c", now));
        clients.stream_closed("c");
        assert!(!clients.alive("c", now));
    }
}
