//! Clients of the other brokers' internal ports.
//!
//! All of them take answers and requests as large as any there is: a call of a client with its messages, or the whole
//! metadata, which has to fit into one batch of the log.

use mainstay_proto::control::admin_client::AdminClient;
use mainstay_proto::control::control_client::ControlClient;
use mainstay_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use mainstay_record::MAX_BATCH_BYTES;

use super::PeerChannel;
use crate::client_api::limits::MAX_CALL_BYTES;

/// Bytes of one message between two brokers, at most.
const MAX_BYTES: usize = MAX_CALL_BYTES;
/// The metadata takes about as much on its way as in the log.
const _: () = assert!(MAX_BYTES >= 2 * MAX_BATCH_BYTES);

pub(crate) fn admin(channel: PeerChannel) -> AdminClient<PeerChannel> {
    AdminClient::new(channel).max_decoding_message_size(MAX_BYTES).max_encoding_message_size(MAX_BYTES)
}

pub(crate) fn control(channel: PeerChannel) -> ControlClient<PeerChannel> {
    ControlClient::new(channel).max_decoding_message_size(MAX_BYTES).max_encoding_message_size(MAX_BYTES)
}

/// The client API, as one broker passes calls on to another.
pub(crate) fn client_api(channel: PeerChannel) -> MessagingServiceClient<PeerChannel> {
    let client = MessagingServiceClient::new(channel);
    client.max_decoding_message_size(MAX_BYTES).max_encoding_message_size(MAX_BYTES)
}
