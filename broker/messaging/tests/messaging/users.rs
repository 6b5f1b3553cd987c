//! Users: made, changed and unmade in the metadata group, followed by the others, kept by snapshots.

use mainstay_messaging::{
    ChangeUser, Command, CreateUser, DeleteUser, Metadata, Outcome, Refusal, Restore, Revision, Rights,
    SyncMetadata, UserName, UserSecret,
};
use mainstay_record::GroupId;

use crate::log::Log;

fn name(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

fn secret(text: &str) -> UserSecret {
    UserSecret::new(text).unwrap()
}

fn rights(grants: &[&str]) -> Rights {
    Rights::granted(grants.iter().map(|grant| grant.parse().unwrap()).collect()).unwrap()
}

fn create(user: &str) -> CreateUser {
    CreateUser {
        name: name(user),
        secret: secret("first-secret"),
        rights: rights(&["publish:topic:orders-*", "subscribe:group:billing"]),
    }
}

fn delete(user: &str) -> Command {
    Command::DeleteUser(DeleteUser { name: name(user) })
}

fn sync(metadata: Metadata) -> Command {
    Command::SyncMetadata(SyncMetadata { metadata })
}

#[test]
fn creating_again_is_fine_when_equal_and_refused_when_not() {
    let mut log = Log::empty(0, 1);
    assert_eq!(log.apply(Command::CreateUser(create("ann"))), Outcome::UserCreated { created: true });
    let version = log.state.metadata_version();
    assert_eq!(log.apply(Command::CreateUser(create("ann"))), Outcome::UserCreated { created: false });
    for other in [
        CreateUser { secret: secret("other-secret"), ..create("ann") },
        CreateUser { rights: Rights::Admin, ..create("ann") },
    ] {
        let Outcome::Refused(refusal) = log.apply(Command::CreateUser(other)) else { panic!() };
        assert_eq!(refusal.to_string(), "user 'ann' exists with another secret or other rights");
    }
    assert_eq!(log.state.metadata_version(), version, "nothing has changed");
}

#[test]
fn a_change_keeps_what_it_does_not_name() {
    let mut log = Log::empty(0, 1);
    log.apply(Command::CreateUser(create("ann")));
    let first = log.state.metadata().user("ann").unwrap().clone();
    let change = |secret, rights| Command::ChangeUser(ChangeUser { name: name("ann"), secret, rights });
    assert_eq!(log.apply(change(Some(secret("second-secret")), None)), Outcome::UserChanged);
    let second = log.state.metadata().user("ann").unwrap().clone();
    assert_eq!((second.secret.expose(), &second.rights), ("second-secret", &first.rights));
    assert!(second.revision > first.revision);
    assert_eq!(log.apply(change(None, Some(Rights::Admin))), Outcome::UserChanged);
    let third = log.state.metadata().user("ann").unwrap().clone();
    assert_eq!((third.secret.expose(), &third.rights), ("second-secret", &Rights::Admin));
    let version = log.state.metadata_version();
    assert_eq!(log.apply(change(None, Some(Rights::Admin))), Outcome::UserChanged);
    assert_eq!(log.state.metadata_version(), version, "a change to what is there is none");
    log.assert_replays(0, 1);
}

#[test]
fn a_deleted_user_is_gone_and_comes_back_with_another_revision() {
    let mut log = Log::empty(0, 1);
    log.apply(Command::CreateUser(create("ann")));
    let first = log.state.metadata().user("ann").unwrap().revision;
    assert_eq!(log.apply(delete("ann")), Outcome::UserDeleted);
    assert!(log.state.metadata().users.is_empty());
    assert_eq!(log.apply(delete("ann")), Outcome::Refused(Refusal::UnknownUser(name("ann"))));
    let change = ChangeUser { name: name("ann"), secret: None, rights: Some(Rights::Admin) };
    let changed = log.apply(Command::ChangeUser(change));
    assert_eq!(changed, Outcome::Refused(Refusal::UnknownUser(name("ann"))));
    log.apply(Command::CreateUser(create("ann")));
    assert!(log.state.metadata().user("ann").unwrap().revision > first);
}

#[test]
fn users_are_changed_in_the_metadata_group_and_followed_in_the_others() {
    let mut first = Log::empty(0, 2);
    for user in ["ben", "ann", "cid"] {
        first.apply(Command::CreateUser(create(user)));
    }
    let mut second = Log::empty(1, 2);
    for command in [Command::CreateUser(create("ann")), delete("ann")] {
        assert_eq!(second.apply(command), Outcome::Refused(Refusal::NotMetadataGroup));
    }
    second.apply(sync(first.state.metadata()));
    assert_eq!(second.state.metadata(), first.state.metadata());
    assert!(second.state.metadata().users.is_sorted_by_key(|user| user.name.clone()));

    first.apply(delete("ben"));
    let change = ChangeUser { name: name("ann"), secret: Some(secret("second-secret")), rights: None };
    first.apply(Command::ChangeUser(change));
    second.apply(sync(first.state.metadata()));
    let metadata = second.state.metadata();
    assert_eq!(metadata.user("ann").unwrap().secret.expose(), "second-secret");
    assert!(metadata.user("ben").is_none() && metadata.user("cid").is_some());
    second.assert_replays(1, 2);
}

#[test]
fn a_snapshot_keeps_users_whole() {
    let mut log = Log::with_queues(2);
    for user in ["ben", "ann"] {
        log.apply(Command::CreateUser(create(user)));
    }
    log.apply(Command::CreateUser(CreateUser { rights: Rights::Admin, ..create("root") }));
    let mut restore = Restore::new(GroupId(0), 1);
    for part in log.state.freeze().into_parts() {
        restore.feed(&part).unwrap();
    }
    let restored = restore.finish().unwrap();
    assert_eq!(restored, log.state);
    assert_eq!(restored.metadata().user("root").unwrap().rights, Rights::Admin);
    assert_eq!(restored.metadata_version(), Revision(log.state.metadata_version().0));
}
