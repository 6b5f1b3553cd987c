//! Groups whose elections the operator calls: campaigns in sync mode, forced promotion and leases in async mode.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mainstay_broker::group::{ProposeError, Role};
use mainstay_messaging::{Command, DeleteTopic, TopicName};
use mainstay_proto::control::republish_quarantine_response::Content;
use mainstay_proto::control::{
    CampaignRequest, GrantLeaseRequest, PromoteRequest, RepublishQuarantineRequest, RepublishSummary,
    ShowQuarantineRequest, StatusRequest, StepDownRequest,
};
use mainstay_proto::rocketmq::Code;
use support::{Group, Plan, bodies, prepare_topic, publish, send, soon, until};

const VALID_MS: u64 = 10_000;

fn plan(replication: &'static str, members: usize) -> Plan {
    Plan { replication, members, ..Plan::raft() }
}

async fn clock(group: &Group, index: usize) -> u64 {
    group.control(index).await.status(StatusRequest {}).await.unwrap().into_inner().clock_ms
}

/// Orders `index` to campaign as soon as it has met the others, and waits until it serves.
async fn campaign(group: &Group, index: usize, epoch: u64) {
    until("the order is taken", async || {
        let request =
            CampaignRequest { epoch, valid_ms: VALID_MS, as_of_clock_ms: clock(group, index).await };
        let answer = group.control(index).await.campaign(request).await.unwrap().into_inner();
        answer.accepted.then_some(())
    })
    .await;
    until("it leads", async || (group.leader().await == index).then_some(())).await;
}

/// As the operator does: looks, decides, grants; then the leader serves.
async fn grant_lease(group: &Group, index: usize, duration_ms: u64) -> GrantLeaseRequest {
    let mut control = group.control(index).await;
    let status = control.status(StatusRequest {}).await.unwrap().into_inner();
    let grant = GrantLeaseRequest { epoch: status.epoch, duration_ms, as_of_clock_ms: status.clock_ms };
    let answer = control.grant_lease(grant).await.unwrap().into_inner();
    assert!(answer.accepted, "{answer:?}");
    until("it serves under the lease", async || group.view(index).serving.then_some(())).await;
    grant
}

#[tokio::test(flavor = "multi_thread")]
async fn in_sync_mode_a_replica_leads_when_it_is_told_to_and_not_before() {
    let mut group = Group::start(plan("mode = \"sync\"\nmin_in_sync = 2", 3)).await;
    for index in 0..3 {
        until("all have met", async || (group.view(index).role == Role::Follower).then_some(())).await;
    }
    campaign(&group, 1, 5).await;
    assert_eq!(group.view(1).epoch.number, 5);
    prepare_topic(&group.handle(1)).await;
    send(&group.handle(1), "one").await;
    until("the other one knows of it", async || (group.view(2).epoch.number == 5).then_some(())).await;
    let as_of_clock_ms = clock(&group, 2).await;
    let stale = CampaignRequest { epoch: 5, valid_ms: VALID_MS, as_of_clock_ms };
    let answer = group.control(2).await.campaign(stale).await.unwrap().into_inner();
    assert!(!answer.accepted && answer.reason.contains("stale"), "{answer:?}");
    group.kill(1);
    // For longer than an election of their own would take.
    let late = Instant::now() + Duration::from_secs(3);
    while Instant::now() < late {
        assert!(!group.view(0).is_leader() && !group.view(2).is_leader(), "nobody campaigns by himself");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    campaign(&group, 2, 6).await;
    send(&group.handle(2), "two").await;
    assert_eq!(bodies(&group.handle(2)).await, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_sync_mode_too_few_replicas_are_told_as_such() {
    let mut group = Group::start(plan("mode = \"sync\"\nmin_in_sync = 2\nack_timeout = \"300ms\"", 2)).await;
    campaign(&group, 0, 1).await;
    prepare_topic(&group.handle(0)).await;
    group.kill(1);
    let answer = until("the loss is noticed", async || {
        let answer = group.handle(0).propose(publish("letters", "x"), soon()).await;
        matches!(answer, Err(ProposeError::TooFewReplicas)).then_some(answer)
    })
    .await;
    assert!(answer.unwrap_err().to_string().contains("outcome unknown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_promotion_quarantines_what_the_old_leader_had_not_shipped() {
    let group = Group::start(plan("mode = \"async\"", 2)).await;
    campaign(&group, 0, 1).await;
    prepare_topic(&group.handle(0)).await;
    send(&group.handle(0), "shipped").await;
    until("the follower has it", async || (bodies(&group.handle(1)).await.len() == 1).then_some(())).await;
    group.network.isolate(0).await;
    // The lease still runs: acknowledged by one copy, which is what this mode promises.
    send(&group.handle(0), "not shipped").await;
    // Each with an id of its own: what is sent again is stored, and dropped.
    let tries = AtomicU32::new(0);
    until("the old leader's authority ends", async || {
        let body = format!("too late {}", tries.fetch_add(1, Ordering::Relaxed));
        let answer = group.handle(0).propose(publish("letters", &body), soon()).await;
        matches!(answer, Err(ProposeError::NotServing | ProposeError::NotLeader { .. })).then_some(())
    })
    .await;
    let accepted_late =
        bodies(&group.handle(0)).await.iter().filter(|body| body.starts_with("too late")).count();
    let as_of_clock_ms = clock(&group, 1).await;
    let late = PromoteRequest { epoch: 2, valid_ms: 1, as_of_clock_ms };
    until("the order is void", async || (clock(&group, 1).await > as_of_clock_ms + 1).then_some(())).await;
    let answer = group.control(1).await.promote(late).await.unwrap().into_inner();
    assert!(!answer.accepted && answer.reason.contains("expired"), "{answer:?}");
    let request = PromoteRequest { valid_ms: VALID_MS, ..late };
    let answer = group.control(1).await.promote(request).await.unwrap().into_inner();
    assert!(answer.accepted, "{answer:?}");
    until("the other one leads", async || (group.view(1).role == Role::Leader).then_some(())).await;
    let answer = group.handle(1).propose(publish("letters", "without lease"), soon()).await;
    assert!(matches!(answer, Err(ProposeError::NotServing)), "alone it needs the operator: {answer:?}");
    grant_lease(&group, 1, 60_000).await;
    assert!(!group.view(0).serving, "no two leaders serve");
    send(&group.handle(1), "after").await;
    group.network.heal(0);
    until("the old leader has what the new one has", async || {
        (bodies(&group.handle(0)).await == ["shipped", "after"]).then_some(())
    })
    .await;
    let status = group.control(0).await.status(StatusRequest {}).await.unwrap().into_inner();
    let records: u64 = status.quarantined.iter().map(|file| file.records).sum();
    assert_eq!(records as usize, 1 + accepted_late, "{:?}", status.quarantined);
}

/// Two replicas, of which the second leads, and the first has put `bodies` aside in a file of this name.
async fn with_quarantine(bodies: &[&str]) -> (Group, String) {
    let group = Group::start(plan("mode = \"async\"", 2)).await;
    campaign(&group, 0, 1).await;
    prepare_topic(&group.handle(0)).await;
    let last = group.status(0).await.consensus.unwrap().last.index;
    until("the follower has it", async || (group.status(1).await.applied >= last).then_some(())).await;
    group.network.isolate(0).await;
    // Under a lease that the operator can vouch for: it promotes nobody meanwhile.
    grant_lease(&group, 0, 60_000).await;
    for body in bodies {
        send(&group.handle(0), body).await;
    }
    let request = PromoteRequest { epoch: 2, valid_ms: VALID_MS, as_of_clock_ms: clock(&group, 1).await };
    let answer = group.control(1).await.promote(request).await.unwrap().into_inner();
    assert!(answer.accepted, "{answer:?}");
    until("the other one leads", async || (group.view(1).role == Role::Leader).then_some(())).await;
    group.network.heal(0);
    let file = until("the tail is put aside", async || group.handle(0).quarantined().pop()).await;
    until("it serves", async || (group.leader().await == 1).then_some(())).await;
    (group, file.path.file_name().unwrap().to_str().unwrap().to_owned())
}

/// What is told of each message, and the summary.
async fn republish(group: &Group, node: usize, file: &str) -> (Vec<(String, Code)>, RepublishSummary) {
    let request = RepublishQuarantineRequest { member: "node-0".to_owned(), file: file.to_owned() };
    let mut results = group.admin(node).await.republish_quarantine(request).await.unwrap().into_inner();
    let mut told = Vec::new();
    loop {
        match results.message().await.unwrap().unwrap().content.unwrap() {
            Content::Message(message) => {
                told.push((message.message_id, Code::try_from(message.code).unwrap()));
            }
            Content::Summary(summary) => return (told, summary),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_aside_can_be_looked_at_and_published_again() {
    let (mut group, file) = with_quarantine(&["one", "two"]).await;
    let request =
        ShowQuarantineRequest { member: "node-0".to_owned(), file: file.clone(), skip: 1, limit: 10 };
    let shown = group.admin(1).await.show_quarantine(request.clone()).await.unwrap().into_inner();
    assert_eq!((shown.total, shown.messages.len()), (2, 1));
    assert_eq!((&*shown.messages[0].message_id, &*shown.messages[0].topic), ("two", "letters"));

    // Asked through the broker that does not have it.
    let (told, summary) = republish(&group, 1, &file).await;
    assert_eq!(told, [("one".to_owned(), Code::Ok), ("two".to_owned(), Code::Ok)]);
    assert_eq!((summary.acknowledged, summary.refused, summary.done), (2, 0, true));
    assert_eq!(bodies(&group.handle(1)).await, ["one", "two"]);
    assert!(group.handle(0).quarantined().is_empty(), "it is done with");
    let gone = group.admin(1).await.show_quarantine(request.clone()).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
    group.kill(0);
    group.start_node(0).await;
    assert!(group.handle(0).quarantined().is_empty(), "for good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_kept_while_one_of_its_messages_is_not_acknowledged() {
    let (group, file) = with_quarantine(&["one"]).await;
    let delete = DeleteTopic { name: TopicName::new("letters").unwrap() };
    group.handle(1).propose(Command::DeleteTopic(delete), soon()).await.unwrap();
    let (told, summary) = republish(&group, 0, &file).await;
    assert_eq!(told, [("one".to_owned(), Code::TopicNotFound)]);
    assert_eq!((summary.acknowledged, summary.refused, summary.done), (0, 1, false));
    assert_eq!(group.handle(0).quarantined().len(), 1);
    prepare_topic(&group.handle(1)).await;
    let (_, summary) = republish(&group, 0, &file).await;
    assert!(summary.done);
    assert_eq!(bodies(&group.handle(1)).await, ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_async_mode_a_lone_leader_serves_under_the_operators_lease_only() {
    let mut group = Group::start(plan("mode = \"async\"", 2)).await;
    campaign(&group, 0, 1).await;
    prepare_topic(&group.handle(0)).await;
    group.kill(1);
    until("the lease of the members ends", async || (!group.view(0).serving).then_some(())).await;
    let answer = group.handle(0).propose(publish("letters", "x"), soon()).await;
    assert!(matches!(answer, Err(ProposeError::NotServing)), "{answer:?}");
    let mut control = group.control(0).await;
    let status = control.status(StatusRequest {}).await.unwrap().into_inner();
    let grant =
        GrantLeaseRequest { epoch: status.epoch, duration_ms: 2_000, as_of_clock_ms: status.clock_ms };
    let answer = control.grant_lease(grant).await.unwrap().into_inner();
    assert!(answer.accepted, "{answer:?}");
    until("it serves again", async || group.view(0).serving.then_some(())).await;
    send(&group.handle(0), "alone").await;
    until("the operator's lease ends", async || (!group.view(0).serving).then_some(())).await;
    let wrong = GrantLeaseRequest {
        epoch: Some(mainstay_proto::control::Epoch { number: 99, candidate: 1 }),
        ..grant
    };
    let mut control = group.control(0).await;
    let answer = control.grant_lease(wrong).await.unwrap().into_inner();
    assert!(!answer.accepted, "a lease for another epoch");
    let future = GrantLeaseRequest { as_of_clock_ms: grant.as_of_clock_ms + 1_000_000, ..grant };
    let answer = control.grant_lease(future).await.unwrap().into_inner();
    assert!(!answer.accepted && answer.reason.contains("future"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_hand_over_names_the_new_leader() {
    let group = Group::start(plan("mode = \"sync\"\nmin_in_sync = 2", 3)).await;
    campaign(&group, 0, 1).await;
    prepare_topic(&group.handle(0)).await;
    let target = group.view(2).node.get();
    until("the leader hears the successor", async || {
        let members = group.status(0).await.consensus?.members;
        members.iter().find(|member| member.id.get() == target)?.heard_at.map(drop)
    })
    .await;
    let request = StepDownRequest { to_node_id: Some(target), timeout_ms: 5_000 };
    let answer = group.control(0).await.step_down(request).await.unwrap().into_inner();
    assert_eq!((answer.accepted, answer.new_leader_node_id), (true, Some(target)), "{answer:?}");
    let new = group.leader().await;
    assert_eq!(new, 2);
    send(&group.handle(2), "after").await;
    let answer = group.control(0).await.step_down(request).await.unwrap().into_inner();
    assert!(!answer.accepted, "who does not lead has nothing to hand over");
}
