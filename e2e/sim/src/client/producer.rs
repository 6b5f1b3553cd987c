//! A producer: one message at a time, each with a body of its own, sent again while it is not known to be stored.

use bytes::Bytes;
use mainstay_checker::{Client as Who, History, Interval, Kind, Outcome, Receipt, Role, Send};
use mainstay_messaging::{Command, Encoding, MessageKind, Outcome as Applied, Place, Publish, QueueId};
use mainstay_record::Timestamp;

use super::{Admin, CLOCK, Effect, Input, Line, PAUSE, Scene, checksum, moment, topic, topic_name};
use crate::time::{MILLI, SECOND, Time};
use crate::wire::Reply;

/// Requests of one message that may have been stored, at most.
const TRIES: u32 = 3;
/// How long a message is tried for while nobody takes it.
const PERSISTENCE: Time = 8 * SECOND;

/// The message that is being sent.
#[derive(Debug)]
struct Sending {
    publish: Publish,
    since: Time,
    /// Requests that may have been stored.
    tries: u32,
}

#[derive(Debug)]
pub(crate) struct Producer {
    line: Line,
    topic: usize,
    gap: Time,
    heaviness: u64,
    sending: Option<Sending>,
    pub(crate) history: History,
    pub(crate) stopped: bool,
    /// When the send of the last acknowledged message began.
    last_acknowledged: Option<Time>,
    healed: Time,
}

impl Producer {
    pub(crate) fn new(name: String, topic: usize, gap: Time, heaviness: u64) -> Self {
        let client = Who { name, clock: CLOCK.to_owned(), topic: topic_name(topic), role: Role::Producer };
        Self {
            line: Line::default(),
            topic,
            gap,
            heaviness,
            sending: None,
            history: History::new(client),
            stopped: false,
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
        self.sending.is_none()
    }

    pub(super) fn take(&mut self, input: Input, scene: &mut Scene<'_>) {
        if matches!(input, Input::Wake) {
            self.go_on(scene);
            return;
        }
        let Some(reply) = self.line.answer(input, scene) else { return };
        let Some(sending) = &mut self.sending else { return };
        let outcome = match reply {
            Some(Reply::Done(Applied::Published { place: Place::Queue { offset, .. }, .. })) => {
                sending.tries += 1;
                let message_id = sending.publish.message_id.clone();
                self.last_acknowledged = Some(sending.since);
                Some(Outcome::Ok(Receipt { message_id, offset: Some(offset.0) }))
            }
            Some(Reply::Done(outcome)) => Some(self.refused(&format!("{outcome:?}"))),
            Some(Reply::NotHere { .. }) => {
                let patient = scene.now < sending.since + PERSISTENCE;
                (!patient).then(|| self.refused("nobody takes it"))
            }
            Some(Reply::Messages { .. }) => None,
            Some(Reply::Unknown(_)) | None => {
                sending.tries += 1;
                let tired = sending.tries >= TRIES;
                tired.then(|| Outcome::Unknown("not answered".to_owned()))
            }
        };
        match outcome {
            Some(outcome) => self.done(outcome, scene),
            None => scene.effects.push(Effect::Wake { after: PAUSE }),
        }
    }

    /// The last request was not stored; an earlier one may have been.
    fn refused(&self, why: &str) -> Outcome<Receipt> {
        match &self.sending {
            Some(sending) if sending.tries > 0 => Outcome::Unknown(why.to_owned()),
            _ => Outcome::Failed(why.to_owned()),
        }
    }

    fn done(&mut self, outcome: Outcome<Receipt>, scene: &mut Scene<'_>) {
        let Some(sending) = self.sending.take() else { return };
        if let Some(send) = self.history.sends.last_mut() {
            send.call.completed = Some(moment(scene.now));
            send.outcome = outcome;
            send.tries = Some(sending.tries);
        }
        let gap = scene.rng.between(self.gap / 4, self.gap * 2);
        scene.effects.push(Effect::Wake { after: gap });
    }

    fn go_on(&mut self, scene: &mut Scene<'_>) {
        if self.line.open.is_some() {
            return;
        }
        if self.sending.is_none() {
            if self.stopped {
                return;
            }
            self.begin(scene);
        }
        if let Some(sending) = &self.sending {
            self.line.ask(Command::Publish(sending.publish.clone()), 0, scene);
        }
    }

    fn begin(&mut self, scene: &mut Scene<'_>) {
        let id = format!("{}-{}", self.history.client.name, self.history.sends.len());
        let length = (scene.rng.pick(&[10, 100, 100, 1000, 4000]) * self.heaviness) as usize;
        let letter = b'a' + scene.rng.below(26) as u8;
        let mut body = format!("{id} ").into_bytes();
        body.resize(body.len() + length, letter);
        let tag = scene.rng.pick(&[None, Some("red"), Some("blue")]).map(str::to_owned);
        self.history.sends.push(Send {
            id: id.clone(),
            checksum: checksum(&body),
            tag: tag.clone(),
            kind: Kind::Normal,
            call: Interval { invoked: moment(scene.now), completed: None },
            outcome: Outcome::Unknown("not ended".to_owned()),
            tries: None,
        });
        let publish = Publish {
            topic: topic(&topic_name(self.topic)),
            queue: QueueId(scene.rng.below(u64::from(Admin::queues(self.topic))) as u32),
            kind: MessageKind::Normal,
            tag,
            message_id: format!("M-{id}"),
            keys: Vec::new(),
            properties: Vec::new(),
            trace_context: None,
            born_at: Timestamp(scene.now / MILLI),
            born_host: "simulation".to_owned(),
            encoding: Encoding::Identity,
            body: Bytes::from(body),
        };
        self.sending = Some(Sending { publish, since: scene.now, tries: 0 });
    }
}
