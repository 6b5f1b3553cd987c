//! Producers that can be asked what became of their half messages: the open Telemetry streams of this broker, by the
//! topics that their clients publish.
//!
//! A stream counts from its first header on. What its client publishes is learnt from its settings, and from its calls
//! where the settings are late. Nothing is kept of clients without an open stream.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_proto::rocketmq::telemetry_command::Command;
use mainstay_proto::rocketmq::{Message, RecoverOrphanedTransactionCommand, TelemetryCommand};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::Status;

use super::clients::ClientKey;
use super::refusal::ok;

/// Topics that one client is remembered for; it is asked about no others.
const MAX_TOPICS: usize = 1024;

/// Whether a stream's user may hear of the messages of a topic, named in full. What a client says about itself is no
/// proof, and a right may be taken away while the stream is open.
pub(super) type MayHear = Box<dyn Fn(&str) -> bool + Send + Sync>;

pub(super) type Commands = mpsc::Sender<Result<TelemetryCommand, Status>>;

/// What a producer is asked: whether this half message is to be delivered.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) transaction_id: String,
    /// As it would be delivered.
    pub(crate) message: Message,
}

/// One open stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamId(u64);

#[derive(Debug, Default)]
pub(crate) struct Producers {
    clients: Mutex<Open>,
    /// Whose turn it is.
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Open {
    opened: u64,
    by_client: BTreeMap<ClientKey<'static>, Client>,
}

#[derive(Debug, Default)]
struct Client {
    topics: BTreeSet<String>,
    streams: Vec<Stream>,
}

struct Stream {
    id: StreamId,
    commands: Commands,
    may_hear: MayHear,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Producers {
    pub(super) fn opened(&self, client: &ClientKey<'_>, commands: Commands, may_hear: MayHear) -> StreamId {
        let mut open = self.clients.lock();
        open.opened += 1;
        let id = StreamId(open.opened);
        open.by_client.entry(client.to_owned()).or_default().streams.push(Stream { id, commands, may_hear });
        id
    }

    pub(super) fn closed(&self, client: &ClientKey<'_>, id: StreamId) {
        let mut open = self.clients.lock();
        if let Some(known) = open.by_client.get_mut::<str>(client.borrow()) {
            known.streams.retain(|stream| stream.id != id);
            if known.streams.is_empty() {
                open.by_client.remove::<str>(client.borrow());
            }
        }
    }

    /// The client publishes this topic, named in full.
    pub(crate) fn publishes(&self, client: &ClientKey<'_>, topic: &str) {
        if let Some(known) = self.clients.lock().by_client.get_mut::<str>(client.borrow())
            && known.topics.len() < MAX_TOPICS
            && !known.topics.contains(topic)
        {
            known.topics.insert(topic.to_owned());
        }
    }

    /// Asks a producer of `topic` each of `questions`, another for each. Tells which of them were sent.
    pub(crate) fn ask(&self, topic: &str, questions: &[Question]) -> Vec<bool> {
        let producers = self.of_topic(topic);
        questions.iter().map(|question| self.ask_one(&producers, question)).collect()
    }

    fn ask_one(&self, producers: &[Vec<Commands>], question: &Question) -> bool {
        if producers.is_empty() {
            return false;
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % producers.len();
        let in_turn = producers[first..].iter().chain(&producers[..first]);
        // A stream whose client does not read is passed over.
        in_turn.flatten().any(|commands| commands.try_send(Ok(command(question))).is_ok())
    }

    /// The streams of each client that publishes `topic`, and of users that may.
    fn of_topic(&self, topic: &str) -> Vec<Vec<Commands>> {
        let open = self.clients.lock();
        let publishing = open.by_client.values().filter(|client| client.topics.contains(topic));
        publishing
            .map(|client| {
                let hearing = client.streams.iter().filter(|stream| (stream.may_hear)(topic));
                hearing.map(|stream| stream.commands.clone()).collect::<Vec<_>>()
            })
            .filter(|streams| !streams.is_empty())
            .collect()
    }
}

fn command(question: &Question) -> TelemetryCommand {
    let recover = RecoverOrphanedTransactionCommand {
        message: Some(question.message.clone()),
        transaction_id: question.transaction_id.clone(),
    };
    TelemetryCommand {
        status: Some(ok()),
        command: Some(Command::RecoverOrphanedTransactionCommand(recover)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Received = mpsc::Receiver<Result<TelemetryCommand, Status>>;

    fn key(id: &str) -> ClientKey<'_> {
        ClientKey::new(None, id)
    }

    fn question(id: &str) -> Question {
        Question { transaction_id: id.to_owned(), message: Message::default() }
    }

    fn open(producers: &Producers, client: &str, ahead: usize) -> (StreamId, Received) {
        let (commands, received) = mpsc::channel(ahead);
        (producers.opened(&key(client), commands, Box::new(|_| true)), received)
    }

    fn asked(received: &mut Received) -> Vec<String> {
        let mut ids = Vec::new();
        while let Ok(Ok(TelemetryCommand { command, .. })) = received.try_recv() {
            let Some(Command::RecoverOrphanedTransactionCommand(recover)) = command else { panic!() };
            ids.push(recover.transaction_id);
        }
        ids
    }

    #[test]
    fn producers_of_the_topic_are_asked_in_turn_and_nobody_else() {
        let producers = Producers::default();
        let (_, mut one) = open(&producers, "one", 8);
        let (_, mut two) = open(&producers, "two", 8);
        let (_, mut other) = open(&producers, "other", 8);
        producers.publishes(&key("one"), "orders");
        producers.publishes(&key("two"), "orders");
        producers.publishes(&key("other"), "letters");
        producers.publishes(&key("unknown"), "orders");
        assert_eq!(producers.ask("orders", &["a", "b", "c", "d"].map(question)), [true; 4]);
        assert_eq!(
            (asked(&mut one), asked(&mut two)),
            (vec!["a".into(), "c".into()], vec!["b".into(), "d".into()])
        );
        assert!(asked(&mut other).is_empty());
        assert_eq!(producers.ask("parcels", &[question("x")]), [false]);
    }

    #[test]
    fn a_stream_that_is_full_or_gone_is_passed_over() {
        let producers = Producers::default();
        let (_, gone) = open(&producers, "one", 1);
        drop(gone);
        let (_, mut narrow) = open(&producers, "one", 1);
        let (_, mut wide) = open(&producers, "two", 8);
        producers.publishes(&key("one"), "orders");
        producers.publishes(&key("two"), "orders");
        assert_eq!(producers.ask("orders", &["a", "b", "c"].map(question)), [true; 3]);
        assert_eq!((asked(&mut narrow), asked(&mut wide)), (vec!["a".into()], vec!["b".into(), "c".into()]));
        drop((narrow, wide));
        assert_eq!(producers.ask("orders", &[question("d")]), [false]);
    }

    #[test]
    fn a_stream_hears_nothing_that_its_user_may_not() {
        let producers = Producers::default();
        let (commands, mut stranger) = mpsc::channel(8);
        producers.opened(&key("one"), commands, Box::new(|topic| topic == "letters"));
        let (_, mut own) = open(&producers, "one", 8);
        producers.publishes(&key("one"), "orders");
        producers.publishes(&key("one"), "letters");
        assert_eq!(producers.ask("orders", &["a", "b"].map(question)), [true; 2]);
        assert_eq!((asked(&mut stranger), asked(&mut own).len()), (vec![], 2));
        producers.ask("letters", &[question("c")]);
        assert_eq!(asked(&mut stranger), ["c"]);
        let alone = Producers::default();
        let (commands, _stranger) = mpsc::channel(8);
        alone.opened(&key("one"), commands, Box::new(|_| false));
        alone.publishes(&key("one"), "orders");
        assert_eq!(alone.ask("orders", &[question("d")]), [false], "another broker is asked then");
    }

    #[test]
    fn a_client_is_known_while_one_of_its_streams_is_open() {
        let producers = Producers::default();
        let (first, _one) = open(&producers, "c", 8);
        let (second, mut two) = open(&producers, "c", 8);
        producers.publishes(&key("c"), "orders");
        producers.closed(&key("c"), first);
        assert_eq!(producers.ask("orders", &[question("a")]), [true]);
        assert_eq!(asked(&mut two), ["a"]);
        producers.closed(&key("c"), second);
        producers.closed(&key("c"), second);
        assert_eq!(producers.ask("orders", &[question("b")]), [false]);
        assert!(producers.clients.lock().by_client.is_empty());
    }
}
