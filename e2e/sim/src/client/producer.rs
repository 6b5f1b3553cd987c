//! A producer: one message at a time, each with a body of its own, sent again while it is not known to be stored.
//!
//! Some of its delayed messages it takes back; about its half messages it decides at once or when it is asked, and always
//! the same.

use std::collections::{BTreeMap, VecDeque};

use mainstay_checker::{
    Client as Who, Decision as Decided, History, Interval, Outcome, Recall as Recalled, Receipt, Role,
    Verdict,
};
use mainstay_messaging::{
    Command, Decision, EndTransaction, Outcome as Applied, Place, Recall, RecallHandle, TopicKind,
    TransactionId,
};

use super::letter::{self, Written};
use super::{CLOCK, Effect, Input, Line, PAUSE, Scene, moment, topic, topic_name};
use crate::time::{SECOND, Time};
use crate::wire::Reply;

/// Requests of one message that may have been stored, at most.
const TRIES: u32 = 3;
/// How long a message is tried for while nobody takes it.
const PERSISTENCE: Time = 8 * SECOND;

/// What is asked of the brokers until it is answered.
#[derive(Debug)]
enum Task {
    /// The send is the last of the history.
    Send,
    /// The decision is the last of the history.
    Decide { id: String, transaction: TransactionId, verdict: Verdict, by_itself: bool },
    /// The recall is the last of the history.
    Recall,
}

/// The task that is being done.
#[derive(Debug)]
struct Doing {
    task: Task,
    command: Command,
    since: Time,
    /// Requests that may have been carried out.
    tries: u32,
}

/// What it does when its next turn comes.
#[derive(Debug)]
enum Next {
    Decide { id: String, transaction: TransactionId, verdict: Verdict, by_itself: bool },
    Recall { id: String, handle: RecallHandle },
}

#[derive(Debug)]
pub(crate) struct Producer {
    line: Line,
    topic: usize,
    kind: TopicKind,
    gap: Time,
    heaviness: u64,
    doing: Option<Doing>,
    next: VecDeque<Next>,
    /// What it wants to become of its half messages; nothing of those that it will not say a word about.
    wishes: BTreeMap<String, Verdict>,
    pub(crate) history: History,
    pub(crate) stopped: bool,
    /// Answers no more questions.
    pub(crate) deaf: bool,
    /// When the send of the last acknowledged message began.
    last_acknowledged: Option<Time>,
    healed: Time,
}

impl Producer {
    pub(crate) fn new(name: String, topic: usize, kind: TopicKind, gap: Time, heaviness: u64) -> Self {
        let client = Who { name, clock: CLOCK.to_owned(), topic: topic_name(topic), role: Role::Producer };
        Self {
            line: Line::default(),
            topic,
            kind,
            gap,
            heaviness,
            doing: None,
            next: VecDeque::new(),
            wishes: BTreeMap::new(),
            history: History::new(client),
            stopped: false,
            deaf: false,
            last_acknowledged: None,
            healed: 0,
        }
    }

    /// Nothing fails from now on.
    pub(crate) fn since_healing(&mut self, now: Time) {
        self.healed = now;
    }

    /// Whether a message to this topic was acknowledged whose send began after the healing.
    pub(crate) fn acknowledged_again(&self, topic: usize) -> bool {
        self.topic == topic && self.last_acknowledged.is_some_and(|began| began >= self.healed)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.doing.is_none() && self.next.is_empty()
    }

    /// Whether it has sent the message of this id.
    pub(crate) fn has_sent(&self, message_id: &str) -> bool {
        let own = message_id.strip_prefix("M-").and_then(|id| id.strip_prefix(&*self.history.client.name));
        own.is_some_and(|rest| rest.starts_with('-'))
    }

    pub(super) fn take(&mut self, input: Input, scene: &mut Scene<'_>) {
        match input {
            Input::Wake => return self.go_on(scene),
            Input::Check { message_id, transaction } => return self.asked(&message_id, transaction, scene),
            Input::Reply { .. } | Input::Late(_) => {}
        }
        let Some(reply) = self.line.answer(input, scene) else { return };
        let Some(doing) = &mut self.doing else { return };
        match reply {
            Some(Reply::Done(outcome)) => self.answered(outcome, scene),
            Some(Reply::NotHere { .. }) if scene.now < doing.since + PERSISTENCE => self.again(scene),
            Some(Reply::NotHere { .. }) => self.done(Err("nobody takes it".to_owned()), scene),
            Some(Reply::Messages { .. }) => self.again(scene),
            Some(Reply::Unknown(_)) | None => {
                doing.tries += 1;
                if doing.tries < TRIES {
                    return self.again(scene);
                }
                self.done(Err("not answered".to_owned()), scene);
            }
        }
    }

    fn again(&self, scene: &mut Scene<'_>) {
        scene.effects.push(Effect::Wake { after: PAUSE });
    }

    fn answered(&mut self, outcome: Applied, scene: &mut Scene<'_>) {
        let Some(doing) = &self.doing else { return };
        let done = match (&doing.task, &outcome) {
            (Task::Send, Applied::Published { place, .. }) => {
                self.last_acknowledged = Some(doing.since);
                let offset = match place {
                    Place::Queue { offset, .. } => Some(offset.0),
                    Place::Timer(_) | Place::Half(_) => None,
                };
                self.plan_next(*place, scene);
                Ok(offset)
            }
            (Task::Decide { .. }, Applied::TransactionEnded(Ok(_)))
            | (Task::Recall, Applied::Recalled(Ok(_))) => Ok(None),
            _ => Err(format!("{outcome:?}")),
        };
        self.done(done, scene);
    }

    /// What is to become of the message that was stored just now.
    fn plan_next(&mut self, place: Place, scene: &mut Scene<'_>) {
        let Some(id) = self.history.sends.last().map(|send| send.id.clone()) else { return };
        match place {
            Place::Timer(handle) if scene.rng.chance(200) => self.next.push_back(Next::Recall { id, handle }),
            Place::Half(transaction) if scene.rng.chance(700) => {
                if let Some(verdict) = self.wishes.get(&id).copied() {
                    self.next.push_back(Next::Decide { id, transaction, verdict, by_itself: true });
                }
            }
            _ => {}
        }
    }

    fn asked(&mut self, message_id: &str, transaction: TransactionId, scene: &mut Scene<'_>) {
        let Some(id) = message_id.strip_prefix("M-").filter(|_| !self.deaf) else { return };
        if let Some(verdict) = self.wishes.get(id).copied() {
            self.next.push_back(Next::Decide { id: id.to_owned(), transaction, verdict, by_itself: false });
            // Whoever still sends has its next turn anyway.
            if self.stopped {
                self.go_on(scene);
            }
        }
    }

    /// The task is over: it was carried out, with what was told, or it is said why not. An earlier request for it may
    /// have been carried out all the same.
    fn done(&mut self, ended: Result<Option<u64>, String>, scene: &mut Scene<'_>) {
        let Some(doing) = self.doing.take() else { return };
        let unsure = doing.tries > 0;
        let now = Some(moment(scene.now));
        let plain = match &ended {
            Ok(_) => Outcome::Ok(()),
            Err(why) if unsure => Outcome::Unknown(why.clone()),
            Err(why) => Outcome::Failed(why.clone()),
        };
        match doing.task {
            Task::Send => {
                if let Some(send) = self.history.sends.last_mut() {
                    let message_id = format!("M-{}", send.id);
                    send.call.completed = now;
                    send.tries = Some(doing.tries + u32::from(ended.is_ok()));
                    send.outcome = match (ended, plain) {
                        (Ok(offset), _) => Outcome::Ok(Receipt { message_id, offset }),
                        (_, Outcome::Failed(why)) => Outcome::Failed(why),
                        (_, Outcome::Unknown(why)) => Outcome::Unknown(why),
                        (Err(why), Outcome::Ok(())) => Outcome::Unknown(why),
                    };
                }
            }
            Task::Decide { id, transaction, verdict, by_itself } => {
                // Now and then it wants the contrary, which must be refused.
                if by_itself && ended.is_ok() && scene.rng.chance(100) {
                    let verdict = match verdict {
                        Verdict::Commit => Verdict::Rollback,
                        Verdict::Rollback => Verdict::Commit,
                    };
                    self.next.push_back(Next::Decide { id, transaction, verdict, by_itself: false });
                }
                if let Some(decision) = self.history.decisions.last_mut() {
                    (decision.call.completed, decision.outcome) = (now, plain);
                }
            }
            Task::Recall => {
                if let Some(recall) = self.history.recalls.last_mut() {
                    (recall.call.completed, recall.outcome) = (now, plain);
                }
            }
        }
        let gap = scene.rng.between(self.gap / 4, self.gap * 2);
        scene.effects.push(Effect::Wake { after: gap });
    }

    fn go_on(&mut self, scene: &mut Scene<'_>) {
        if self.line.open.is_some() {
            return;
        }
        if self.doing.is_none() {
            let (task, command) = match self.next.pop_front() {
                Some(next) => self.begin(next, scene),
                None if self.stopped => return,
                None => self.begin_send(scene),
            };
            self.doing = Some(Doing { task, command, since: scene.now, tries: 0 });
        }
        if let Some(doing) = &self.doing {
            self.line.ask(doing.command.clone(), 0, scene);
        }
    }

    fn begin(&mut self, next: Next, scene: &Scene<'_>) -> (Task, Command) {
        let call = Interval { invoked: moment(scene.now), completed: None };
        let outcome = Outcome::Unknown("not ended".to_owned());
        let (topic, by) = (topic(&topic_name(self.topic)), String::new());
        match next {
            Next::Decide { id, transaction, verdict, by_itself } => {
                let decision = match verdict {
                    Verdict::Commit => Decision::Commit,
                    Verdict::Rollback => Decision::Rollback,
                };
                self.history.decisions.push(Decided { id: id.clone(), verdict, call, outcome });
                let command = Command::EndTransaction(EndTransaction { topic, transaction, decision, by });
                (Task::Decide { id, transaction, verdict, by_itself }, command)
            }
            Next::Recall { id, handle } => {
                self.history.recalls.push(Recalled { id, call, outcome });
                (Task::Recall, Command::Recall(Recall { topic, handle, by }))
            }
        }
    }

    fn begin_send(&mut self, scene: &mut Scene<'_>) -> (Task, Command) {
        let id = format!("{}-{}", self.history.client.name, self.history.sends.len());
        if self.kind == TopicKind::Transaction && !scene.rng.chance(10) {
            let verdict = if scene.rng.chance(700) { Verdict::Commit } else { Verdict::Rollback };
            self.wishes.insert(id.clone(), verdict);
        }
        let Written { send, publish } = letter::write(id, self.topic, self.kind, self.heaviness, scene);
        self.history.sends.push(send);
        (Task::Send, Command::Publish(publish))
    }
}
