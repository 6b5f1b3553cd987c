//! Writes the history of a client: one JSON object per line, written out before the caller goes on; README.md beside the
//! launcher describes the lines. A killed client tears at most the last one. After the line that ends it nothing is
//! written: a call that ends later is one whose end nobody saw.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use rocketmq::error::ClientError;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use crate::arguments::Arguments;
use crate::library::problem;

/// Fields of a line; nothing and empty texts are left out: they stand for what is not known.
pub(crate) type Fields = Map<String, Value>;

/// Fields from a `json!` object.
pub(crate) fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

/// Of a whole body.
pub(crate) fn checksum(body: &[u8]) -> String {
    digest(&SHA256, body).as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Debug)]
pub(crate) struct History {
    pub(crate) client: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    calls: u64,
    ended: bool,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// It certainly had no effect.
    Fail,
    Unknown,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }

    /// Of a call with this error.
    pub(crate) fn of(error: &ClientError) -> (Self, Fields) {
        let (certain, told) = problem(error);
        (if certain { Self::Fail } else { Self::Unknown }, told)
    }
}

impl History {
    pub(crate) fn create(arguments: &Arguments, role: &str) -> io::Result<Self> {
        let file = File::create(&arguments.history)?;
        let client = match arguments.name.as_str() {
            "" => format!("rust-{role}-{}-{:x}", std::process::id(), wall()),
            name => name.to_owned(),
        };
        Ok(Self { client, state: Mutex::new(State { file, calls: 0, ended: false }) })
    }

    /// The first line.
    ///
    /// # Errors
    /// When the system does not say which boot its clock counts from.
    pub(crate) fn start(&self, told: Fields) -> io::Result<()> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let own = json!({ "boot": boot.trim(), "language": "rust", "version": "5.0.0" });
        self.write(&[self.line("start", fields(own), told)]);
        Ok(())
    }

    /// The number of the call; nothing once the history has ended: then nobody may act any more.
    pub(crate) fn invoke(&self, op: &str, told: Fields) -> Option<u64> {
        let call = {
            let mut state = self.state();
            state.calls += 1;
            state.calls
        };
        let line = self.line("invoke", fields(json!({ "op": op, "call": call })), told);
        self.write(&[line]).then_some(call)
    }

    pub(crate) fn complete(&self, op: &str, call: u64, outcome: Outcome, told: Fields) {
        self.complete_with(op, call, outcome, told, Vec::new());
    }

    /// Tells the messages that the call brought before its end: a call that ended has told all.
    pub(crate) fn complete_with(
        &self,
        op: &str,
        call: u64,
        outcome: Outcome,
        told: Fields,
        messages: Vec<Fields>,
    ) {
        let message = |message| self.line("message", fields(json!({ "call": call })), message);
        let mut lines: Vec<String> = messages.into_iter().map(message).collect();
        let end = json!({ "op": op, "call": call, "outcome": outcome.name() });
        lines.push(self.line("complete", fields(end), told));
        self.write(&lines);
    }

    /// The end of a call of which only success and failure are known.
    pub(crate) fn ended(&self, op: &str, call: u64, result: &Result<(), ClientError>) -> Outcome {
        let (outcome, told) = match result {
            Ok(()) => (Outcome::Ok, Fields::new()),
            Err(error) => Outcome::of(error),
        };
        self.complete(op, call, outcome, told);
        outcome
    }

    pub(crate) fn end(&self, reason: &str, counts: Fields) {
        self.write(&[self.line("end", fields(json!({ "reason": reason })), counts)]);
        self.state().ended = true;
    }

    fn line(&self, event: &str, own: Fields, told: Fields) -> String {
        let now = clock_gettime(ClockId::Monotonic);
        let ts = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        let mut whole = fields(json!({ "event": event, "ts": ts, "wall": wall(), "client": self.client }));
        let known = |value: &Value| !value.is_null() && value.as_str() != Some("");
        whole.extend(own.into_iter().chain(told).filter(|(_, value)| known(value)));
        Value::Object(whole).to_string()
    }

    /// False once the history has ended.
    ///
    /// # Panics
    /// When the file cannot be written: a history with holes is worse than none.
    fn write(&self, lines: &[String]) -> bool {
        let mut state = self.state();
        if state.ended {
            return false;
        }
        let text = lines.join("\n") + "\n";
        state.file.write_all(text.as_bytes()).expect("the history can be written");
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970.
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
