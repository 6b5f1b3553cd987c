//! A consumer: receives by long poll, acknowledges most of what it gets, lets some of it come again, gives back some of it
//! earlier or later, and gives up some of it for ever.

use mainstay_checker::{
    Ack as Acked, Change, Client as Who, Delivery, Filter as Wanted, History, Interval, Order, Outcome,
    Position, Receive as Received, Role, Settling,
};
use mainstay_messaging::{
    Ack, ChangeInvisible, Command, DeadLetter, Filter, Outcome as Applied, QueueSelection, Receive,
};

use super::groups::Subscribed;
use super::{CLOCK, Effect, Input, Line, PAUSE, Scene, checksum, group, millis, moment, topic};
use crate::time::{MILLI, SECOND, Time};
use crate::wire::{Handed, Reply};

const POLL: Time = 2 * SECOND;
/// Requests for one acknowledgement at most.
const TRIES: u32 = 3;

/// What to do about a message that was received.
#[derive(Debug)]
enum Doing {
    Receiving {
        tries: u32,
        command: Box<Command>,
    },
    /// The ack is the last of the history.
    Acknowledging {
        tries: u32,
        command: Box<Command>,
    },
    /// The change is the last of the history.
    Changing,
}

#[derive(Debug)]
pub(crate) struct Consumer {
    line: Line,
    subscribed: Subscribed,
    filter: Filter,
    invisible_ms: u64,
    /// How often it does something else than to acknowledge at once, per mille.
    caprice: u64,
    doing: Option<Doing>,
    /// Receives of its own so far.
    receives: u64,
    /// Received and not dealt with: the message and its place in the history.
    todo: Vec<(Handed, usize)>,
    last_message: Time,
    pub(crate) history: History,
    /// Stops when nothing has come for longer than the invisible time.
    pub(crate) draining: bool,
}

impl Consumer {
    pub(crate) fn new(name: String, subscribed: &Subscribed, invisible_ms: u64) -> Self {
        let (filter, wanted) = match subscribed.group.tag {
            None => (Filter::All, Wanted::All),
            Some(tag) => (Filter::Tags(vec![tag.to_owned()]), Wanted::Tags(vec![tag.to_owned()])),
        };
        let role = Role::Consumer {
            group: subscribed.group.name.to_owned(),
            filter: wanted,
            order: subscribed.group.order,
            max_attempts: Some(subscribed.group.max_attempts),
        };
        let client = Who { name, clock: CLOCK.to_owned(), topic: subscribed.topic.clone(), role };
        Self {
            line: Line::default(),
            filter,
            invisible_ms,
            caprice: if subscribed.is_undertaker { 0 } else { 120 },
            subscribed: subscribed.clone(),
            doing: None,
            receives: 0,
            todo: Vec::new(),
            last_message: 0,
            history: History::new(client),
            draining: false,
        }
    }

    pub(crate) fn is_undertaker(&self) -> bool {
        self.subscribed.is_undertaker
    }

    /// From now on everything is acknowledged, until nothing comes any more.
    pub(crate) fn drain(&mut self, now: Time) {
        self.draining = true;
        self.caprice = 0;
        self.last_message = now;
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.history.drained.is_some()
    }

    pub(super) fn take(&mut self, input: Input, scene: &mut Scene<'_>) {
        if matches!(input, Input::Wake) {
            if self.line.open.is_none() {
                self.go_on(scene);
            }
            return;
        }
        let Some(reply) = self.line.answer(input, scene) else { return };
        let pause = if matches!(reply, Some(Reply::NotHere { .. }) | None) { PAUSE } else { 0 };
        match self.doing.take() {
            Some(Doing::Receiving { tries, command }) => self.received(reply, tries, command, scene),
            Some(Doing::Acknowledging { tries, command }) => self.acknowledged(reply, tries, command, scene),
            Some(Doing::Changing) => self.changed(reply, scene),
            None => {}
        }
        scene.effects.push(Effect::Wake { after: pause + scene.rng.between(0, 20 * MILLI) });
    }

    fn go_on(&mut self, scene: &mut Scene<'_>) {
        match &self.doing {
            Some(Doing::Acknowledging { command, .. }) => {
                let command = command.clone();
                return self.line.ask(*command, 0, scene);
            }
            Some(Doing::Receiving { tries, command }) => {
                let (tries, command) = (*tries, command.clone());
                return self.receive(tries, command, scene);
            }
            Some(Doing::Changing) | None => {}
        }
        while let Some((handed, place)) = self.todo.pop() {
            match scene.rng.below(1000) {
                dropped if dropped < self.caprice / 3 => {}
                changed if changed < self.caprice * 5 / 6 => return self.change(&handed, place, scene),
                forwarded if forwarded < self.caprice => {
                    return self.settle(Settling::Forward, &handed, place, scene);
                }
                _ => return self.settle(Settling::Acknowledge, &handed, place, scene),
            }
        }
        let idle = scene.now.saturating_sub(self.last_message);
        if self.draining && idle > 2 * self.invisible_ms * MILLI + POLL {
            self.history.drained.get_or_insert(moment(scene.now));
            return;
        }
        self.receives += 1;
        let in_order = self.subscribed.group.order == Order::Fifo;
        let attempt_id = in_order.then(|| format!("{}-{}", self.history.client.name, self.receives));
        let receive = Receive {
            group: group(self.subscribed.group.name),
            topic: topic(&self.subscribed.topic),
            queues: QueueSelection::All,
            max: scene.rng.between(1, 16) as u32,
            filter: self.filter.clone(),
            invisible_ms: self.invisible_ms,
            attempt_id,
            by: String::new(),
        };
        self.receive(0, Box::new(Command::Receive(receive)), scene);
    }

    fn receive(&mut self, tries: u32, command: Box<Command>, scene: &mut Scene<'_>) {
        let call = Interval { invoked: moment(scene.now), completed: None };
        self.history.receives.push(Received { call, outcome: Outcome::Unknown("not ended".to_owned()) });
        self.doing = Some(Doing::Receiving { tries, command: command.clone() });
        self.line.ask(*command, POLL, scene);
    }

    fn received(&mut self, reply: Option<Reply>, tries: u32, command: Box<Command>, scene: &mut Scene<'_>) {
        let number = self.history.receives.len() - 1;
        let receive = &mut self.history.receives[number];
        receive.call.completed = Some(moment(scene.now));
        receive.outcome = match &reply {
            Some(Reply::Messages { unreadable: 0, .. }) => Outcome::Ok(()),
            Some(Reply::Messages { .. }) => Outcome::Unknown("some could not be read".to_owned()),
            Some(Reply::NotHere { .. }) => Outcome::Failed("not here".to_owned()),
            Some(Reply::Done(outcome)) => Outcome::Failed(format!("{outcome:?}")),
            Some(Reply::Unknown(why)) => Outcome::Unknown((*why).to_owned()),
            None => Outcome::Unknown("not answered".to_owned()),
        };
        // Whoever asks for order asks again for the very same.
        let in_order = self.subscribed.group.order == Order::Fifo;
        if in_order && matches!(reply, Some(Reply::Unknown(_)) | None) && tries + 1 < TRIES {
            self.doing = Some(Doing::Receiving { tries: tries + 1, command });
            return;
        }
        let Some(Reply::Messages { messages, .. }) = reply else { return };
        let before = self.todo.len();
        for handed in messages {
            self.last_message = scene.now;
            let body = &handed.message.body;
            let id = body.split(|byte| *byte == b' ').next().map(String::from_utf8_lossy);
            self.history.deliveries.push(Delivery {
                id: id.map(std::borrow::Cow::into_owned),
                checksum: checksum(body),
                message_id: handed.message.message_id.clone(),
                position: position(&handed),
                attempt: handed.delivery.attempt,
                invisible: Some(millis(self.invisible_ms)),
                at: moment(scene.now),
                receive: Some(number),
                corrupted: false,
            });
            self.todo.push((handed, self.history.deliveries.len() - 1));
        }
        if in_order {
            // The first of them is to be dealt with first.
            self.todo[before..].reverse();
        }
    }

    fn settle(&mut self, how: Settling, handed: &Handed, place: usize, scene: &mut Scene<'_>) {
        self.history.acks.push(Acked {
            how,
            id: self.history.deliveries[place].id.clone(),
            position: position(handed),
            attempt: handed.delivery.attempt,
            call: Interval { invoked: moment(scene.now), completed: None },
            outcome: Outcome::Unknown("not ended".to_owned()),
        });
        let (group, topic) = (group(self.subscribed.group.name), topic(&self.subscribed.topic));
        let (handle, by) = (handed.delivery.handle, String::new());
        let command = match how {
            Settling::Acknowledge => Command::Ack(Ack { group, topic, handles: vec![handle], by }),
            Settling::Forward => Command::DeadLetter(DeadLetter { group, topic, handle, by }),
        };
        self.doing = Some(Doing::Acknowledging { tries: 0, command: Box::new(command.clone()) });
        self.line.ask(command, 0, scene);
    }

    fn acknowledged(
        &mut self,
        reply: Option<Reply>,
        tries: u32,
        command: Box<Command>,
        scene: &mut Scene<'_>,
    ) {
        let outcome = match reply {
            Some(Reply::Done(Applied::Acked(results))) => match results.first() {
                Some(Ok(())) => Outcome::Ok(()),
                other => Outcome::Failed(format!("{other:?}")),
            },
            Some(Reply::Done(Applied::DeadLettered(Ok(())))) => Outcome::Ok(()),
            Some(Reply::Done(outcome)) => Outcome::Failed(format!("{outcome:?}")),
            Some(Reply::Messages { .. }) => Outcome::Unknown("answered as a receive".to_owned()),
            Some(Reply::NotHere { .. } | Reply::Unknown(_)) | None if tries + 1 < TRIES => {
                self.doing = Some(Doing::Acknowledging { tries: tries + 1, command });
                return;
            }
            Some(Reply::NotHere { .. } | Reply::Unknown(_)) | None => {
                Outcome::Unknown("not answered".to_owned())
            }
        };
        if let Some(ack) = self.history.acks.last_mut() {
            ack.call.completed = Some(moment(scene.now));
            ack.outcome = outcome;
        }
    }

    fn change(&mut self, handed: &Handed, place: usize, scene: &mut Scene<'_>) {
        let invisible_ms = scene.rng.between(0, self.invisible_ms);
        self.history.changes.push(Change {
            id: self.history.deliveries[place].id.clone(),
            position: position(handed),
            attempt: handed.delivery.attempt,
            invisible: millis(invisible_ms),
            call: Interval { invoked: moment(scene.now), completed: None },
            outcome: Outcome::Unknown("not ended".to_owned()),
        });
        let command = Command::ChangeInvisible(ChangeInvisible {
            group: group(self.subscribed.group.name),
            topic: topic(&self.subscribed.topic),
            handle: handed.delivery.handle,
            invisible_ms,
            at_least_retry_delay: scene.rng.chance(500),
            by: String::new(),
        });
        self.doing = Some(Doing::Changing);
        self.line.ask(command, 0, scene);
    }

    fn changed(&mut self, reply: Option<Reply>, scene: &Scene<'_>) {
        let Some(change) = self.history.changes.last_mut() else { return };
        change.call.completed = Some(moment(scene.now));
        change.outcome = match reply {
            Some(Reply::Done(Applied::Changed(Ok(_)))) => Outcome::Ok(()),
            Some(Reply::Done(outcome)) => Outcome::Failed(format!("{outcome:?}")),
            Some(Reply::NotHere { .. }) => Outcome::Failed("not here".to_owned()),
            Some(Reply::Messages { .. } | Reply::Unknown(_)) | None => {
                Outcome::Unknown("not answered".to_owned())
            }
        };
    }
}

fn position(handed: &Handed) -> Position {
    let queue = Some(format!("queue-{}", handed.delivery.queue.0));
    Position { queue, offset: handed.delivery.offset.0 }
}
