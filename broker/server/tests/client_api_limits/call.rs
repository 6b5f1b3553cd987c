//! Every call of a client as a value, and the code that it is answered with.

use mainstay_proto::rocketmq::telemetry_command::Command as Telemetry;
use mainstay_proto::rocketmq::*;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::Client;

/// One call of a client.
pub(super) enum Call {
    Send(Message),
    SendMany(Vec<Message>),
    Receive(ReceiveMessageRequest),
    Acknowledge(AckMessageRequest),
    Change(ChangeInvisibleDurationRequest),
    Bury(ForwardMessageToDeadLetterQueueRequest),
    End(EndTransactionRequest),
    Recall(RecallMessageRequest),
    Route(QueryRouteRequest),
    Assignment(QueryAssignmentRequest),
    Heartbeat(HeartbeatRequest),
    Lite(SyncLiteSubscriptionRequest),
    Pull(PullMessageRequest),
    QueryOffset(QueryOffsetRequest),
    GetOffset(GetOffsetRequest),
    UpdateOffset(UpdateOffsetRequest),
    Settings(Settings),
}

/// The code and the text that it was answered with.
pub(super) async fn perform(client: &Client, call: Call) -> (Code, String) {
    let mut grpc = client.grpc.clone();
    macro_rules! status_of {
        ($call:ident, $request:expr) => {
            grpc.$call(client.request($request)).await.unwrap().into_inner().status.unwrap()
        };
    }
    let status = match call {
        Call::Send(message) => client.send(vec![message]).await.entries.remove(0).status.unwrap(),
        Call::SendMany(messages) => client.send(messages).await.status.unwrap(),
        Call::Receive(request) => client.receive(request).await.status,
        Call::Acknowledge(request) => status_of!(ack_message, request),
        Call::Change(request) => status_of!(change_invisible_duration, request),
        Call::Bury(request) => status_of!(forward_message_to_dead_letter_queue, request),
        Call::End(request) => status_of!(end_transaction, request),
        Call::Recall(request) => status_of!(recall_message, request),
        Call::Route(request) => status_of!(query_route, request),
        Call::Assignment(request) => status_of!(query_assignment, request),
        Call::Heartbeat(request) => status_of!(heartbeat, request),
        Call::Lite(request) => status_of!(sync_lite_subscription, request),
        Call::QueryOffset(request) => status_of!(query_offset, request),
        Call::GetOffset(request) => status_of!(get_offset, request),
        Call::UpdateOffset(request) => status_of!(update_offset, request),
        Call::Pull(request) => {
            let mut stream = grpc.pull_message(client.request(request)).await.unwrap().into_inner();
            match stream.message().await.unwrap().unwrap().content {
                Some(pull_message_response::Content::Status(status)) => status,
                other => panic!("{other:?}"),
            }
        }
        Call::Settings(settings) => return settle(client, settings).await,
    };
    (status.code(), status.message)
}

/// A stream has no code for a refusal but gRPC's own; its text begins with the protocol's.
async fn settle(client: &Client, settings: Settings) -> (Code, String) {
    let (commands, outgoing) = tokio::sync::mpsc::channel(1);
    let request = client.request(ReceiverStream::new(outgoing));
    let mut incoming = client.grpc.clone().telemetry(request).await.unwrap().into_inner();
    let command = TelemetryCommand { command: Some(Telemetry::Settings(settings)), status: None };
    commands.send(command).await.unwrap();
    match incoming.message().await {
        Ok(answer) => (answer.unwrap().status.unwrap().code(), String::new()),
        Err(refused) => {
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
            let (name, text) = refused.message().split_once(": ").unwrap();
            let code = (0..70_000).filter_map(|code| Code::try_from(code).ok());
            let code = code.into_iter().find(|code| format!("{code:?}") == name).unwrap();
            (code, text.to_owned())
        }
    }
}
