//! The clients this broker hears from: their open streams, and when they last beat or asked for messages.
//!
//! Kept for deciding when a consumer is gone. Nothing else depends on it, so that it may be lost at any time.

use std::borrow::{Borrow, Cow};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use mainstay_proto::rocketmq::ClientType;
use parking_lot::Mutex;

/// Clients beat every 10 s, so this is two beats missed and some delay.
const SILENCE: Duration = Duration::from_secs(25);
/// A client unheard of for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// In no user's name, and in no client id, since no header's text may have it.
const AFTER_USER: char = '\n';

/// A client as this broker tells it from others: by its id, and where there is access control by its user too. An id proves
/// nothing, so that two users who call themselves the same have a client each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientKey<'a>(Cow<'a, str>);

impl<'a> ClientKey<'a> {
    /// `user` is `None` without access control.
    pub(super) fn new(user: Option<&str>, id: &'a str) -> Self {
        Self(match user {
            Some(user) => Cow::Owned(format!("{user}{AFTER_USER}{id}")),
            None => Cow::Borrowed(id),
        })
    }

    pub(super) fn into_owned(self) -> ClientKey<'static> {
        ClientKey(Cow::Owned(self.0.into_owned()))
    }

    pub(super) fn to_owned(&self) -> ClientKey<'static> {
        self.clone().into_owned()
    }

    /// As the client calls itself.
    pub(super) fn id(&self) -> &str {
        self.0.rsplit(AFTER_USER).next().unwrap_or_default()
    }
}

/// For looking one up without owning it.
impl Borrow<str> for ClientKey<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Default)]
pub(crate) struct Clients {
    by_key: Mutex<HashMap<ClientKey<'static>, Client>>,
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
    pub(crate) fn heard(&self, key: &ClientKey<'_>, kind: ClientType, now: Instant) {
        self.update(key, now, |client| {
            if kind != ClientType::Unspecified {
                client.kind = kind;
            }
        });
    }

    /// The client asks for messages. One that has the broker keep its leases is a push consumer, unless it said otherwise:
    /// after a start of this broker its settings may come minutes later.
    pub(crate) fn receives(&self, key: &ClientKey<'_>, auto_renew: bool, now: Instant) {
        self.update(key, now, |client| {
            if auto_renew && client.kind == ClientType::Unspecified {
                client.kind = ClientType::PushConsumer;
            }
        });
    }

    pub(crate) fn stream_opened(&self, key: &ClientKey<'_>, now: Instant) {
        self.update(key, now, |client| client.streams += 1);
    }

    pub(crate) fn stream_closed(&self, key: &ClientKey<'_>) {
        if let Some(client) = self.by_key.lock().get_mut::<str>(key.borrow()) {
            client.streams = client.streams.saturating_sub(1);
        }
    }

    /// The client said that it ends.
    pub(crate) fn ended(&self, key: &ClientKey<'_>) {
        self.by_key.lock().remove::<str>(key.borrow());
    }

    pub(crate) fn kind(&self, key: &ClientKey<'_>) -> ClientType {
        self.by_key.lock().get::<str>(key.borrow()).map_or(ClientType::Unspecified, |client| client.kind)
    }

    pub(crate) fn alive(&self, key: &ClientKey<'_>, now: Instant) -> bool {
        self.by_key.lock().get::<str>(key.borrow()).is_some_and(|client| client.alive(now))
    }

    /// Drops what was not heard of for long.
    pub(crate) fn forget_silent(&self, now: Instant) {
        self.by_key.lock().retain(|_, client| {
            client.streams > 0 || now.saturating_duration_since(client.heard) < FORGOTTEN_AFTER
        });
    }

    fn update(&self, key: &ClientKey<'_>, now: Instant, change: impl FnOnce(&mut Client)) {
        let mut clients = self.by_key.lock();
        if let Some(client) = clients.get_mut::<str>(key.borrow()) {
            client.heard = now;
            change(client);
        } else {
            let mut client = Client { kind: ClientType::Unspecified, streams: 0, heard: now };
            change(&mut client);
            clients.insert(key.to_owned(), client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> ClientKey<'_> {
        ClientKey::new(None, id)
    }

    #[test]
    fn users_that_share_a_client_id_have_a_client_each() {
        let [ann, ben] = ["ann", "ben"].map(|user| ClientKey::new(Some(user), "c"));
        assert_eq!((ann.id(), ben.id(), key("c").id()), ("c", "c", "c"));
        let clients = Clients::default();
        let start = Instant::now();
        clients.heard(&ann, ClientType::PushConsumer, start);
        clients.heard(&ben, ClientType::Producer, start + SILENCE);
        assert_eq!(clients.kind(&ann), ClientType::PushConsumer);
        assert!(!clients.alive(&ann, start + SILENCE));
        clients.ended(&ann);
        assert!(clients.alive(&ben, start + SILENCE));
        assert!(!clients.alive(&key("c"), start));
    }

    #[test]
    fn a_client_lives_as_long_as_a_stream_or_its_heartbeats() {
        let clients = Clients::default();
        let start = Instant::now();
        assert!(!clients.alive(&key("c"), start));
        clients.heard(&key("c"), ClientType::PushConsumer, start);
        assert!(clients.alive(&key("c"), start + SILENCE - Duration::from_millis(1)));
        assert!(!clients.alive(&key("c"), start + SILENCE));
        clients.stream_opened(&key("c"), start);
        clients.stream_opened(&key("c"), start);
        clients.stream_closed(&key("c"));
        assert!(clients.alive(&key("c"), start + FORGOTTEN_AFTER), "one of two streams is still open");
        assert_eq!(clients.kind(&key("c")), ClientType::PushConsumer, "a stream does not change what it is");
        clients.forget_silent(start + FORGOTTEN_AFTER);
        assert!(clients.alive(&key("c"), start + FORGOTTEN_AFTER));
        clients.stream_closed(&key("c"));
        clients.stream_closed(&key("c"));
        assert!(!clients.alive(&key("c"), start + SILENCE));
        clients.forget_silent(start + FORGOTTEN_AFTER);
        assert!(clients.by_key.lock().is_empty());
    }

    #[test]
    fn a_client_that_receives_lives_and_is_what_it_asks_for_until_it_says_what_it_is() {
        let clients = Clients::default();
        let start = Instant::now();
        clients.receives(&key("simple"), false, start);
        assert_eq!(clients.kind(&key("simple")), ClientType::Unspecified);
        clients.receives(&key("push"), true, start);
        assert_eq!(clients.kind(&key("push")), ClientType::PushConsumer);
        for client in ["simple", "push"] {
            assert!(clients.alive(&key(client), start + SILENCE - Duration::from_millis(1)));
            assert!(!clients.alive(&key(client), start + SILENCE));
        }
        clients.heard(&key("push"), ClientType::LitePushConsumer, start);
        clients.receives(&key("push"), true, start + SILENCE);
        assert_eq!(clients.kind(&key("push")), ClientType::LitePushConsumer);
        assert!(clients.alive(&key("push"), start + SILENCE));
    }

    #[test]
    fn a_client_that_ended_is_gone_at_once() {
        let clients = Clients::default();
        let now = Instant::now();
        clients.stream_opened(&key("c"), now);
        clients.ended(&key("c"));
        assert!(!clients.alive(&key("c"), now));
        clients.stream_closed(&key("c"));
        assert!(!clients.alive(&key("c"), now));
    }
}
