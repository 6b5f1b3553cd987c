//! Quarantine files: what lies in them, and putting their messages into the log again.
//!
//! Only the broker that has the file can read it; any broker passes the call on to it. Messages go the way of every
//! other message, with the ids they had. A file is marked as done only after each of its messages was acknowledged in
//! one run; until then nothing about it changes, so that a run can be repeated.

use std::path::Path;

use futures::StreamExt;
use futures::stream::BoxStream;
use mainstay_messaging::{Command, Publish};
use mainstay_proto::control::republish_quarantine_response::Content;
use mainstay_proto::control::{
    QuarantinedMessage, RepublishQuarantineRequest, RepublishQuarantineResponse, RepublishSummary,
    RepublishedMessage, ShowQuarantineRequest, ShowQuarantineResponse,
};
use mainstay_proto::rocketmq::Code;
use mainstay_record::{BatchKind, LogIndex};
use mainstay_storage::QuarantineFile;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::leaders::{Origin, Peer, passed_on};
use super::{AdminService, Answer};
use crate::cluster::clients;

pub(super) type Republishing = BoxStream<'static, Result<RepublishQuarantineResponse, Status>>;

/// Messages that one look shows at most.
const MAX_SHOWN: u32 = 1024;
/// Messages and bytes of bodies of one send, about.
const SEND_MESSAGES: usize = 64;
const SEND_BYTES: usize = 4 << 20;
/// Results that may wait for a slow reader.
const RESULTS_AHEAD: usize = 256;

/// A message of a tail, and where it stood in it.
struct Stored {
    index: LogIndex,
    slot: u32,
    publish: Publish,
}

/// What a file holds.
struct Contents {
    messages: Vec<Stored>,
    /// Records that are no messages.
    others: u64,
}

pub(super) async fn show(
    service: &AdminService,
    request: Request<ShowQuarantineRequest>,
) -> Answer<ShowQuarantineResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    if let Some(mut holder) = service.holder(&message.member, origin)? {
        return holder.show_quarantine(passed_on(message)).await;
    }
    let contents = service.read_quarantine(&service.quarantine_file(&message.file)?).await?;
    let total = contents.messages.len() as u64;
    let limit = message.limit.min(MAX_SHOWN) as usize;
    let messages = contents.messages.into_iter().skip(message.skip as usize).take(limit).map(shown).collect();
    Ok(Response::new(ShowQuarantineResponse { messages, total, others: contents.others }))
}

pub(super) async fn republish(
    service: &AdminService,
    request: Request<RepublishQuarantineRequest>,
) -> Answer<Republishing> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    if let Some(mut holder) = service.holder(&message.member, origin)? {
        let mut request = passed_on(message);
        // It takes as long as there are messages.
        request.metadata_mut().remove("grpc-timeout");
        return Ok(Response::new(holder.republish_quarantine(request).await?.into_inner().boxed()));
    }
    let file = service.quarantine_file(&message.file)?;
    let contents = service.read_quarantine(&file).await?;
    let (results, told) = mpsc::channel(RESULTS_AHEAD);
    let service = service.clone();
    tokio::spawn(async move {
        let outcome = service.send_again(&file, contents.messages, &results).await;
        // Whoever asked may have gone away.
        let _ = results.send(outcome.map(|summary| response(Content::Summary(summary)))).await;
    });
    Ok(Response::new(ReceiverStream::new(told).boxed()))
}

impl AdminService {
    /// Whom to ask; `None` for this broker itself.
    fn holder(&self, member: &str, origin: Origin) -> Result<Option<Peer>, Status> {
        if member.is_empty() || member == self.config.member || origin == Origin::Peer {
            return Ok(None);
        }
        let channel = self.cluster.member(member);
        let channel = channel.ok_or_else(|| Status::not_found(format!("there is no broker '{member}'")))?;
        Ok(Some(clients::admin(channel)))
    }

    fn quarantine_file(&self, name: &str) -> Result<QuarantineFile, Status> {
        let wanted = Path::new(name).file_name();
        let found = self
            .group
            .quarantined()
            .into_iter()
            .find(|file| wanted.is_some() && file.path.file_name() == wanted);
        found.ok_or_else(|| {
            Status::not_found(format!(
                "{} has no quarantine file '{name}' to be published",
                self.config.member
            ))
        })
    }

    async fn read_quarantine(&self, file: &QuarantineFile) -> Result<Contents, Status> {
        let (file, fs) = (file.clone(), self.fs.clone());
        let read = tokio::task::spawn_blocking(move || contents(&file, &*fs)).await;
        read.unwrap_or_else(|error| Err(Status::internal(error.to_string())))
    }

    /// Sends all of them and tells what became of each; marks the file when all went well.
    async fn send_again(
        &self,
        file: &QuarantineFile,
        messages: Vec<Stored>,
        results: &mpsc::Sender<Result<RepublishQuarantineResponse, Status>>,
    ) -> Result<RepublishSummary, Status> {
        let mut summary = RepublishSummary::default();
        let mut rest = messages.into_iter().map(|stored| stored.publish).peekable();
        while let Some(first) = rest.next() {
            let mut bytes = first.body.len();
            let mut chunk = vec![first];
            while let Some(next) = rest.next_if(|next| {
                let fits = chunk.len() < SEND_MESSAGES && bytes + next.body.len() <= SEND_BYTES;
                fits && next.topic == chunk[0].topic
            }) {
                bytes += next.body.len();
                chunk.push(next);
            }
            for result in self.send_chunk(chunk).await {
                if result.code == Code::Ok as i32 {
                    summary.acknowledged += 1;
                } else {
                    summary.refused += 1;
                }
                if results.send(Ok(response(Content::Message(result)))).await.is_err() {
                    return Err(Status::cancelled("nobody listens any more"));
                }
            }
        }
        if summary.refused == 0 {
            self.mark_republished(file).await?;
            summary.done = true;
        }
        tracing::info!(
            file = %file.path.display(), summary.acknowledged, summary.refused, summary.done,
            "sent the messages of a quarantine file again"
        );
        Ok(summary)
    }

    /// One result each, in order.
    async fn send_chunk(&self, chunk: Vec<Publish>) -> Vec<RepublishedMessage> {
        let told: Vec<_> = chunk
            .iter()
            .map(|publish| (publish.topic.as_str().to_owned(), publish.message_id.clone()))
            .collect();
        let statuses = self.api.send_stored(chunk).await;
        let result = |((topic, message_id), status): (_, mainstay_proto::rocketmq::Status)| {
            RepublishedMessage { topic, message_id, code: status.code, reason: status.message }
        };
        told.into_iter().zip(statuses).map(result).collect()
    }

    async fn mark_republished(&self, file: &QuarantineFile) -> Result<(), Status> {
        let (marked, fs) = (file.clone(), self.fs.clone());
        tokio::task::spawn_blocking(move || marked.mark_republished(&*fs))
            .await
            .map_err(|error| error.to_string())
            .and_then(|marked| marked.map_err(|error| error.to_string()))
            .map_err(|error| Status::internal(format!("all were acknowledged, but the file: {error}")))?;
        self.group.dismiss_quarantined(file);
        Ok(())
    }
}

fn contents(file: &QuarantineFile, fs: &dyn mainstay_storage::FileSystem) -> Result<Contents, Status> {
    let batches = file.load(fs).map_err(|error| Status::data_loss(error.to_string()))?;
    let mut contents = Contents { messages: Vec::new(), others: 0 };
    for batch in &batches {
        if batch.header().kind != BatchKind::Data {
            contents.others += u64::from(batch.header().records);
            continue;
        }
        for (slot, record) in (0..).zip(batch.records()) {
            match Command::decode(&record) {
                Ok(Command::Publish(publish)) => {
                    contents.messages.push(Stored { index: batch.index(), slot, publish });
                }
                Ok(_) => contents.others += 1,
                Err(error) => {
                    let text = format!("record {}/{slot} cannot be read: {error}", batch.index());
                    return Err(Status::data_loss(text));
                }
            }
        }
    }
    Ok(contents)
}

fn shown(stored: Stored) -> QuarantinedMessage {
    let Stored { index, slot, publish } = stored;
    QuarantinedMessage {
        index: index.0,
        slot,
        topic: publish.topic.as_str().to_owned(),
        message_id: publish.message_id,
        tag: publish.tag.unwrap_or_default(),
        keys: publish.keys,
        body_bytes: publish.body.len() as u64,
        born_at_ms: publish.born_at.0,
    }
}

fn response(content: Content) -> RepublishQuarantineResponse {
    RepublishQuarantineResponse { content: Some(content) }
}
