//! What clients send and receive while the leader is killed: kinds of messages, and what each asks of topics, groups and
//! programs.

use mainstay_proto::control::TopicType;

use crate::scenarios::{ATTEMPTS, FIFO, FIFO_DEAD_LETTER, PLAIN, Scenario};

/// Messages for which this SQL expression holds are those with the tag `even`.
const EVEN_IN_SQL: &str = "quarter IN ('0', '2') AND quarter < 3 AND (TAGS = 'even' OR owner IS NOT NULL)";

/// What is sent and how it is consumed, as options of the programs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) scenario: Scenario,
    pub(crate) produce: &'static [&'static str],
    pub(crate) consume: &'static [&'static str],
    /// What must have been seen to call it judged.
    pub(crate) shows: Shows,
}

/// What a run has to have met besides messages that were sent and came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    Nothing,
    /// Messages came again.
    Redeliveries,
    /// A part of the messages came, the rest not.
    Selection,
    /// The broker asked about transactions after the kill.
    Questions,
    /// Delayed messages were taken back.
    Recalls,
    /// Messages became dead letters, and another group read them.
    DeadLetters,
    /// A user whose right to send was taken away was refused.
    Refusals,
}

const PLAIN_KIND: Kind = Kind { scenario: PLAIN, produce: &[], consume: &[], shows: Shows::Nothing };

pub(crate) const KINDS: [Kind; 13] = [
    Kind { scenario: Scenario { name: "normal", ..PLAIN }, ..PLAIN_KIND },
    Kind { scenario: FIFO, produce: &["--type", "fifo"], consume: &["--order", "fifo"], ..PLAIN_KIND },
    Kind {
        scenario: FIFO_DEAD_LETTER,
        // A hopeless message holds its message group up for three seconds.
        produce: &["--type", "fifo", "--in-flight", "16"],
        consume: &["--order", "fifo", "--give-back", "1", "--give-back-times", "3", "--max-attempts", "3"],
        shows: Shows::DeadLetters,
    },
    Kind {
        scenario: Scenario { name: "delay", topic: TopicType::Delay, ..PLAIN },
        produce: &["--type", "delay", "--delay", "2"],
        ..PLAIN_KIND
    },
    Kind {
        scenario: Scenario { name: "recall", topic: TopicType::Delay, ..PLAIN },
        produce: &["--type", "recall", "--delay", "4"],
        shows: Shows::Recalls,
        ..PLAIN_KIND
    },
    Kind {
        scenario: Scenario { name: "transaction", topic: TopicType::Transaction, ..PLAIN },
        produce: &["--type", "transaction"],
        shows: Shows::Questions,
        ..PLAIN_KIND
    },
    // A message that was lost on its way to a push consumer comes again after 60 s.
    Kind {
        scenario: Scenario { name: "push", ..PLAIN },
        consume: &["--kind", "push", "--give-back", "1", "--until-idle", "66"],
        shows: Shows::Redeliveries,
        ..PLAIN_KIND
    },
    Kind {
        scenario: Scenario { name: "retry", ..PLAIN },
        consume: &["--give-back", "2"],
        shows: Shows::Redeliveries,
        ..PLAIN_KIND
    },
    Kind {
        scenario: Scenario { name: "tag", ..PLAIN },
        consume: &["--filter", "even || other"],
        shows: Shows::Selection,
        ..PLAIN_KIND
    },
    Kind {
        scenario: Scenario { name: "sql", ..PLAIN },
        consume: &["--sql", "--filter", EVEN_IN_SQL, "--wants", "even"],
        shows: Shows::Selection,
        ..PLAIN_KIND
    },
    Kind {
        scenario: Scenario { name: "dead-letter", attempts: ATTEMPTS, dead_letters: true, ..PLAIN },
        consume: &["--give-back", "1", "--give-back-times", "3", "--max-attempts", "3"],
        shows: Shows::DeadLetters,
        ..PLAIN_KIND
    },
    Kind {
        scenario: Scenario { name: "priority", topic: TopicType::Priority, ..PLAIN },
        produce: &["--type", "priority"],
        // Slower than what is sent: otherwise nothing waits.
        consume: &["--batch", "1", "--in-flight", "1", "--rest", "0.8"],
        ..PLAIN_KIND
    },
    Kind {
        scenario: Scenario { name: "access", guarded: true, ..PLAIN },
        shows: Shows::Refusals,
        ..PLAIN_KIND
    },
];

impl Kind {
    /// Why the library of a language cannot send or receive this kind; nothing if it can.
    pub(crate) fn missing_in(&self, language: &str) -> Option<&'static str> {
        match (language, self.scenario.name) {
            ("rust", "recall") => {
                Some("the library cannot take a message back: its receipts have no recall handle")
            }
            ("rust", "push") => Some("the library has no push consumer"),
            ("rust", "priority") => Some("the library cannot give a message a priority"),
            _ => None,
        }
    }

    /// Options of the producer in a language. What Rust's consumers cannot consume holds its message group up for half a
    /// minute, so that more message groups are needed for the same messages.
    pub(crate) fn produce_in(&self, language: &str) -> Vec<&'static str> {
        let more: &[&str] = match (language, self.scenario.name) {
            ("rust", "fifo-dead-letter") => &["--in-flight", "32"],
            _ => &[],
        };
        [self.produce, more].concat()
    }

    /// Whether the producer must be asked about its open transactions. The broker that is killed may be at the other end of
    /// the library's command stream, which Go's and Python's open again only minutes later, and Rust's never.
    pub(crate) fn must_be_asked(&self, language: &str) -> bool {
        self.shows == Shows::Questions && !matches!(language, "go" | "python" | "rust")
    }
}
