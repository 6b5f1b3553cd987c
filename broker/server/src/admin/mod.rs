//! The admin service of the internal port: topics, consumer groups and a look at messages, for the command line and the
//! other brokers.
//!
//! Any broker takes any call. What changes metadata is done by the metadata group's leader; what is about one broker
//! group is asked of that group's leader; an answer about a topic or a consumer group joins those of all groups.

mod consumer_groups;
pub(crate) mod convert;
mod dead_letters;
mod follower;
mod leaders;
mod members;
mod overview;
mod quarantine;
mod topics;
mod trace;
mod transactions;
mod users;

use std::sync::Arc;

use mainstay_messaging::{Command, Outcome};
use mainstay_proto::control::admin_server::{Admin, AdminServer};
use mainstay_proto::control::{
    AbandonMemberChangeRequest, AskProducersRequest, AskProducersResponse, ChangeMembersRequest,
    ChangeUserRequest, ChangeUserResponse, ClusterStatusRequest, ClusterStatusResponse,
    CreateConsumerGroupRequest, CreateConsumerGroupResponse, CreateTopicRequest, CreateTopicResponse,
    CreateUserRequest, CreateUserResponse, DeleteConsumerGroupRequest, DeleteConsumerGroupResponse,
    DeleteTopicRequest, DeleteTopicResponse, DeleteUserRequest, DeleteUserResponse,
    DescribeConsumerGroupRequest, DescribeConsumerGroupResponse, DescribeTopicRequest, DescribeTopicResponse,
    DescribeUserRequest, DescribeUserResponse, ListConsumerGroupsRequest, ListConsumerGroupsResponse,
    ListDeadLettersRequest, ListDeadLettersResponse, ListTopicsRequest, ListTopicsResponse,
    ListTransactionsRequest, ListTransactionsResponse, ListUsersRequest, ListUsersResponse, OrderResponse,
    PeekMessagesRequest, PeekMessagesResponse, RepublishQuarantineRequest, ResendDeadLettersRequest,
    ResetConsumerGroupRequest, ResetConsumerGroupResponse, ShowQuarantineRequest, ShowQuarantineResponse,
    TraceMessageRequest, TraceMessageResponse, WatchMetadataRequest, WatchMetadataResponse,
};
use mainstay_storage::FileSystem;
use tonic::{Request, Response, Status};

use crate::client_api::ClientApi;
use crate::client_api::limits::MAX_CALL_BYTES;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::group::GroupHandle;

pub(crate) use follower::follow_metadata;

type Answer<T> = Result<Response<T>, Status>;

/// What every call needs.
#[derive(Debug, Clone)]
pub(crate) struct AdminService {
    config: Arc<Config>,
    group: GroupHandle,
    cluster: Cluster,
    /// For messages that go into the log as if a client had sent them.
    api: ClientApi,
    fs: Arc<dyn FileSystem>,
}

impl AdminService {
    pub(crate) fn new(
        config: Arc<Config>,
        group: GroupHandle,
        cluster: Cluster,
        api: ClientApi,
        fs: Arc<dyn FileSystem>,
    ) -> AdminServer<Self> {
        // Half messages travel from broker to broker.
        AdminServer::new(Self { config, group, cluster, api, fs }).max_decoding_message_size(MAX_CALL_BYTES)
    }

    /// Puts a command through this broker's log; a refusal of the state machine becomes a status.
    async fn propose(&self, command: Command) -> Result<Outcome, leaders::Unanswered> {
        match self.group.propose(command, leaders::deadline()).await {
            Ok(Outcome::Refused(refusal)) => Err(convert::refused(&refusal).into()),
            Ok(outcome) => Ok(outcome),
            Err(error) => Err(leaders::unanswered(error)),
        }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    type RepublishQuarantineStream = quarantine::Republishing;
    type ResendDeadLettersStream = dead_letters::Resending;

    async fn create_topic(&self, request: Request<CreateTopicRequest>) -> Answer<CreateTopicResponse> {
        topics::create(self, request).await
    }

    async fn list_topics(&self, request: Request<ListTopicsRequest>) -> Answer<ListTopicsResponse> {
        topics::list(self, request).await
    }

    async fn describe_topic(&self, request: Request<DescribeTopicRequest>) -> Answer<DescribeTopicResponse> {
        topics::describe(self, request).await
    }

    async fn delete_topic(&self, request: Request<DeleteTopicRequest>) -> Answer<DeleteTopicResponse> {
        topics::delete(self, request).await
    }

    async fn create_consumer_group(
        &self,
        request: Request<CreateConsumerGroupRequest>,
    ) -> Answer<CreateConsumerGroupResponse> {
        consumer_groups::create(self, request).await
    }

    async fn list_consumer_groups(
        &self,
        request: Request<ListConsumerGroupsRequest>,
    ) -> Answer<ListConsumerGroupsResponse> {
        consumer_groups::list(self, request).await
    }

    async fn describe_consumer_group(
        &self,
        request: Request<DescribeConsumerGroupRequest>,
    ) -> Answer<DescribeConsumerGroupResponse> {
        consumer_groups::describe(self, request).await
    }

    async fn delete_consumer_group(
        &self,
        request: Request<DeleteConsumerGroupRequest>,
    ) -> Answer<DeleteConsumerGroupResponse> {
        consumer_groups::delete(self, request).await
    }

    async fn reset_consumer_group(
        &self,
        request: Request<ResetConsumerGroupRequest>,
    ) -> Answer<ResetConsumerGroupResponse> {
        consumer_groups::reset(self, request).await
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Answer<CreateUserResponse> {
        users::create(self, request).await
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Answer<ListUsersResponse> {
        users::list(self, request).await
    }

    async fn describe_user(&self, request: Request<DescribeUserRequest>) -> Answer<DescribeUserResponse> {
        users::describe(self, request).await
    }

    async fn change_user(&self, request: Request<ChangeUserRequest>) -> Answer<ChangeUserResponse> {
        users::change(self, request).await
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Answer<DeleteUserResponse> {
        users::delete(self, request).await
    }

    async fn cluster_status(&self, _: Request<ClusterStatusRequest>) -> Answer<ClusterStatusResponse> {
        overview::cluster_status(self).await
    }

    async fn peek_messages(&self, request: Request<PeekMessagesRequest>) -> Answer<PeekMessagesResponse> {
        overview::peek(self, request).await
    }

    async fn trace_message(&self, request: Request<TraceMessageRequest>) -> Answer<TraceMessageResponse> {
        trace::trace(self, request).await
    }

    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Answer<ListDeadLettersResponse> {
        dead_letters::list(self, request).await
    }

    async fn resend_dead_letters(
        &self,
        request: Request<ResendDeadLettersRequest>,
    ) -> Answer<Self::ResendDeadLettersStream> {
        dead_letters::resend(self, request).await
    }

    async fn list_transactions(
        &self,
        request: Request<ListTransactionsRequest>,
    ) -> Answer<ListTransactionsResponse> {
        transactions::list(self, request).await
    }

    async fn ask_producers(&self, request: Request<AskProducersRequest>) -> Answer<AskProducersResponse> {
        transactions::ask(self, request)
    }

    async fn show_quarantine(
        &self,
        request: Request<ShowQuarantineRequest>,
    ) -> Answer<ShowQuarantineResponse> {
        quarantine::show(self, request).await
    }

    async fn republish_quarantine(
        &self,
        request: Request<RepublishQuarantineRequest>,
    ) -> Answer<Self::RepublishQuarantineStream> {
        quarantine::republish(self, request).await
    }

    async fn change_members(&self, request: Request<ChangeMembersRequest>) -> Answer<OrderResponse> {
        members::change(self, request).await
    }

    async fn abandon_member_change(
        &self,
        request: Request<AbandonMemberChangeRequest>,
    ) -> Answer<OrderResponse> {
        members::abandon(self, request).await
    }

    async fn watch_metadata(&self, request: Request<WatchMetadataRequest>) -> Answer<WatchMetadataResponse> {
        overview::watch_metadata(self, request).await
    }
}
