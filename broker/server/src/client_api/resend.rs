//! Sends dead letters of a consumer group to the topics they came from.
//!
//! A consumer group of the broker's own reads the dead-letter topic for this: what it acknowledged is settled and not
//! sent again, in whatever broker the next run begins. A message is acknowledged after it was stored, and its new id
//! follows from its place, so that one sent twice, after a run that broke off in between, is stored once: it comes back
//! well before its id is forgotten.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use futures::StreamExt;
use mainstay_messaging::{
    CreateGroup, DeliveryOrder, GroupName, REMEMBERED_MS, RetryPolicy, StartPosition, TopicName,
};
use mainstay_proto::control::resend_dead_letters_response::Content;
use mainstay_proto::control::{ResendDeadLettersResponse, ResendSummary, ResentMessage};
use mainstay_proto::rocketmq::receive_message_response::Content as Part;
use mainstay_proto::rocketmq::{
    AckMessageEntry, AckMessageRequest, Broker, ChangeInvisibleDurationRequest, Code, EndTransactionRequest,
    Message, MessageQueue, MessageType, ReceiveMessageRequest, Resource, SendMessageRequest, SendResultEntry,
    Status, SystemProperties, TransactionResolution,
};
use md5::{Digest as _, Md5};
use tokio::sync::mpsc;

use super::ClientApi;
use super::caller::{Caller, Dialect};
use super::refusal::{Checked, Refusal};
use super::route::broker_name;
use super::times::wire_duration;
use crate::forward::Failure;

/// The consumer group that reads dead letters in order to send them again.
pub(crate) const RESENDERS: &str = "mainstay-dlq-resend";
/// Client id of messages that are sent again.
const CLIENT: &str = "mainstay-dlq-resend";
/// Dead letters taken at once.
const BATCH: u64 = 16;
/// Those of a run that broke off come back while their ids are remembered.
const INVISIBLE: Duration = Duration::from_millis(REMEMBERED_MS / 3);
/// A letter that has waited for its turn for so long is hidden for longer before it is sent.
const RENEW_AFTER: Duration = Duration::from_millis(INVISIBLE.as_millis() as u64 / 4);
/// How long a refused letter is hidden from the run that it was refused in; the run gives it back when it ends.
const REFUSED_FOR: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(300);
const LOOKUP_TIME: Duration = Duration::from_secs(5);

type Results = mpsc::Sender<Result<ResendDeadLettersResponse, tonic::Status>>;

/// A dead letter that was taken.
struct Letter {
    message: Message,
    handle: String,
    /// At the latest.
    hidden_since: Instant,
}

/// What is done with a letter that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Send,
    RenewAndSend,
    /// This run was refused it before.
    Skip,
}

/// One run.
struct Run<'a> {
    api: &'a ClientApi,
    letters: Resource,
    results: &'a Results,
    summary: ResendSummary,
    left: u64,
    /// New ids of those that were refused, with their handles: they wait for the next run.
    refused: HashMap<String, String>,
}

impl ClientApi {
    /// Sends at most `limit` dead letters of `group` and tells of each.
    ///
    /// # Errors
    /// When dead letters cannot be read, or be settled. What was told before was done.
    pub(crate) async fn resend_dead_letters(
        &self,
        group: &GroupName,
        limit: u64,
        results: &Results,
    ) -> Checked<ResendSummary> {
        self.inner.catalog.group_as(readers()?, Instant::now() + LOOKUP_TIME).await?;
        let letters = named(TopicName::dead_letters_of(group).as_str());
        let summary = ResendSummary::default();
        let mut run = Run { api: self, letters, results, summary, left: limit, refused: HashMap::new() };
        let mut done = Ok(());
        for broker_group in &self.inner.config.groups {
            done = run.empty(&broker_name(&self.inner.config, broker_group.id)).await;
            if done.is_err() {
                break;
            }
        }
        run.give_back().await;
        let ResendSummary { resent, refused } = run.summary;
        tracing::info!(%group, resent, refused, "sent dead letters again");
        done.map(|()| run.summary)
    }
}

/// Dead letters are never given up: what is refused waits for the next run.
fn readers() -> Checked<CreateGroup> {
    Ok(CreateGroup {
        name: super::names::group(Some(&named(RESENDERS)))?,
        start: StartPosition::Earliest,
        order: DeliveryOrder::Concurrent,
        max_attempts: u32::MAX,
        retry: RetryPolicy::default(),
    })
}

impl Run<'_> {
    /// Sends what one broker group has.
    async fn empty(&mut self, broker: &str) -> Checked<()> {
        while self.left > 0 && !self.results.is_closed() {
            let taken = self.take(broker).await?;
            if taken.is_empty() {
                return Ok(());
            }
            for letter in taken {
                self.attend(letter).await?;
            }
        }
        Ok(())
    }

    /// Sends a letter, unless this run was refused it before.
    async fn attend(&mut self, letter: Letter) -> Checked<()> {
        let id = letter.message.system_properties.as_ref().map(|system| new_id(&self.letters.name, system));
        let id = id.unwrap_or_default();
        let handle = match turn(&self.refused, &id, letter.hidden_since.elapsed()) {
            Turn::Skip => {
                let handle = self.hide(&letter.handle, REFUSED_FOR).await.unwrap_or(letter.handle);
                self.refused.insert(id, handle);
                return Ok(());
            }
            Turn::Send => letter.handle,
            Turn::RenewAndSend => match self.hide(&letter.handle, INVISIBLE).await {
                Ok(handle) => handle,
                // Too late: it is taken again, and sent then.
                Err(_) => return Ok(()),
            },
        };
        self.left = self.left.saturating_sub(1);
        self.send(Letter { handle, ..letter }).await
    }

    async fn take(&self, broker: &str) -> Checked<Vec<Letter>> {
        let hidden_since = Instant::now();
        let queue = MessageQueue {
            topic: Some(self.letters.clone()),
            id: -1,
            broker: Some(Broker { name: broker.to_owned(), ..Broker::default() }),
            ..MessageQueue::default()
        };
        let request = ReceiveMessageRequest {
            group: Some(named(RESENDERS)),
            message_queue: Some(queue),
            batch_size: i32::try_from(self.left.min(BATCH)).unwrap_or(1),
            invisible_duration: Some(wire_duration(INVISIBLE)),
            long_polling_timeout: Some(wire_duration(POLL)),
            ..ReceiveMessageRequest::default()
        };
        let mut stream = self.api.receive(&caller(), &request).await.map_err(in_words)?;
        let mut letters = Vec::new();
        while let Some(part) = stream.next().await {
            let part = part.map_err(|status| {
                Refusal::new(Code::ProxyTimeout, format!("reading dead letters: {}", status.message()))
            })?;
            match part.content {
                Some(Part::Message(message)) => {
                    let system = message.system_properties.as_ref();
                    let handle = system.map(|system| system.receipt_handle().to_owned()).unwrap_or_default();
                    letters.push(Letter { message, handle, hidden_since });
                }
                Some(Part::Status(status)) if ![Code::Ok, Code::MessageNotFound].contains(&status.code()) => {
                    return Err(Refusal::new(status.code(), status.message));
                }
                _ => {}
            }
        }
        Ok(letters)
    }

    /// Sends one, and settles it when it is stored.
    async fn send(&mut self, letter: Letter) -> Checked<()> {
        let (told, message) = self.again(letter.message);
        let status = self.api.publish_one(message).await;
        if status.code == Code::Ok as i32 {
            self.settle(&told.original_message_id, &letter.handle).await?;
            self.summary.resent += 1;
        } else {
            let handle = self.hide(&letter.handle, REFUSED_FOR).await.unwrap_or(letter.handle);
            self.refused.insert(told.message_id.clone(), handle);
            self.summary.refused += 1;
        }
        let told = ResentMessage { code: status.code, reason: status.message, ..told };
        // Whoever asked may have gone away; the run ends then.
        let _ =
            self.results.send(Ok(ResendDeadLettersResponse { content: Some(Content::Message(told)) })).await;
        Ok(())
    }

    /// The message as it is published again, and what is told of it.
    fn again(&self, letter: Message) -> (ResentMessage, Message) {
        let system = letter.system_properties.unwrap_or_default();
        let message_id = new_id(&self.letters.name, &system);
        let topic = system.dead_letter_queue.clone().unwrap_or_default().topic;
        let told = ResentMessage {
            topic: topic.clone(),
            original_message_id: system.message_id.clone(),
            message_id: message_id.clone(),
            ..ResentMessage::default()
        };
        let system = SystemProperties {
            message_id,
            body_digest: None,
            receipt_handle: None,
            dead_letter_queue: None,
            invisible_duration: None,
            delivery_attempt: None,
            ..system
        };
        let message = Message { topic: Some(named(&topic)), system_properties: Some(system), ..letter };
        (told, message)
    }

    async fn settle(&self, message_id: &str, handle: &str) -> Checked<()> {
        let entry = AckMessageEntry {
            message_id: message_id.to_owned(),
            receipt_handle: handle.to_owned(),
            lite_topic: None,
        };
        let request = AckMessageRequest {
            group: Some(named(RESENDERS)),
            topic: Some(self.letters.clone()),
            entries: vec![entry],
        };
        let answer = self.api.acknowledge(&caller(), &request).await.map_err(in_words)?;
        let status = answer.status.unwrap_or_default();
        if status.code == Code::Ok as i32 { Ok(()) } else { Err(Refusal::new(status.code(), status.message)) }
    }

    async fn give_back(&mut self) {
        for handle in std::mem::take(&mut self.refused).into_values() {
            // Where that does not work it comes back after its invisible time.
            let _ = self.hide(&handle, Duration::ZERO).await;
        }
    }

    /// Hides a letter for so long from now on. Its new handle.
    async fn hide(&self, handle: &str, invisible: Duration) -> Result<String, Failure> {
        let request = ChangeInvisibleDurationRequest {
            group: Some(named(RESENDERS)),
            topic: Some(self.letters.clone()),
            receipt_handle: handle.to_owned(),
            invisible_duration: Some(wire_duration(invisible)),
            ..ChangeInvisibleDurationRequest::default()
        };
        Ok(self.api.change_invisible(&caller(), &request).await?.to_string())
    }
}

impl ClientApi {
    /// Stores one message so that it is delivered: a half message is committed as well.
    async fn publish_one(&self, message: Message) -> Status {
        let topic = message.topic.clone();
        let transactional = message
            .system_properties
            .as_ref()
            .is_some_and(|system| system.message_type == MessageType::Transaction as i32);
        let sent = self.send(&caller(), &SendMessageRequest { messages: vec![message] }).await;
        let entry = match sent {
            Ok(answer) => answer.entries.into_iter().next().unwrap_or_default(),
            Err(failure) => return in_words(failure).status(Dialect::Current),
        };
        let SendResultEntry { status, transaction_id, message_id, .. } = entry;
        let status = status.unwrap_or_default();
        if !transactional || status.code != Code::Ok as i32 {
            return status;
        }
        let commit = EndTransactionRequest {
            topic,
            message_id,
            transaction_id,
            resolution: TransactionResolution::Commit as i32,
            ..EndTransactionRequest::default()
        };
        match self.end_transaction(&caller(), &commit).await {
            Ok(()) => status,
            Err(failure) => in_words(failure).status(Dialect::Current),
        }
    }
}

/// `waited`: since it was taken.
fn turn(refused: &HashMap<String, String>, id: &str, waited: Duration) -> Turn {
    match waited < RENEW_AFTER {
        _ if refused.contains_key(id) => Turn::Skip,
        true => Turn::Send,
        false => Turn::RenewAndSend,
    }
}

/// One for each call, since its time runs from its beginning.
fn caller() -> Caller {
    Caller::on_behalf_of(CLIENT)
}

fn named(name: &str) -> Resource {
    Resource { resource_namespace: String::new(), name: name.to_owned() }
}

fn in_words(failure: Failure) -> Refusal {
    match failure {
        Failure::Refused(refusal) => refusal,
        Failure::NotLeader => Refusal::new(Code::ProxyTimeout, "no leader was found; nothing was done"),
    }
}

/// The same for the same dead letter, in the form that official clients give ids.
fn new_id(letters: &str, system: &SystemProperties) -> String {
    let stored_at = system.store_timestamp.unwrap_or_default();
    let place = format!(
        "{letters} {} {} {} {} {}.{}",
        system.message_id,
        system.store_host,
        system.queue_id,
        system.queue_offset(),
        stored_at.seconds,
        stored_at.nanos
    );
    let mut id = "01".to_owned();
    for byte in Md5::digest(place.as_bytes()) {
        // Writing to a String does not fail.
        let _ = write!(id, "{byte:02X}");
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_skips_what_it_was_refused_and_renews_what_waited_for_long() {
        let refused = HashMap::from([("1".to_owned(), "handle".to_owned())]);
        assert_eq!(turn(&refused, "1", Duration::ZERO), Turn::Skip);
        assert_eq!(turn(&refused, "1", INVISIBLE), Turn::Skip);
        assert_eq!(turn(&refused, "2", Duration::ZERO), Turn::Send);
        assert_eq!(turn(&refused, "2", INVISIBLE / 2), Turn::RenewAndSend);
    }

    #[test]
    fn letters_of_a_run_that_broke_off_come_back_well_before_their_ids_are_forgotten() {
        // One is renewed before it is sent, and the next run needs time to take it.
        assert!(INVISIBLE * 2 < Duration::from_millis(REMEMBERED_MS));
    }

    #[test]
    fn a_dead_letter_has_one_new_id_and_another_dead_letter_another() {
        let letter = SystemProperties {
            message_id: "1".to_owned(),
            queue_offset: Some(7),
            ..SystemProperties::default()
        };
        let id = new_id("%DLQ%g", &letter);
        assert_eq!((id.len(), &id[..2]), (34, "01"));
        assert_eq!(new_id("%DLQ%g", &letter), id);
        assert_ne!(new_id("%DLQ%h", &letter), id);
        assert_ne!(new_id("%DLQ%g", &SystemProperties { queue_offset: Some(8), ..letter }), id);
    }
}
