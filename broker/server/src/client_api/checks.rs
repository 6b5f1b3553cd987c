//! Half messages that nobody has decided about: the leader of each asks a producer of its topic, and notes that in the
//! log.
//!
//! A producer is where its Telemetry stream is: with this broker, or with any other of the cluster. One of them is asked
//! about each half message. What could not be noted is asked again, which does no harm.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mainstay_messaging::{Check, Command, HalfMessage, NoteChecks, QueueOffset, TopicName, TransactionId};
use mainstay_proto::control::{AskProducersRequest, ProducerQuestion};
use mainstay_proto::rocketmq::Resource;
use prost::Message as _;
use tokio::time::MissedTickBehavior;
use tonic::Request;
use tracing::debug;

use super::ClientApi;
use super::message::shown;
use super::producers::Question;
use crate::cluster::clients;

/// How often is looked whether a check is due.
const PERIOD: Duration = Duration::from_millis(200);
/// After something went wrong.
const PAUSE: Duration = Duration::from_secs(3);
/// Half messages of one round at most, and bytes of their bodies, about.
const ROUND: usize = 64;
const ROUND_BYTES: usize = 16 << 20;
/// How long another broker may take to ask its producers.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const NOTE_TIMEOUT: Duration = Duration::from_secs(5);

impl ClientApi {
    /// Runs until the broker stops.
    pub(super) async fn look_after_transactions(self) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.inner.stop.cancelled() => return,
            }
            while self.serves() {
                match self.check_some().await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(problem) => {
                        debug!(%problem, "half messages are not looked after for now");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    /// Asks producers that are connected to this broker. Tells which questions were sent.
    pub(crate) fn ask_producers(&self, topic: &str, questions: &[Question]) -> Vec<bool> {
        self.inner.producers.ask(topic, questions)
    }

    fn serves(&self) -> bool {
        let view = self.inner.group.view();
        view.is_leader() && view.serving && !self.inner.stop.is_cancelled()
    }

    /// Looks after some that are due, and tells how many.
    async fn check_some(&self) -> Result<usize, String> {
        let due = self.inner.group.query_at(|state, now| state.due_checks(now, ROUND));
        let due = due.await.map_err(|error| error.to_string())?;
        let looked_after = due.len();
        let mut topics: BTreeMap<TopicName, Vec<HalfMessage>> = BTreeMap::new();
        for check in due {
            topics.entry(check.topic.clone()).or_default().push(check);
        }
        for (topic, due) in topics {
            let checks = self.ask_about(&topic, due).await;
            let note = Command::NoteChecks(NoteChecks { topic, checks });
            let noted = self.inner.group.propose(note, Instant::now() + NOTE_TIMEOUT).await;
            noted.map_err(|error| error.to_string())?;
        }
        Ok(looked_after)
    }

    async fn ask_about(&self, topic: &TopicName, due: Vec<HalfMessage>) -> Vec<Check> {
        let mut checks = Vec::with_capacity(due.len());
        let mut due = due.into_iter().map(|check| check.transaction).peekable();
        while due.peek().is_some() {
            let (questions, unreadable) = self.questions(topic, &mut due).await;
            checks.extend(unreadable.into_iter().map(|transaction| Check { transaction, asked: false }));
            let asked = self.ask_anywhere(topic, &questions).await;
            checks.extend(
                questions
                    .iter()
                    .zip(asked)
                    .map(|((transaction, _), asked)| Check { transaction: *transaction, asked }),
            );
        }
        checks
    }

    /// What to ask about the first of `due`, and those of them whose message cannot be read.
    async fn questions(
        &self,
        topic: &TopicName,
        due: &mut impl Iterator<Item = TransactionId>,
    ) -> (Vec<(TransactionId, Question)>, Vec<TransactionId>) {
        let (mut questions, mut unreadable, mut bytes) = (Vec::new(), Vec::new(), 0);
        let resource = Resource { resource_namespace: String::new(), name: topic.to_string() };
        for transaction in due {
            let loaded = self.inner.group.load_stored(&[transaction.record()]).await.pop();
            match loaded {
                Some(Ok(stored)) if stored.publish.topic == *topic => {
                    bytes += stored.publish.body.len();
                    let place = (stored.publish.queue, QueueOffset(0));
                    let message = shown(stored, resource.clone(), place, &self.inner.store_host);
                    questions
                        .push((transaction, Question { transaction_id: transaction.to_string(), message }));
                }
                _ => unreadable.push(transaction),
            }
            if bytes >= ROUND_BYTES {
                break;
            }
        }
        (questions, unreadable)
    }

    /// Whether a producer was asked each; those of this broker first.
    async fn ask_anywhere(&self, topic: &TopicName, questions: &[(TransactionId, Question)]) -> Vec<bool> {
        let own: Vec<Question> = questions.iter().map(|(_, question)| question.clone()).collect();
        let mut asked = self.ask_producers(topic.as_str(), &own);
        let config = &self.inner.config;
        let others = config.groups.iter().flat_map(|group| &group.members);
        for member in others.filter(|member| member.name != config.member) {
            let open: Vec<usize> = (0..asked.len()).filter(|at| !asked[*at]).collect();
            if open.is_empty() {
                break;
            }
            let left: Vec<&Question> = open.iter().map(|at| &own[*at]).collect();
            for (at, sent) in open.iter().zip(self.ask_at(&member.name, topic, &left).await) {
                asked[*at] = sent;
            }
        }
        asked
    }

    /// Empty when that broker did not answer.
    async fn ask_at(&self, member: &str, topic: &TopicName, questions: &[&Question]) -> Vec<bool> {
        let Some(channel) = self.inner.cluster.member(member) else { return Vec::new() };
        let encoded = |question: &&Question| ProducerQuestion {
            transaction_id: question.transaction_id.clone(),
            message: question.message.encode_to_vec().into(),
        };
        let mut request = Request::new(AskProducersRequest {
            topic: topic.to_string(),
            questions: questions.iter().map(encoded).collect(),
        });
        request.set_timeout(ASK_TIMEOUT);
        let mut peer = clients::admin(channel);
        match tokio::time::timeout(ASK_TIMEOUT, peer.ask_producers(request)).await {
            Ok(Ok(answer)) => answer.into_inner().asked,
            Ok(Err(error)) => {
                debug!(member, %error, "cannot ask producers of another broker");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }
}
