//! A consumer: receives by long poll, acknowledges most of what it gets, lets some of it come again, and gives up some of
//! it earlier or later.

use mainstay_checker::{
    Ack as Acked, Client as Who, Delivery, Filter as Wanted, History, Interval, Order, Outcome, Position,
    Receive as Received, Role, Settling,
};
use mainstay_messaging::{
    Ack, ChangeInvisible, Command, Filter, Outcome as Applied, QueueSelection, Receive,
};

use super::{CLOCK, Effect, Input, Line, PAUSE, Scene, checksum, group, millis, moment, topic, topic_name};
use crate::time::{MILLI, SECOND, Time};
use crate::wire::{Handed, Reply};

const POLL: Time = 2 * SECOND;
/// Requests for one acknowledgement at most.
const TRIES: u32 = 3;

/// What to do about a message that was received.
#[derive(Debug)]
enum Doing {
    Receiving,
    /// The ack is the last of the history.
    Acknowledging {
        tries: u32,
        command: Box<Command>,
    },
    Changing,
}

#[derive(Debug)]
pub(crate) struct Consumer {
    line: Line,
    topic: usize,
    filter: Filter,
    group: String,
    invisible_ms: u64,
    /// How often it does something else than to acknowledge at once, per mille.
    caprice: u64,
    doing: Option<Doing>,
    /// Received and not dealt with: the message and its place in the history.
    todo: Vec<(Handed, usize)>,
    last_message: Time,
    pub(crate) history: History,
    /// Stops when nothing has come for longer than the invisible time.
    pub(crate) draining: bool,
}

impl Consumer {
    pub(crate) fn new(name: String, topic: usize, group: &str, tag: Option<&str>, invisible_ms: u64) -> Self {
        let (filter, wanted) = match tag {
            None => (Filter::All, Wanted::All),
            Some(tag) => (Filter::Tags(vec![tag.to_owned()]), Wanted::Tags(vec![tag.to_owned()])),
        };
        let role = Role::Consumer {
            group: group.to_owned(),
            filter: wanted,
            order: Order::Concurrent,
            max_attempts: None,
        };
        let client = Who { name, clock: CLOCK.to_owned(), topic: topic_name(topic), role };
        Self {
            line: Line::default(),
            topic,
            filter,
            group: group.to_owned(),
            invisible_ms,
            caprice: 100,
            doing: None,
            todo: Vec::new(),
            last_message: 0,
            history: History::new(client),
            draining: false,
        }
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
            Some(Doing::Receiving) => self.received(reply, scene),
            Some(Doing::Acknowledging { tries, command }) => self.acknowledged(reply, tries, command, scene),
            Some(Doing::Changing) | None => {}
        }
        scene.effects.push(Effect::Wake { after: pause + scene.rng.between(0, 20 * MILLI) });
    }

    fn go_on(&mut self, scene: &mut Scene<'_>) {
        if let Some(Doing::Acknowledging { command, .. }) = &self.doing {
            let command = command.clone();
            self.line.ask(*command, 0, scene);
            return;
        }
        while let Some((handed, place)) = self.todo.pop() {
            match scene.rng.below(1000) {
                dropped if dropped < self.caprice / 2 => {}
                changed if changed < self.caprice => return self.change(&handed, place, scene),
                _ => return self.acknowledge(&handed, place, scene),
            }
        }
        let idle = scene.now.saturating_sub(self.last_message);
        if self.draining && idle > 2 * self.invisible_ms * MILLI + POLL {
            self.history.drained.get_or_insert(moment(scene.now));
            return;
        }
        self.receive(scene);
    }

    fn receive(&mut self, scene: &mut Scene<'_>) {
        let receive = Receive {
            group: group(&self.group),
            topic: topic(&topic_name(self.topic)),
            queues: QueueSelection::All,
            max: scene.rng.between(1, 16) as u32,
            filter: self.filter.clone(),
            invisible_ms: self.invisible_ms,
            attempt_id: None,
            by: String::new(),
        };
        let call = Interval { invoked: moment(scene.now), completed: None };
        self.history.receives.push(Received { call, outcome: Outcome::Unknown("not ended".to_owned()) });
        self.doing = Some(Doing::Receiving);
        self.line.ask(Command::Receive(receive), POLL, scene);
    }

    fn received(&mut self, reply: Option<Reply>, scene: &mut Scene<'_>) {
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
        let Some(Reply::Messages { messages, .. }) = reply else { return };
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
    }

    fn acknowledge(&mut self, handed: &Handed, place: usize, scene: &mut Scene<'_>) {
        self.history.acks.push(Acked {
            how: Settling::Acknowledge,
            id: self.history.deliveries[place].id.clone(),
            position: position(handed),
            attempt: handed.delivery.attempt,
            call: Interval { invoked: moment(scene.now), completed: None },
            outcome: Outcome::Unknown("not ended".to_owned()),
        });
        let (group, topic) = (group(&self.group), topic(&topic_name(self.topic)));
        let command =
            Command::Ack(Ack { group, topic, handles: vec![handed.delivery.handle], by: String::new() });
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
        // From here on it may come again at any time.
        self.history.deliveries[place].invisible = None;
        let command = Command::ChangeInvisible(ChangeInvisible {
            group: group(&self.group),
            topic: topic(&topic_name(self.topic)),
            handle: handed.delivery.handle,
            invisible_ms: scene.rng.between(0, self.invisible_ms),
            at_least_retry_delay: false,
            by: String::new(),
        });
        self.doing = Some(Doing::Changing);
        self.line.ask(command, 0, scene);
    }
}

fn position(handed: &Handed) -> Position {
    let queue = Some(format!("queue-{}", handed.delivery.queue.0));
    Position { queue, offset: handed.delivery.offset.0 }
}
