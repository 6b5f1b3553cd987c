//! Reading a history file. Only its last line may be unfinished: the client may have been killed while it wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::history::{
    Ack, Client, Delivery, Filter, History, Interval, Moment, Outcome, Position, Receipt, Receive, Role, Send,
};
use crate::line::{Complete, End, Ending, Invoke, Line, Message, Operation, Reason, Start};

/// A history file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{origin}: line {line}: {source}")]
    Syntax { origin: String, line: usize, source: serde_json::Error },
    #[error("{origin}: line {line}: {problem}")]
    Meaning { origin: String, line: usize, problem: String },
    #[error("{origin}: there is no start line")]
    Empty { origin: String },
}

const NOT_COMPLETED: &str = "the call was not seen to end";

impl History {
    /// Reads the file that a client program wrote.
    ///
    /// # Errors
    /// When it cannot be read, or a line other than an unfinished last one is not what the format says.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let text =
            fs::read_to_string(path).map_err(|source| ReadError::File { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads the text of a history; `origin` names it in errors.
    ///
    /// # Errors
    /// When a line other than an unfinished last one is not what the format says.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ReadError> {
        let mut reader = None;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let line_number = number + 1;
            let parsed = match serde_json::from_str::<Line>(line) {
                Ok(parsed) => parsed,
                Err(_) if !line.ends_with('\n') => break,
                Err(source) => {
                    return Err(ReadError::Syntax { origin: origin.to_owned(), line: line_number, source });
                }
            };
            let meaning = |problem: String| ReadError::Meaning {
                origin: origin.to_owned(),
                line: line_number,
                problem,
            };
            match (parsed, &mut reader) {
                (Line::Start(start), None) => reader = Some(Reader::new(start)),
                (Line::Start(_), Some(_)) => return Err(meaning("a second start line".to_owned())),
                (_, None) => return Err(meaning("a line before the start line".to_owned())),
                (line, Some(reader)) => reader.add(line).map_err(meaning)?,
            }
        }
        reader.map(|reader| reader.history).ok_or_else(|| ReadError::Empty { origin: origin.to_owned() })
    }
}

/// Puts beginnings and ends of calls together.
struct Reader {
    history: History,
    /// Call number to place in the history, of every call so far.
    sends: BTreeMap<u64, usize>,
    receives: BTreeMap<u64, usize>,
    acks: BTreeMap<u64, usize>,
}

impl Reader {
    fn new(start: Start) -> Self {
        let role = match start.group {
            Some(group) => {
                Role::Consumer { group, filter: Filter::parse(start.filter.as_deref().unwrap_or("*")) }
            }
            None => Role::Producer,
        };
        let client = Client { name: start.client, clock: start.boot, topic: start.topic, role };
        Self {
            history: History::new(client),
            sends: BTreeMap::new(),
            receives: BTreeMap::new(),
            acks: BTreeMap::new(),
        }
    }

    fn add(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Start(_) => Ok(()),
            Line::Invoke(invoke) => self.invoke(invoke),
            Line::Message(message) => self.message(message),
            Line::Complete(complete) => self.complete(complete),
            Line::End(End { ts, reason }) => {
                if reason == Reason::Idle {
                    self.history.drained = Some(Moment(ts));
                }
                Ok(())
            }
        }
    }

    fn invoke(&mut self, line: Invoke) -> Result<(), String> {
        let call = Interval { invoked: Moment(line.ts), completed: None };
        let unknown = NOT_COMPLETED.to_owned();
        let (calls, place) = match line.op {
            Operation::Send => {
                self.history.sends.push(Send {
                    id: line.id.ok_or("a send without id")?,
                    checksum: line.checksum.ok_or("a send without checksum")?,
                    tag: line.tag,
                    call,
                    outcome: Outcome::Unknown(unknown),
                    tries: None,
                });
                (&mut self.sends, self.history.sends.len() - 1)
            }
            Operation::Receive => {
                self.history.receives.push(Receive { call, outcome: Outcome::Unknown(unknown) });
                (&mut self.receives, self.history.receives.len() - 1)
            }
            Operation::Ack => {
                self.history.acks.push(Ack {
                    id: line.id,
                    position: Position {
                        queue: line.queue,
                        offset: line.offset.ok_or("an ack without offset")?,
                    },
                    attempt: line.attempt.ok_or("an ack without attempt")?,
                    call,
                    outcome: Outcome::Unknown(unknown),
                });
                (&mut self.acks, self.history.acks.len() - 1)
            }
            Operation::Change => return Ok(()),
        };
        match calls.insert(line.call, place) {
            None => Ok(()),
            Some(_) => Err(format!("call {} begins a second time", line.call)),
        }
    }

    fn message(&mut self, line: Message) -> Result<(), String> {
        let receive = match line.call {
            Some(call) => Some(
                *self.receives.get(&call).ok_or_else(|| format!("a message of the unknown call {call}"))?,
            ),
            None => None,
        };
        self.history.deliveries.push(Delivery {
            id: line.id,
            checksum: line.checksum,
            message_id: line.message_id,
            position: Position { queue: line.queue, offset: line.offset },
            attempt: line.attempt,
            invisible: line.invisible_ms.map(Duration::from_millis),
            at: Moment(line.ts),
            receive,
            corrupted: line.corrupted,
        });
        Ok(())
    }

    fn complete(&mut self, line: Complete) -> Result<(), String> {
        let calls = match line.op {
            Operation::Send => &self.sends,
            Operation::Receive => &self.receives,
            Operation::Ack => &self.acks,
            Operation::Change => return Ok(()),
        };
        let place = *calls.get(&line.call).ok_or_else(|| format!("the unknown call {} ends", line.call))?;
        let completed = Some(Moment(line.ts));
        match line.op {
            Operation::Send => {
                let receipt =
                    Receipt { message_id: line.message_id.unwrap_or_default(), offset: line.offset };
                let send = &mut self.history.sends[place];
                send.call.completed = completed;
                send.tries = line.tries;
                send.outcome = outcome(line.outcome, receipt, line.error);
            }
            Operation::Receive => {
                let receive = &mut self.history.receives[place];
                receive.call.completed = completed;
                receive.outcome = outcome(line.outcome, (), line.error);
            }
            Operation::Ack => {
                let ack = &mut self.history.acks[place];
                ack.call.completed = completed;
                ack.outcome = outcome(line.outcome, (), line.error);
            }
            Operation::Change => {}
        }
        Ok(())
    }
}

fn outcome<T>(ending: Ending, value: T, error: Option<String>) -> Outcome<T> {
    let error = error.unwrap_or_default();
    match ending {
        Ending::Ok => Outcome::Ok(value),
        Ending::Fail => Outcome::Failed(error),
        Ending::Unknown => Outcome::Unknown(error),
    }
}
