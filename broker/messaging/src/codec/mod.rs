//! The binary form of commands, as records of the log hold it.
//!
//! A record is a version byte, a byte for the command, and the command's fields in a fixed order: numbers as LEB128,
//! texts and lists with their length before them. Decoding takes any bytes and either gives a command made of legal
//! names and codes, or says which field is wrong.

mod definition;
mod delivery;
mod message;
mod pending;

use bytes::{BufMut, Bytes, BytesMut};
use mainstay_record::LogIndex;

use crate::command::{
    Command, DeleteGroup, DeleteTopic, Elapse, Filter, RaiseVersion, Receive, SyncMetadata, Trim,
};
use crate::users::{self, DeleteUser, Rights};
use crate::wire::{Reader, WriteFields};

pub(crate) use self::definition::{group, put_group, put_topic, topic};
pub use self::message::message_id;
pub(crate) use self::message::{PublishRoute, RoutedKind, publish_route};
pub use crate::wire::DecodeError;

const VERSION: u8 = 2;

const CREATE_TOPIC: u8 = 1;
const DELETE_TOPIC: u8 = 2;
const CREATE_GROUP: u8 = 3;
const DELETE_GROUP: u8 = 4;
const RESET_GROUP: u8 = 5;
const PUBLISH: u8 = 6;
const RECEIVE: u8 = 7;
const ACK: u8 = 8;
const CHANGE_INVISIBLE: u8 = 9;
const SYNC_METADATA: u8 = 10;
const TRIM: u8 = 11;
const DEAD_LETTER: u8 = 12;
const SET_OFFSET: u8 = 13;
const END_TRANSACTION: u8 = 14;
const NOTE_CHECKS: u8 = 15;
const RECALL: u8 = 16;
const ELAPSE: u8 = 17;
const CREATE_USER: u8 = 18;
const CHANGE_USER: u8 = 19;
const DELETE_USER: u8 = 20;
const CHANGE_METADATA: u8 = 21;
const DELETE_GROUP_UNLESS_LETTERS: u8 = 22;
const RAISE_VERSION: u8 = 23;

/// Bytes of a short field with what goes with it, generously.
const FIXED: usize = 64;

impl Command {
    const fn code(&self) -> u8 {
        match self {
            Self::CreateTopic(_) => CREATE_TOPIC,
            Self::DeleteTopic(_) => DELETE_TOPIC,
            Self::CreateGroup(_) => CREATE_GROUP,
            Self::DeleteGroup(DeleteGroup { with_dead_letters: true, .. }) => DELETE_GROUP,
            Self::DeleteGroup(_) => DELETE_GROUP_UNLESS_LETTERS,
            Self::ResetGroup(_) => RESET_GROUP,
            Self::Publish(_) => PUBLISH,
            Self::Receive(_) => RECEIVE,
            Self::Ack(_) => ACK,
            Self::ChangeInvisible(_) => CHANGE_INVISIBLE,
            Self::DeadLetter(_) => DEAD_LETTER,
            Self::SetOffset(_) => SET_OFFSET,
            Self::EndTransaction(_) => END_TRANSACTION,
            Self::NoteChecks(_) => NOTE_CHECKS,
            Self::Recall(_) => RECALL,
            Self::Elapse(_) => ELAPSE,
            Self::CreateUser(_) => CREATE_USER,
            Self::ChangeUser(_) => CHANGE_USER,
            Self::DeleteUser(_) => DELETE_USER,
            Self::SyncMetadata(_) => SYNC_METADATA,
            Self::ChangeMetadata(_) => CHANGE_METADATA,
            Self::RaiseVersion(_) => RAISE_VERSION,
            Self::Trim(_) => TRIM,
        }
    }

    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(VERSION);
        out.put_u8(self.code());
        match self {
            Self::CreateTopic(create) => definition::encode_create_topic(create, out),
            Self::DeleteTopic(delete) => out.put_text(delete.name.as_str()),
            Self::CreateGroup(create) => definition::encode_create_group(create, out),
            Self::DeleteGroup(delete) => out.put_text(delete.name.as_str()),
            Self::ResetGroup(reset) => delivery::encode_reset(reset, out),
            Self::Publish(publish) => message::encode(publish, out),
            Self::Receive(receive) => delivery::encode_receive(receive, out),
            Self::Ack(ack) => delivery::encode_ack(ack, out),
            Self::ChangeInvisible(change) => delivery::encode_change(change, out),
            Self::DeadLetter(dead) => delivery::encode_dead_letter(dead, out),
            Self::SetOffset(set) => delivery::encode_set_offset(set, out),
            Self::EndTransaction(end) => pending::encode_end(end, out),
            Self::NoteChecks(note) => pending::encode_checks(note, out),
            Self::Recall(recall) => pending::encode_recall(recall, out),
            Self::Elapse(elapse) => out.put_number(elapse.max.into()),
            Self::CreateUser(create) => users::encode_create(create, out),
            Self::ChangeUser(change) => users::encode_change(change, out),
            Self::DeleteUser(delete) => out.put_text(delete.name.as_str()),
            Self::SyncMetadata(sync) => definition::encode_metadata(&sync.metadata, out),
            Self::ChangeMetadata(changes) => definition::encode_changes(changes, out),
            Self::RaiseVersion(raise) => out.put_number(raise.epoch.into()),
            Self::Trim(trim) => out.put_number(trim.through.0),
        }
    }

    /// Takes a record apart. The body of a message shares the record's memory.
    ///
    /// # Errors
    /// When the bytes are no command that this version knows.
    pub fn decode(record: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(record);
        let command = match command_code(&mut input)? {
            CREATE_TOPIC => Self::CreateTopic(definition::decode_create_topic(&mut input)?),
            DELETE_TOPIC => Self::DeleteTopic(DeleteTopic { name: input.name("topic")? }),
            CREATE_GROUP => Self::CreateGroup(definition::decode_create_group(&mut input)?),
            code @ (DELETE_GROUP | DELETE_GROUP_UNLESS_LETTERS) => Self::DeleteGroup(DeleteGroup {
                name: input.name("consumer group")?,
                with_dead_letters: code == DELETE_GROUP,
            }),
            RESET_GROUP => Self::ResetGroup(delivery::decode_reset(&mut input)?),
            PUBLISH => Self::Publish(message::decode(&mut input)?),
            RECEIVE => Self::Receive(delivery::decode_receive(&mut input)?),
            ACK => Self::Ack(delivery::decode_ack(&mut input)?),
            CHANGE_INVISIBLE => Self::ChangeInvisible(delivery::decode_change(&mut input)?),
            DEAD_LETTER => Self::DeadLetter(delivery::decode_dead_letter(&mut input)?),
            SET_OFFSET => Self::SetOffset(delivery::decode_set_offset(&mut input)?),
            END_TRANSACTION => Self::EndTransaction(pending::decode_end(&mut input)?),
            NOTE_CHECKS => Self::NoteChecks(pending::decode_checks(&mut input)?),
            RECALL => Self::Recall(pending::decode_recall(&mut input)?),
            ELAPSE => Self::Elapse(Elapse { max: input.number32("max")? }),
            CREATE_USER => Self::CreateUser(users::decode_create(&mut input)?),
            CHANGE_USER => Self::ChangeUser(users::decode_change(&mut input)?),
            DELETE_USER => Self::DeleteUser(DeleteUser { name: input.name("user")? }),
            SYNC_METADATA => {
                Self::SyncMetadata(SyncMetadata { metadata: definition::decode_metadata(&mut input)? })
            }
            CHANGE_METADATA => Self::ChangeMetadata(definition::decode_changes(&mut input)?),
            RAISE_VERSION => Self::RaiseVersion(RaiseVersion { epoch: input.number32("epoch")? }),
            TRIM => Self::Trim(Trim { through: LogIndex(input.number("last batch")?) }),
            unknown => return Err(DecodeError::UnknownCommand(unknown)),
        };
        input.finish()?;
        Ok(command)
    }

    /// Bytes that encoding appends, or a little more, so that room can be made beforehand.
    pub fn encoded_len_hint(&self) -> usize {
        match self {
            Self::Publish(publish) => FIXED + message::length(publish),
            Self::CreateGroup(create) => 5 * FIXED + definition::retry_length(&create.retry),
            Self::Receive(receive) => receive.encoded_len_hint(),
            Self::Ack(ack) => 5 * FIXED + ack.handles.len() * FIXED,
            Self::NoteChecks(note) => 5 * FIXED + note.checks.len() * FIXED,
            Self::SyncMetadata(sync) => FIXED + definition::metadata_length(&sync.metadata),
            Self::ChangeMetadata(changes) => FIXED + definition::changes_length(changes),
            Self::CreateUser(create) => FIXED + users::length(&create.rights),
            Self::ChangeUser(change) => {
                FIXED + users::length(change.rights.as_ref().unwrap_or(&Rights::Admin))
            }
            _ => 5 * FIXED,
        }
    }
}

impl Receive {
    /// As [`Command::encoded_len_hint`].
    pub fn encoded_len_hint(&self) -> usize {
        let filter = match &self.filter {
            Filter::All => 0,
            Filter::Tags(tags) => tags.iter().map(|tag| FIXED + tag.len()).sum(),
            Filter::Judged(verdicts) => verdicts.encoded_len_hint(),
        };
        8 * FIXED + filter + self.attempt_id.as_ref().map_or(0, String::len) + self.by.len()
    }
}

fn command_code(input: &mut Reader<'_>) -> Result<u8, DecodeError> {
    match input.byte("version")? {
        VERSION => input.byte("command"),
        unknown => Err(DecodeError::UnknownVersion(unknown)),
    }
}
