//! The metadata in broker groups that follow it, when it is larger than a call usually may be.

#![allow(clippy::unwrap_used)]

mod client;
mod server;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use client::message;
use mainstay_messaging::{Command, CreateUser, MAX_GRANTS, Outcome, Revision, Rights, UserName, UserSecret};
use server::Server;

/// What a gRPC client takes unless it is told otherwise.
const USUAL_LIMIT: usize = 4 << 20;
const LOG_BYTES: &str = "mainstay_log_bytes_total";
const PATIENCE: Duration = Duration::from_secs(20);

/// Users with as many grants as there may be, on topics of the longest names: more than [`USUAL_LIMIT`].
fn large_metadata() -> Vec<Command> {
    let grants = |user: usize| {
        let grant = |n: usize| format!("publish:topic:{:x<120}", format!("{user}-{n}-")).parse().unwrap();
        (0..MAX_GRANTS).map(grant).collect()
    };
    let secret = || UserSecret::new("a-secret-key").unwrap();
    let user = |n: usize| CreateUser {
        name: UserName::new(&format!("user-{n}")).unwrap(),
        secret: secret(),
        rights: Rights::granted(grants(n)).unwrap(),
    };
    let users = USUAL_LIMIT / (MAX_GRANTS * 120) + 10;
    (0..users).map(user).map(Command::CreateUser).collect()
}

async fn until_followed(server: &Server, version: Revision) {
    let deadline = Instant::now() + PATIENCE;
    while server.group().metadata().version < version {
        assert!(Instant::now() < deadline, "{version:?} is not followed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_metadata_is_followed_and_changes_to_it_cost_little() {
    let servers = server::start_pair().await;
    let [metadata_group, follower] = &servers;
    let commands = large_metadata();
    let expected = commands.len();
    let outcomes = metadata_group.group().propose_many(commands, Instant::now() + PATIENCE).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::UserCreated { created: true }));
    until_followed(follower, metadata_group.group().metadata().version).await;
    assert_eq!(follower.group().metadata().users.len(), expected);
    let before = follower.figure(LOG_BYTES).await;
    for n in 0..20 {
        // Made by its first use, through the broker that follows.
        follower.client().send_ok(vec![message(&format!("topic-{n}"), "m", "x")]).await;
    }
    assert!(follower.group().metadata().topic("topic-19").is_some());
    let written = follower.figure(LOG_BYTES).await - before;
    assert!(written < USUAL_LIMIT as u64, "{written} bytes for 20 topics");
    for server in servers {
        server.stop().await;
    }
}

/// Everything below a folder, under another name.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_metadata_group_lost_is_given_up_by_those_who_followed_it() {
    let [metadata_group, follower] = server::start_pair().await;
    metadata_group.create_topic("kept", 2).await;
    until_followed(&follower, metadata_group.group().metadata().version).await;
    let saved = tempfile::tempdir().unwrap();
    let keep = |data: &Path| copy(data, saved.path());
    let metadata_group = metadata_group.restart_after(keep).await;
    metadata_group.create_topic("lost", 2).await;
    let lost = metadata_group.group().metadata().version;
    until_followed(&follower, lost).await;
    assert!(follower.group().metadata().topic("lost").is_some());
    let lose = |data: &Path| {
        fs::remove_dir_all(data).unwrap();
        copy(saved.path(), data);
    };
    // The first reign afterwards has the number of the lost one, which no election would give twice.
    let metadata_group = metadata_group.restart_after(lose).await.restart_after(|_| {}).await;
    let deadline = Instant::now() + PATIENCE;
    while follower.group().metadata().topic("lost").is_some() {
        assert!(Instant::now() < deadline, "the lost topic is still known");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(follower.group().metadata().topic("kept").is_some());
    metadata_group.create_topic("new", 2).await;
    let given = metadata_group.group().metadata().version;
    assert!(given > lost, "{given:?} was given before");
    until_followed(&follower, given).await;
    assert_eq!(*follower.group().metadata(), *metadata_group.group().metadata());
    metadata_group.stop().await;
    follower.stop().await;
}
