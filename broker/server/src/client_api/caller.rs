//! Who calls and until when: what a request's metadata says.
//!
//! Every call is answered before its deadline; a margin is kept back for the way of the answer.

use std::time::{Duration, Instant};

use mainstay_proto::rocketmq::Code;
use tonic::Request;
use tonic::metadata::{KeyAndValueRef, MetadataMap, MetadataValue};

use super::access::Permit;
use super::clients::ClientKey;
use super::refusal::{Checked, Refusal};
use crate::listen::Life;

/// Counts how often a call was passed on between brokers.
const HOPS_HEADER: &str = "x-mainstay-hops";
/// What clients say about themselves begins so.
const CLIENT_HEADERS: &str = "x-mq-";
const CLIENT_ID_HEADER: &str = "x-mq-client-id";
const LANGUAGE_HEADER: &str = "x-mq-language";
const VERSION_HEADER: &str = "x-mq-client-version";
const TIMEOUT_HEADER: &str = "grpc-timeout";

/// What a client waits for a unary call when it names no time.
const DEFAULT_BUDGET: Duration = Duration::from_secs(3);
/// No unary call is held longer, whatever the client would wait.
const LONGEST_BUDGET: Duration = Duration::from_secs(30);
/// Kept back from the client's deadline, at most a tenth of it.
const MARGIN: Duration = Duration::from_millis(150);

/// What a client can make of status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Current,
    /// The published Rust client: a code younger than itself makes it panic.
    Rust500,
}

impl Dialect {
    /// The code as this client can read it: the general one of the family where it does not know `code`.
    pub(crate) const fn code(self, code: Code) -> Code {
        match (self, code) {
            (Self::Rust500, Code::IllegalOffset | Code::IllegalLiteTopic | Code::InvalidClientProperties) => {
                Code::BadRequest
            }
            (Self::Rust500, Code::OffsetNotFound) => Code::NotFound,
            (Self::Rust500, Code::MessageBodyEmpty) => Code::PayloadTooLarge,
            (Self::Rust500, Code::LiteTopicQuotaExceeded | Code::LiteSubscriptionQuotaExceeded) => {
                Code::TooManyRequests
            }
            _ => code,
        }
    }
}

/// Which port a call came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Client,
    /// Another broker, which answers the client.
    Broker,
}

/// The metadata of one call.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    metadata: MetadataMap,
    pub(crate) dialect: Dialect,
    pub(crate) received: Instant,
    /// What the client itself waits, when it says so.
    timeout: Option<Duration>,
    /// How often the call was passed on already; clients have no say in it.
    pub(crate) hops: u32,
    /// By which a client's own call came in.
    pub(crate) connection: Option<Life>,
    /// Of the user whose call it is, where this broker has checked that.
    pub(crate) permit: Option<Permit>,
}

impl Caller {
    pub(crate) fn new(metadata: MetadataMap, origin: Origin) -> Self {
        let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
        let rust_500 = text(LANGUAGE_HEADER).is_some_and(|language| language.eq_ignore_ascii_case("RUST"))
            && text(VERSION_HEADER) == Some("5.0.0");
        let hops = match origin {
            Origin::Client => 0,
            Origin::Broker => text(HOPS_HEADER).and_then(|hops| hops.parse().ok()).unwrap_or(1),
        };
        Self {
            dialect: if rust_500 { Dialect::Rust500 } else { Dialect::Current },
            received: Instant::now(),
            timeout: text(TIMEOUT_HEADER).and_then(parse_timeout),
            hops,
            connection: None,
            permit: None,
            metadata,
        }
    }

    /// The broker itself, acting for a client of its own.
    pub(crate) fn on_behalf_of(client: &str) -> Self {
        let mut metadata = MetadataMap::new();
        if let Ok(id) = client.parse() {
            metadata.insert(CLIENT_ID_HEADER, id);
        }
        Self::new(metadata, Origin::Client)
    }

    /// Whether the metadata have this entry, whatever its value.
    pub(crate) fn says(&self, header: &str) -> bool {
        self.metadata.contains_key(header)
    }

    /// Absent only where the call does not need one.
    pub(crate) fn client_id(&self) -> Option<&str> {
        let id = self.metadata.get(CLIENT_ID_HEADER)?.to_str().ok()?;
        (!id.trim().is_empty()).then_some(id)
    }

    /// The client, as the log names who asked for something.
    pub(crate) fn name(&self) -> String {
        self.client_id().unwrap_or_default().to_owned()
    }

    /// The same call, passed on: what the client said about itself, one hop more, and the time that is left.
    pub(crate) fn pass_on<T>(&self, message: T, until: Instant) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        for entry in self.metadata.iter() {
            if let KeyAndValueRef::Ascii(name, value) = entry
                && name.as_str().starts_with(CLIENT_HEADERS)
            {
                metadata.insert(name, value.clone());
            }
        }
        metadata.insert(HOPS_HEADER, MetadataValue::from(self.hops + 1));
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        request
    }

    /// # Errors
    /// `CLIENT_ID_REQUIRED` when the call names no client.
    pub(crate) fn require_client_id(&self) -> Checked<&str> {
        self.client_id().ok_or_else(|| {
            Refusal::new(Code::ClientIdRequired, format!("metadata '{CLIENT_ID_HEADER}' is missing or blank"))
        })
    }

    /// Absent only where the call does not need one.
    pub(crate) fn client(&self) -> Option<ClientKey<'_>> {
        let user = self.permit.as_ref().map(Permit::user);
        self.client_id().map(|id| ClientKey::new(user, id))
    }

    /// # Errors
    /// As [`Caller::require_client_id`].
    pub(crate) fn require_client(&self) -> Checked<ClientKey<'_>> {
        let user = self.permit.as_ref().map(Permit::user);
        self.require_client_id().map(|id| ClientKey::new(user, id))
    }

    /// When the answer of a unary call has to be on its way.
    pub(crate) fn deadline(&self) -> Instant {
        self.received + less_margin(self.timeout.unwrap_or(DEFAULT_BUDGET).min(LONGEST_BUDGET))
    }

    /// When the answer of a long poll has to be on its way; `None` when the client waits for ever.
    pub(crate) fn poll_deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| self.received.checked_add(less_margin(timeout)))
    }
}

fn less_margin(budget: Duration) -> Duration {
    budget - MARGIN.min(budget / 10)
}

/// Reads a gRPC timeout: up to eight digits and a unit.
pub(super) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(headers: &[(&'static str, &str)]) -> Caller {
        let mut metadata = MetadataMap::new();
        for (name, value) in headers {
            metadata.insert(*name, value.parse().unwrap());
        }
        Caller::new(metadata, Origin::Client)
    }

    #[test]
    fn timeouts_are_read_in_every_unit() {
        for (text, expected) in [
            ("3S", Some(Duration::from_secs(3))),
            ("2999m", Some(Duration::from_millis(2999))),
            ("2999999u", Some(Duration::from_micros(2_999_999))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("1M", Some(Duration::from_secs(60))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("123456789S", None),
            ("-1S", None),
            ("3s", None),
            ("3é", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }

    #[test]
    fn the_deadline_leaves_a_margin() {
        let named = caller(&[("grpc-timeout", "3S")]);
        assert_eq!(named.deadline() - named.received, Duration::from_millis(2850));
        let short = caller(&[("grpc-timeout", "100m")]);
        assert_eq!(short.deadline() - short.received, Duration::from_millis(90));
        let silent = caller(&[]);
        assert_eq!(silent.deadline() - silent.received, Duration::from_millis(2850));
        assert_eq!(silent.poll_deadline(), None);
        let decades = caller(&[("grpc-timeout", "99999999H")]);
        assert!(decades.deadline() - decades.received <= LONGEST_BUDGET);
    }

    #[test]
    fn what_is_passed_on_keeps_the_client_and_counts_hops() {
        let first =
            caller(&[("x-mq-client-id", "a@1"), ("authorization", "secret"), ("x-mainstay-hops", "7")]);
        assert_eq!(first.hops, 0, "a client cannot set its hops");
        let passed = first.pass_on((), Instant::now() + Duration::from_secs(2)).metadata().clone();
        assert!(!passed.contains_key("authorization"));
        let second = Caller::new(passed, Origin::Broker);
        assert_eq!((second.client_id(), second.hops), (Some("a@1"), 1));
        assert!(second.deadline() <= second.received + Duration::from_secs(2));
        let third = Caller::new(second.pass_on((), Instant::now()).metadata().clone(), Origin::Broker);
        assert_eq!(third.hops, 2);
    }

    #[test]
    fn a_blank_client_id_is_none() {
        let refusal = caller(&[("x-mq-client-id", "  ")]).require_client_id().unwrap_err();
        assert_eq!(refusal.code, Code::ClientIdRequired);
        assert_eq!(caller(&[("x-mq-client-id", "a@1")]).require_client_id(), Ok("a@1"));
    }

    #[test]
    fn the_published_rust_client_never_sees_a_code_it_does_not_know() {
        let old = caller(&[("x-mq-language", "RUST"), ("x-mq-client-version", "5.0.0")]).dialect;
        for (code, general) in [
            (Code::IllegalOffset, Code::BadRequest),
            (Code::IllegalLiteTopic, Code::BadRequest),
            (Code::InvalidClientProperties, Code::BadRequest),
            (Code::OffsetNotFound, Code::NotFound),
            (Code::MessageBodyEmpty, Code::PayloadTooLarge),
            (Code::LiteTopicQuotaExceeded, Code::TooManyRequests),
            (Code::LiteSubscriptionQuotaExceeded, Code::TooManyRequests),
            (Code::MessageBodyTooLarge, Code::MessageBodyTooLarge),
        ] {
            assert_eq!(old.code(code), general);
        }
        let young = caller(&[("x-mq-language", "RUST"), ("x-mq-client-version", "5.1.0")]).dialect;
        assert_eq!(young.code(Code::MessageBodyEmpty), Code::MessageBodyEmpty);
    }
}
