//! The internal port: what the command line, the operator and other replicas ask. Every call is answered, and the broker
//! stays sound. It may well have been told to serve no longer: then the next input finds a new one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mainstay_proto::{control, replication};
use prost::Message as _;
use tonic::metadata::MetadataMap;

use super::rig::{Rig, call};
use crate::{Input, Script};

/// Calls that wait are ended by it, which is an answer as well.
const TIMEOUT: Duration = Duration::from_millis(100);
const MAX_CALLS: usize = 6;
const MAX_FRAMES: usize = 8;
/// For a broker to go on after what it was told.
const COMES_BACK: Duration = Duration::from_millis(300);

const CONTROL: &str = "/mainstay.control.v1.Control";
const ADMIN: &str = "/mainstay.control.v1.Admin";
const REPLICATION: &str = "/mainstay.replication.v1.Replication";

const CALLS: [(&str, &str); 37] = [
    (CONTROL, "Status"),
    (CONTROL, "Campaign"),
    (CONTROL, "Promote"),
    (CONTROL, "GrantLease"),
    (CONTROL, "StepDown"),
    (CONTROL, "ChangeMembership"),
    (CONTROL, "AbandonChange"),
    (CONTROL, "AdoptMembership"),
    (REPLICATION, "Hello"),
    (REPLICATION, "Deliver"),
    (REPLICATION, "Refill"),
    (ADMIN, "CreateTopic"),
    (ADMIN, "ListTopics"),
    (ADMIN, "DescribeTopic"),
    (ADMIN, "DeleteTopic"),
    (ADMIN, "CreateConsumerGroup"),
    (ADMIN, "ListConsumerGroups"),
    (ADMIN, "DescribeConsumerGroup"),
    (ADMIN, "DeleteConsumerGroup"),
    (ADMIN, "ResetConsumerGroup"),
    (ADMIN, "CreateUser"),
    (ADMIN, "ListUsers"),
    (ADMIN, "DescribeUser"),
    (ADMIN, "ChangeUser"),
    (ADMIN, "DeleteUser"),
    (ADMIN, "ClusterStatus"),
    (ADMIN, "PeekMessages"),
    (ADMIN, "TraceMessage"),
    (ADMIN, "ListDeadLetters"),
    (ADMIN, "ResendDeadLetters"),
    (ADMIN, "ListTransactions"),
    (ADMIN, "AskProducers"),
    (ADMIN, "ShowQuarantine"),
    (ADMIN, "RepublishQuarantine"),
    (ADMIN, "ChangeMembers"),
    (ADMIN, "AbandonMemberChange"),
    (ADMIN, "WatchMetadata"),
];

static RIG: Mutex<Option<Rig>> = Mutex::new(None);

pub(in crate::targets) fn internal(bytes: &[u8]) {
    let mut slot = RIG.lock().unwrap_or_else(PoisonError::into_inner);
    let rig = Rig::of(&mut slot, |_| {});
    let node = status(rig).node_id;
    let mut input = Input::new(bytes);
    for _ in 0..MAX_CALLS {
        if input.is_empty() {
            break;
        }
        let (service, name) = CALLS[usize::from(input.byte()) % CALLS.len()];
        let mut frames = vec![addressed(name, input.chunk(), node)];
        // Those that take several: the number before them.
        let more =
            if matches!(name, "Deliver" | "Refill") { usize::from(input.byte()) % MAX_FRAMES } else { 0 };
        frames.extend((0..more).map(|_| addressed(name, input.chunk(), node)));
        rig.run(call(&rig.internal, &format!("{service}/{name}"), frames, MetadataMap::new(), TIMEOUT));
    }
    rig.is_sound();
    status(rig);
    if !rig.serves(COMES_BACK) {
        *slot = None;
    }
}

/// What is for node 1 is for the broker, whose id the input cannot know.
fn addressed(name: &str, bytes: Bytes, node: u64) -> Bytes {
    match name {
        "Deliver" => match replication::Envelope::decode(bytes.clone()) {
            Ok(envelope) if envelope.to == 1 => {
                replication::Envelope { to: node, ..envelope }.encode_to_vec().into()
            }
            _ => bytes,
        },
        "Refill" => match replication::RefillRequest::decode(bytes.clone()) {
            Ok(replication::RefillRequest {
                part: Some(replication::refill_request::Part::Begin(begin)),
            }) if begin.to == 1 => {
                let begin = replication::RefillBegin { to: node, ..begin };
                let part = Some(replication::refill_request::Part::Begin(begin));
                replication::RefillRequest { part }.encode_to_vec().into()
            }
            _ => bytes,
        },
        _ => bytes,
    }
}

fn status(rig: &Rig) -> control::StatusResponse {
    let path = format!("{CONTROL}/Status");
    let answer =
        rig.run(call(&rig.internal, &path, vec![Bytes::new()], MetadataMap::new(), Duration::from_secs(5)));
    let bytes = answer.messages.first().cloned();
    let status = bytes.and_then(|bytes| control::StatusResponse::decode(bytes).ok());
    status.unwrap_or_else(|| panic!("no status: {:?}", answer.error))
}

pub(in crate::targets) fn internal_seeds() -> Vec<Vec<u8>> {
    let place = |name: &str| CALLS.iter().position(|(_, known)| *known == name).expect("a call") as u8;
    let one = |name: &str, bytes: &[u8]| Script::new().byte(place(name)).chunk(bytes).done();
    let mut seeds: Vec<Vec<u8>> = CALLS.iter().map(|(_, name)| one(name, b"")).collect();
    for (name, bytes) in orders().into_iter().chain(definitions()).chain(questions()) {
        seeds.push(one(name, &bytes));
    }
    // A topic, a group and what is asked about them.
    let together = definitions().into_iter().take(3).chain(questions().into_iter().take(3));
    seeds.push(
        together.fold(Script::new(), |script, (name, bytes)| script.byte(place(name)).chunk(&bytes)).done(),
    );
    for bytes in super::super::consensus::envelope_seeds() {
        seeds.push(Script::new().byte(place("Deliver")).chunk(&bytes).byte(1).chunk(&bytes).done());
    }
    seeds.extend(refills().iter().map(|frames| {
        let start = Script::new().byte(place("Refill")).chunk(&frames[0]).byte(frames.len() as u8 - 1);
        frames[1..].iter().fold(start, |script, frame| script.chunk(frame)).done()
    }));
    seeds
}

fn orders() -> Vec<(&'static str, Vec<u8>)> {
    use control::*;
    let change = ChangeMembershipRequest { version: 1, node_ids: vec![1, 2], min_in_sync: Some(1) };
    let adopt = AdoptMembershipRequest { version: 9, node_ids: vec![1], min_in_sync: None };
    let epoch = Some(Epoch { number: 1, candidate: 1 });
    let hello =
        replication::HelloRequest { cluster: "dev".to_owned(), group: 0, member: "x".to_owned(), node_id: 2 };
    let members = ChangeMembersRequest { group: 0, change: Some(change.clone()) };
    vec![
        ("Campaign", CampaignRequest { epoch: 2, valid_ms: 50, as_of_clock_ms: 1 }.encode_to_vec()),
        ("Promote", PromoteRequest { epoch: 2, valid_ms: 50, as_of_clock_ms: 1 }.encode_to_vec()),
        ("GrantLease", GrantLeaseRequest { epoch, duration_ms: 9, as_of_clock_ms: 1 }.encode_to_vec()),
        ("StepDown", StepDownRequest { to_node_id: Some(2), timeout_ms: 5 }.encode_to_vec()),
        ("ChangeMembership", change.encode_to_vec()),
        ("AdoptMembership", adopt.encode_to_vec()),
        ("Hello", hello.encode_to_vec()),
        ("ChangeMembers", members.encode_to_vec()),
    ]
}

fn definitions() -> Vec<(&'static str, Vec<u8>)> {
    use control::*;
    let topic = Topic { name: "orders".to_owned(), r#type: TopicType::Normal as i32, queues: 2, revision: 0 };
    let retry = CustomizedRetry { delays_ms: vec![1, 2, 3] };
    let group = ConsumerGroup {
        name: "billing".to_owned(),
        start: StartPosition::Earliest as i32,
        max_attempts: 3,
        order: DeliveryOrder::InOrder as i32,
        retry: Some(RetryPolicy { policy: Some(retry_policy::Policy::Customized(retry)) }),
        ..ConsumerGroup::default()
    };
    let rights = Some(Rights { admin: false, grants: vec!["publish:topic:orders*".to_owned()] });
    let secret = || Some(UserSecret { text: "s3cret-s3cret".to_owned() });
    let user = Some(User { name: "user".to_owned(), rights: rights.clone(), revision: 0 });
    let name = || "user".to_owned();
    vec![
        ("CreateTopic", CreateTopicRequest { topic: Some(topic) }.encode_to_vec()),
        ("CreateConsumerGroup", CreateConsumerGroupRequest { group: Some(group) }.encode_to_vec()),
        ("CreateUser", CreateUserRequest { user, secret: secret() }.encode_to_vec()),
        ("ChangeUser", ChangeUserRequest { name: name(), secret: secret(), rights }.encode_to_vec()),
        ("DescribeUser", DescribeUserRequest { name: name() }.encode_to_vec()),
        ("DeleteUser", DeleteUserRequest { name: name() }.encode_to_vec()),
        (
            "DeleteConsumerGroup",
            DeleteConsumerGroupRequest { name: "billing".to_owned(), with_dead_letters: true }
                .encode_to_vec(),
        ),
        ("DeleteTopic", DeleteTopicRequest { name: "orders".to_owned() }.encode_to_vec()),
    ]
}

fn questions() -> Vec<(&'static str, Vec<u8>)> {
    use control::*;
    let (topic, group) = (|| "orders".to_owned(), || "billing".to_owned());
    let reset = ResetConsumerGroupRequest { group: group(), topic: topic(), to: 0, to_time_ms: Some(5) };
    let question = ProducerQuestion { transaction_id: "x".to_owned(), message: b"\x0a\x00".to_vec().into() };
    let show = ShowQuarantineRequest { member: "dev".to_owned(), file: "../x".to_owned(), skip: 1, limit: 2 };
    let republish = RepublishQuarantineRequest { member: "dev".to_owned(), file: "a.batches".to_owned() };
    let peek = PeekMessagesRequest { topic: topic(), group: 0, queue: 0, offset: 0, limit: 9 };
    vec![
        ("DescribeTopic", DescribeTopicRequest { name: topic() }.encode_to_vec()),
        ("DescribeConsumerGroup", DescribeConsumerGroupRequest { name: group() }.encode_to_vec()),
        ("ResetConsumerGroup", reset.encode_to_vec()),
        ("PeekMessages", peek.encode_to_vec()),
        ("TraceMessage", TraceMessageRequest { message_id: "01FUZZ".to_owned() }.encode_to_vec()),
        ("ListDeadLetters", ListDeadLettersRequest { consumer_group: group() }.encode_to_vec()),
        ("ResendDeadLetters", ResendDeadLettersRequest { consumer_group: group(), limit: 9 }.encode_to_vec()),
        ("ListTransactions", ListTransactionsRequest { topic: topic(), limit: 3 }.encode_to_vec()),
        ("AskProducers", AskProducersRequest { topic: topic(), questions: vec![question] }.encode_to_vec()),
        ("ShowQuarantine", show.encode_to_vec()),
        ("RepublishQuarantine", republish.encode_to_vec()),
        ("WatchMetadata", WatchMetadataRequest { after_version: 9, wait_ms: 3 }.encode_to_vec()),
    ]
}

/// Refills: what was begun, some batches, some bytes of a snapshot.
fn refills() -> Vec<Vec<Vec<u8>>> {
    use replication::refill_request::Part;
    let frame = |part| replication::RefillRequest { part: Some(part) }.encode_to_vec();
    let base = super::super::storage::some_base().to_bytes();
    let begin = replication::RefillBegin {
        from: 2,
        to: 1,
        epoch: Some(replication::Epoch { number: 3, candidate: 2 }),
        round: 1,
        log_base: mainstay_storage::LogBase::default().to_bytes(),
        snapshot_base: base,
    };
    let batch = super::super::record::sealed(mainstay_record::BatchKind::Data, 1, &[b"x"]).bytes().clone();
    let batches = frame(Part::Batches(replication::RefillBatches { batches: vec![batch] }));
    let snapshot = frame(Part::Snapshot(Bytes::from_static(b"MSTSNAPS")));
    vec![vec![frame(Part::Begin(begin)), batches.clone(), snapshot], vec![batches]]
}
