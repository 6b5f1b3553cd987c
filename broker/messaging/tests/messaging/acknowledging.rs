//! Which handles acknowledge or change a delivery, and which are void.

use mainstay_messaging::{Ack, AckError, Command, Outcome, ReceiptHandle, StartPosition};

use crate::log::{GROUP, INVISIBLE, Log, TOPIC, create_group, group, receive, topic};

fn delivered() -> (Log, ReceiptHandle) {
    let mut log = Log::with_queues(1);
    log.publish(0, None);
    let handle = log.receive(receive(1))[0].handle;
    (log, handle)
}

#[test]
fn what_is_acknowledged_never_comes_back() {
    let (mut log, handle) = delivered();
    log.wait(INVISIBLE - 1);
    assert_eq!(log.ack(handle), Ok(()));
    log.wait(10 * INVISIBLE);
    assert_eq!(log.take(receive(10)), []);
    let progress = log.state.progress(GROUP, TOPIC).unwrap()[0];
    assert_eq!((progress.in_flight, progress.lag), (0, 0));
}

#[test]
fn acknowledging_again_is_fine() {
    let (mut log, handle) = delivered();
    assert_eq!(log.ack(handle), Ok(()));
    assert_eq!(log.ack(handle), Ok(()));
    assert_eq!(log.change(handle, 5), Err(AckError::NotInFlight));
}

#[test]
fn an_expired_handle_is_void_at_the_very_moment() {
    let (mut log, handle) = delivered();
    log.wait(INVISIBLE);
    assert_eq!(log.ack(handle), Err(AckError::Expired));
    assert_eq!(log.change(handle, 5), Err(AckError::Expired));
    assert_eq!(log.take(receive(1)), [(0, 0, 2)]);
}

#[test]
fn a_later_delivery_voids_the_handle_of_an_earlier_one() {
    let (mut log, first) = delivered();
    log.wait(INVISIBLE);
    let second = log.receive(receive(1))[0].handle;
    assert_eq!(log.ack(first), Err(AckError::Replaced));
    assert_eq!(log.change(first, 5), Err(AckError::Replaced));
    assert_eq!(log.ack(second), Ok(()));
}

#[test]
fn a_change_gives_a_new_handle_and_a_new_time() {
    let (mut log, first) = delivered();
    log.wait(400);
    let second = log.change(first, 2 * INVISIBLE).unwrap();
    assert_eq!(log.ack(first), Err(AckError::Replaced));
    log.wait(2 * INVISIBLE - 1);
    assert_eq!(log.take(receive(1)), []);
    let third = log.change(second, 5).unwrap();
    log.wait(5);
    assert_eq!(log.ack(third), Err(AckError::Expired));
    assert_eq!(log.take(receive(1)), [(0, 0, 2)], "changes do not count as attempts");
}

#[test]
fn a_change_to_zero_gives_the_message_back_at_once() {
    let (mut log, handle) = delivered();
    let changed = log.change(handle, 0).unwrap();
    assert_eq!(log.ack(changed), Err(AckError::Expired));
    assert_eq!(log.take(receive(1)), [(0, 0, 2)]);
}

#[test]
fn handles_keep_their_value_as_text_and_in_the_log() {
    let (mut log, handle) = delivered();
    let parsed: ReceiptHandle = handle.to_string().parse().unwrap();
    assert_eq!(parsed, handle);
    assert_eq!(log.ack(parsed), Ok(()));
    log.assert_replays(0, 1);
}

#[test]
fn each_handle_of_one_acknowledgement_has_its_own_result() {
    let mut log = Log::with_queues(1);
    log.publish_to((0..3).map(|_| 0));
    let old = log.receive(receive(1))[0].handle;
    log.wait(INVISIBLE);
    let handles: Vec<ReceiptHandle> = log.receive(receive(3)).iter().map(|d| d.handle).collect();
    let handles = vec![handles[2], old, handles[0]];
    let ack = Ack { group: group(GROUP), topic: topic(TOPIC), handles, by: String::new() };
    assert_eq!(log.apply(Command::Ack(ack)), Outcome::Acked(vec![Ok(()), Err(AckError::Replaced), Ok(())]));
    log.wait(INVISIBLE);
    assert_eq!(log.take(receive(3)), [(0, 1, 2)]);
}

#[test]
fn handles_of_another_group_topic_or_broker_group_are_foreign() {
    let (mut log, handle) = delivered();
    log.apply(create_group("audit", StartPosition::Earliest));
    let audit = Ack { group: group("audit"), topic: topic(TOPIC), handles: vec![handle], by: String::new() };
    assert_eq!(log.apply(Command::Ack(audit)), Outcome::Acked(vec![Err(AckError::Foreign)]));

    let mut elsewhere = Log::empty(1, 2);
    let metadata = log.state.metadata();
    elsewhere.apply(Command::SyncMetadata(mainstay_messaging::SyncMetadata { metadata }));
    assert_eq!(elsewhere.ack(handle), Err(AckError::Foreign));
}

#[test]
fn handles_of_a_deleted_topic_or_group_do_not_reach_its_successor() {
    use mainstay_messaging::{DeleteGroup, DeleteTopic};
    let (mut log, handle) = delivered();
    log.apply(Command::DeleteTopic(DeleteTopic { name: topic(TOPIC) }));
    log.apply(crate::log::create_topic(1));
    log.publish(0, None);
    log.receive(receive(1));
    assert_eq!(log.ack(handle), Err(AckError::Foreign));

    let (mut log, handle) = delivered();
    log.apply(Command::DeleteGroup(DeleteGroup { name: group(GROUP), with_dead_letters: false }));
    log.apply(create_group(GROUP, StartPosition::Earliest));
    assert_eq!(log.take(receive(1)), [(0, 0, 1)]);
    assert_eq!(log.ack(handle), Err(AckError::Foreign));
}
