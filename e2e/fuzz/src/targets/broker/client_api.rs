//! The client API: calls with any bytes for a request, one after the other, without access control or with it. Each is
//! answered with a status code, and afterwards the broker takes and gives a message as always.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mainstay_broker::config::{Administrator, Auth, Config};
use mainstay_messaging::{UserName, UserSecret};
use mainstay_proto::rocketmq::receive_message_response::Content;
use mainstay_proto::rocketmq::*;
use mainstay_proto::signature::sign;
use prost::Message as _;
use tonic::metadata::MetadataMap;

use super::requests::{CALLS, Memory};
use super::rig::{Rig, call, now};
use crate::{Input, Script};

const SERVICE: &str = "/apache.rocketmq.v2.MessagingService";
/// Longer than any call is held.
const TIMEOUT: Duration = Duration::from_secs(8);
/// More calls of one input are not made.
const MAX_CALLS: usize = 8;

static OPEN: Mutex<Option<Rig>> = Mutex::new(None);
static GUARDED: Mutex<Option<Rig>> = Mutex::new(None);

const USER: &str = "fuzzer";
const SECRET: &str = "s3cret-s3cret";

/// A broker, and how calls are signed there.
struct Door<'a> {
    rig: &'a Rig,
    signs: bool,
    /// Shown by callers that do not sign well.
    authorization: String,
    date: String,
}

pub(in crate::targets) fn client_api(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let guarded = input.byte() & 1 == 1;
    let slot = if guarded { &GUARDED } else { &OPEN };
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let rig = Rig::of(&mut slot, if guarded { guard } else { leave });
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    let (authorization, date) = match guarded {
        true => (text(input.chunk()), text(input.chunk())),
        false => Default::default(),
    };
    let door = Door { rig, signs: guarded, authorization, date };
    let mut memory = Memory::default();
    for _ in 0..MAX_CALLS {
        if input.is_empty() {
            break;
        }
        let (kind, caller) = (input.byte(), input.byte());
        let request = input.chunk();
        door.try_one(kind, caller, &request, &mut memory);
    }
    door.rig.is_sound();
    door.serves_as_always();
}

fn leave(_: &mut Config) {}

fn guard(config: &mut Config) {
    let name = UserName::new(USER).expect("a name");
    let secret = UserSecret::new(SECRET).expect("a secret");
    config.auth = Some(Auth { admin: Some(Administrator { name, secret }.into()), ..Auth::default() });
}

impl Door<'_> {
    fn try_one(&self, kind: u8, caller: u8, request: &Bytes, memory: &mut Memory) {
        let of = &CALLS[usize::from(kind) % CALLS.len()];
        let prepared = (of.prepare)(request, memory);
        let understood = prepared.is_some();
        let request = prepared.unwrap_or_else(|| request.clone());
        let path = format!("{SERVICE}/{}", of.name);
        let answer =
            self.rig.run(call(&self.rig.client, &path, vec![request], self.metadata(caller), TIMEOUT));
        match answer.error {
            None => {
                assert!(understood, "{path}: bytes that are no request were answered");
                (of.check)(&answer.messages, memory);
            }
            Some(error) => assert!(!understood, "{path}: {error}"),
        }
    }

    /// Who calls: mostly somebody with a name, now and then nobody, or the Rust client that knows fewer codes.
    fn metadata(&self, caller: u8) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        let mut say = |name: &'static str, value: &str| {
            if let Ok(value) = value.parse() {
                metadata.insert(name, value);
            }
        };
        if caller < 0xf0 {
            say("x-mq-client-id", ["fuzz@1", "fuzz@2", "fuzz@3", " "][usize::from(caller % 4)]);
        }
        if caller & 0x10 != 0 {
            say("x-mq-language", "RUST");
            say("x-mq-client-version", "5.0.0");
        }
        if self.signs && caller & 0x20 == 0 {
            let date = now().to_string();
            say("authorization", &sign(USER, SECRET, &date));
            say("x-mq-date-time", &date);
        } else if self.signs {
            say("authorization", &self.authorization);
            say("x-mq-date-time", &self.date);
        }
        metadata
    }

    /// Sends a message, receives it, acknowledges it.
    fn serves_as_always(&self) {
        self.rig.run(async {
            let topic = Some(resource("served-as-always"));
            let group = Some(resource("served-as-always"));
            let id = "01FUZZ".to_owned();
            let properties = SystemProperties {
                message_id: format!("{id}{}", rand::random::<u64>()),
                message_type: MessageType::Normal as i32,
                born_host: "here".to_owned(),
                ..SystemProperties::default()
            };
            let id = properties.message_id.clone();
            let message = Message {
                topic: topic.clone(),
                system_properties: Some(properties),
                body: "body".into(),
                ..Message::default()
            };
            let request = SendMessageRequest { messages: vec![message] }.encode_to_vec();
            let sent = self.answered("SendMessage", request).await;
            let sent = SendMessageResponse::decode(&*sent[0]).expect("an answer");
            assert_eq!(sent.status.expect("a status").code, Code::Ok as i32);
            let second = || Some(prost_types::Duration { seconds: 1, nanos: 0 });
            let request = ReceiveMessageRequest {
                group: group.clone(),
                message_queue: Some(MessageQueue { topic: topic.clone(), id: -1, ..MessageQueue::default() }),
                batch_size: 32,
                invisible_duration: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
                long_polling_timeout: second(),
                ..ReceiveMessageRequest::default()
            };
            let received = self.answered("ReceiveMessage", request.encode_to_vec()).await;
            let handle = received.iter().find_map(|bytes| {
                let content = ReceiveMessageResponse::decode(bytes.clone()).ok()?.content?;
                let Content::Message(message) = content else { return None };
                message.system_properties.filter(|found| found.message_id == id)?.receipt_handle
            });
            let receipt_handle = handle.expect("the message that was sent");
            let entries = vec![AckMessageEntry { message_id: id, receipt_handle, lite_topic: None }];
            let request = AckMessageRequest { group, topic, entries };
            let acked = self.answered("AckMessage", request.encode_to_vec()).await;
            let acked = AckMessageResponse::decode(&*acked[0]).expect("an answer");
            assert_eq!(acked.status.expect("a status").code, Code::Ok as i32);
        });
    }

    async fn answered(&self, name: &str, request: Vec<u8>) -> Vec<Bytes> {
        let answer = call(
            &self.rig.client,
            &format!("{SERVICE}/{name}"),
            vec![request.into()],
            self.metadata(0),
            TIMEOUT,
        )
        .await;
        assert!(answer.error.is_none(), "{name}: {:?}", answer.error);
        answer.messages
    }
}

fn resource(name: &str) -> Resource {
    Resource { resource_namespace: String::new(), name: name.to_owned() }
}

pub(in crate::targets) fn client_api_seeds() -> Vec<Vec<u8>> {
    let requests: Vec<(u8, Vec<u8>)> = super::requests::seeds();
    let script = |start: Script, caller: u8, requests: &[(u8, Vec<u8>)]| {
        let add =
            |script: Script, (kind, bytes): &(u8, Vec<u8>)| script.byte(*kind).byte(caller).chunk(bytes);
        requests.iter().fold(start, add).done()
    };
    let open = || Script::new().byte(0);
    let date = "20231227T194619Z";
    let guarded = || Script::new().byte(1).chunk(sign(USER, SECRET, date).as_bytes()).chunk(date.as_bytes());
    // In their order some of them make sense together.
    let mut seeds: Vec<Vec<u8>> = requests.chunks(6).map(|some| script(open(), 0, some)).collect();
    seeds.extend(requests.chunks(7).map(|some| script(open(), 0x11, some)));
    seeds.extend(requests.chunks(6).map(|some| script(guarded(), 0, some)));
    seeds.extend(requests.chunks(6).map(|some| script(guarded(), 0x20, some)));
    seeds
}

static TELEMETRY: Mutex<Option<Rig>> = Mutex::new(None);

/// Commands on one Telemetry stream. Settings are answered in kind, or end the stream with a reason.
pub(in crate::targets) fn telemetry(bytes: &[u8]) {
    let mut slot = TELEMETRY.lock().unwrap_or_else(PoisonError::into_inner);
    let rig = Rig::of(&mut slot, leave);
    let door = Door { rig, signs: false, authorization: String::new(), date: String::new() };
    let mut input = Input::new(bytes);
    let caller = input.byte();
    let mut commands = Vec::new();
    while !input.is_empty() && commands.len() < MAX_CALLS {
        commands.push(input.chunk());
    }
    let understood = commands.iter().all(|command| TelemetryCommand::decode(command.clone()).is_ok());
    let path = format!("{SERVICE}/Telemetry");
    let answer = door.rig.run(call(&door.rig.client, &path, commands, door.metadata(caller), TIMEOUT));
    for reply in answer.messages {
        let reply = TelemetryCommand::decode(reply).expect("a command");
        assert_eq!(reply.status.map(|status| status.code), Some(Code::Ok as i32));
        assert!(
            matches!(reply.command, Some(telemetry_command::Command::Settings(_))),
            "{:?}",
            reply.command
        );
    }
    if let Some(error) = answer.error {
        let told = matches!(error.code(), tonic::Code::InvalidArgument | tonic::Code::PermissionDenied);
        assert!(told || !understood, "{error}");
    }
    door.rig.is_sound();
    door.serves_as_always();
}

pub(in crate::targets) fn telemetry_seeds() -> Vec<Vec<u8>> {
    let settings = super::requests::settings();
    let mut seeds: Vec<Vec<u8>> = settings
        .iter()
        .map(|settings| {
            let command = Some(telemetry_command::Command::Settings(settings.clone()));
            let bytes = TelemetryCommand { status: None, command }.encode_to_vec();
            Script::new().byte(0).chunk(&bytes).chunk(&bytes).done()
        })
        .collect();
    let other = telemetry_command::Command::ThreadStackTrace(ThreadStackTrace::default());
    let other = TelemetryCommand { status: Some(Status::default()), command: Some(other) }.encode_to_vec();
    seeds.push(Script::new().byte(1).chunk(&other).done());
    seeds
}
