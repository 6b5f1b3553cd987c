//! Reading a history file. Only its last line may be unfinished: the client may have been killed while it wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::history::{
    Ack, Change, Client, Decision, Delivery, Filter, History, Interval, Kind, Moment, Order, Outcome,
    Position, Recall, Receipt, Receive, Role, Send, Settling, Verdict,
};
use crate::line::{
    Complete, End, Ending, Invoke, Line, Message, Operation, OrderName, Reason, Start, VerdictName,
};

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
    /// The place in the history of every call so far.
    calls: BTreeMap<(Operation, u64), usize>,
}

impl Reader {
    fn new(start: Start) -> Self {
        let role = match start.group {
            Some(group) => Role::Consumer {
                group,
                filter: Filter::parse(start.filter.as_deref().unwrap_or("*")),
                order: match start.order {
                    Some(OrderName::Fifo) => Order::Fifo,
                    Some(OrderName::Concurrent) | None => Order::Concurrent,
                },
                max_attempts: start.max_attempts,
            },
            None => Role::Producer,
        };
        let client = Client { name: start.client, clock: start.boot, topic: start.topic, role };
        Self { history: History::new(client), calls: BTreeMap::new() }
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
        let (op, number) = (line.op, line.call);
        let place = match op {
            Operation::Send => self.invoke_send(line)?,
            Operation::Receive => {
                let (call, outcome) = begun(&line);
                put(&mut self.history.receives, Receive { call, outcome })
            }
            Operation::Ack => self.invoke_ack(line, Settling::Acknowledge)?,
            Operation::Forward => self.invoke_ack(line, Settling::Forward)?,
            Operation::Change if line.offset.is_none() => return Ok(()),
            Operation::Change => self.invoke_change(line)?,
            Operation::Decide => {
                let (call, outcome) = begun(&line);
                let id = line.id.ok_or("a decision without id")?;
                let verdict = match line.verdict.ok_or("a decision without verdict")? {
                    VerdictName::Commit => Verdict::Commit,
                    VerdictName::Rollback => Verdict::Rollback,
                };
                put(&mut self.history.decisions, Decision { id, verdict, call, outcome })
            }
            Operation::Recall => {
                let (call, outcome) = begun(&line);
                let id = line.id.ok_or("a recall without id")?;
                put(&mut self.history.recalls, Recall { id, call, outcome })
            }
        };
        match self.calls.insert((op, number), place) {
            None => Ok(()),
            Some(_) => Err(format!("call {number} begins a second time")),
        }
    }

    fn invoke_send(&mut self, line: Invoke) -> Result<usize, String> {
        let (call, outcome) = begun(&line);
        let kind = match (line.message_group, line.deliver_at, line.transaction, line.priority) {
            (None, None, false, None) => Kind::Normal,
            (Some(message_group), None, false, None) => Kind::Fifo { message_group },
            (None, Some(at), false, None) => {
                let wall = line.wall.ok_or("a delivery time without a wall time")?;
                Kind::Delay { deliver_at: on_clock(Moment(line.ts), wall, at) }
            }
            (None, None, true, None) => Kind::Transaction,
            (None, None, false, Some(priority)) => Kind::Priority { priority },
            _ => return Err("a send of several kinds".to_owned()),
        };
        let send = Send {
            id: line.id.ok_or("a send without id")?,
            checksum: line.checksum.ok_or("a send without checksum")?,
            tag: line.tag,
            kind,
            call,
            outcome,
            tries: None,
        };
        Ok(put(&mut self.history.sends, send))
    }

    fn invoke_ack(&mut self, line: Invoke, how: Settling) -> Result<usize, String> {
        let (call, outcome) = begun(&line);
        let ack = Ack {
            how,
            position: Position { queue: line.queue, offset: line.offset.ok_or("an ack without offset")? },
            id: line.id,
            attempt: line.attempt.ok_or("an ack without attempt")?,
            call,
            outcome,
        };
        Ok(put(&mut self.history.acks, ack))
    }

    fn invoke_change(&mut self, line: Invoke) -> Result<usize, String> {
        let (call, outcome) = begun(&line);
        let change = Change {
            position: Position { queue: line.queue, offset: line.offset.ok_or("a change without offset")? },
            id: line.id,
            attempt: line.attempt.ok_or("a change without attempt")?,
            invisible: Duration::from_millis(line.invisible_ms.ok_or("a change without invisible_ms")?),
            call,
            outcome,
        };
        Ok(put(&mut self.history.changes, change))
    }

    fn message(&mut self, line: Message) -> Result<(), String> {
        let place = |call: u64| {
            let place = self.calls.get(&(Operation::Receive, call)).copied();
            place.ok_or_else(|| format!("a message of the unknown call {call}"))
        };
        let receive = line.call.map(place).transpose()?;
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
        let place = self.calls.get(&(line.op, line.call)).copied();
        if place.is_none() && line.op == Operation::Change {
            return Ok(());
        }
        let place = place.ok_or_else(|| format!("the unknown call {} ends", line.call))?;
        let completed = Some(Moment(line.ts));
        let history = &mut self.history;
        let (call, outcome) = match line.op {
            Operation::Send => {
                let receipt =
                    Receipt { message_id: line.message_id.unwrap_or_default(), offset: line.offset };
                let send = &mut history.sends[place];
                send.call.completed = completed;
                send.tries = line.tries;
                send.outcome = ended(line.outcome, receipt, line.error);
                return Ok(());
            }
            Operation::Receive => {
                let receive = &mut history.receives[place];
                (&mut receive.call, &mut receive.outcome)
            }
            Operation::Ack | Operation::Forward => {
                let ack = &mut history.acks[place];
                (&mut ack.call, &mut ack.outcome)
            }
            Operation::Change => {
                let change = &mut history.changes[place];
                (&mut change.call, &mut change.outcome)
            }
            Operation::Decide => {
                let decision = &mut history.decisions[place];
                (&mut decision.call, &mut decision.outcome)
            }
            Operation::Recall => {
                let recall = &mut history.recalls[place];
                (&mut recall.call, &mut recall.outcome)
            }
        };
        call.completed = completed;
        *outcome = ended(line.outcome, (), line.error);
        Ok(())
    }
}

/// A call that has not ended.
fn begun<T>(line: &Invoke) -> (Interval, Outcome<T>) {
    let call = Interval { invoked: Moment(line.ts), completed: None };
    (call, Outcome::Unknown(NOT_COMPLETED.to_owned()))
}

/// Appends, and tells where.
fn put<T>(to: &mut Vec<T>, value: T) -> usize {
    to.push(value);
    to.len() - 1
}

/// The moment of a wall time in milliseconds, when it is `wall` at `now`.
fn on_clock(now: Moment, wall: u64, at: u64) -> Moment {
    if at >= wall {
        now.plus(Duration::from_millis(at - wall))
    } else {
        now.minus(Duration::from_millis(wall - at))
    }
}

fn ended<T>(ending: Ending, value: T, error: Option<String>) -> Outcome<T> {
    let error = error.unwrap_or_default();
    match ending {
        Ending::Ok => Outcome::Ok(value),
        Ending::Fail => Outcome::Failed(error),
        Ending::Unknown => Outcome::Unknown(error),
    }
}
