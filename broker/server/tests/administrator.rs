//! The administrator's credentials are replaced while the broker serves: the new ones are taken, the old ones are not.

#![allow(clippy::unwrap_used)]

mod client;
mod server;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use client::{Client, code, message};
use mainstay_broker::config::Config;
use mainstay_proto::rocketmq::{Code, TelemetryCommand};

/// Bound of everything that waits for a state.
const PATIENCE: Duration = Duration::from_secs(20);

/// As Kubernetes replaces a mounted Secret: both files by one rename.
fn put(folder: &Path, version: &str, name: &str, secret: &str) {
    let place = folder.join(version);
    fs::create_dir(&place).unwrap();
    fs::write(place.join("username"), name).unwrap();
    fs::write(place.join("password"), secret).unwrap();
    symlink(&place, folder.join("next")).unwrap();
    fs::rename(folder.join("next"), folder.join("data")).unwrap();
}

/// As the operator writes it.
fn text(folder: &Path) -> String {
    let data = folder.join("data");
    format!(
        "cluster = \"c\"\ngroup = 0\nmember = \"m\"\ndata = \"/tmp/x\"\n[replication]\nmode = \"none\"\n\
         [listen]\ninternal = \"127.0.0.1:0\"\n\
         [auth]\nenabled = true\nadmin_file = \"{0}/username\"\nadmin_secret_file = \"{0}/password\"\n\
         [[groups]]\nid = 0\naddress = \"h:1\"\nmembers = [{{ name = \"m\", address = \"h:2\" }}]\n",
        data.display()
    )
}

async fn answer(client: &Client) -> Code {
    code(&client.send(vec![message("t", "m", "x")]).await.status)
}

async fn until_let_in(client: &Client) {
    let deadline = Instant::now() + PATIENCE;
    while answer(client).await != Code::Ok {
        assert!(Instant::now() < deadline, "the new credentials are not taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_credentials_are_taken_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "one", "root", "first-secret");
    let auth = Config::parse(&text(folder.path()), None).unwrap().auth;
    let server = server::start_with(|config| config.auth = auth).await;
    let old = server.client().signed("root", "first-secret");
    let new = server.client().signed("other", "second-secret");
    assert_eq!((answer(&old).await, answer(&new).await), (Code::Ok, Code::Unauthorized));

    put(folder.path(), "two", "other", "second-secret");
    until_let_in(&new).await;
    assert_eq!(answer(&old).await, Code::Unauthorized);

    // Of the same name: what was opened with the old secret ends all the same.
    let mut opening = new.request(tokio_stream::pending::<TelemetryCommand>());
    opening.metadata_mut().remove("grpc-timeout");
    let mut open = new.grpc.clone().telemetry(opening).await.unwrap().into_inner();
    put(folder.path(), "three", "other", "third-secret");
    let ended = tokio::time::timeout(PATIENCE, open.message()).await.expect("ends in time").unwrap_err();
    assert!(ended.message().contains("user 'other' has another secret key by now"), "{ended:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_in_the_secret_keeps_no_broker_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "slip", "root", "short");
    let auth = Config::parse(&text(folder.path()), None).unwrap().auth;
    let server = server::start_with(|config| config.auth = auth).await;
    let root = server.client().signed("root", "short");
    assert_eq!(answer(&root).await, Code::Unauthorized);
    put(folder.path(), "right", "root", "long-enough");
    let root = server.client().signed("root", "long-enough");
    until_let_in(&root).await;
    server.stop().await;
}

#[test]
fn who_writes_the_configuration_is_told_what_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let error = |version: &str, name: &str, secret: &str| {
        put(folder.path(), version, name, secret);
        let text = text(folder.path());
        let file = text.lines().find(|line| line.starts_with("admin_file")).unwrap().to_owned();
        let text = text.replace(&file, &format!("admin = \"{name}\""));
        Config::parse(&text, None).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(error("good", "root", "long-enough"), "");
    let refusal = error("name", "two words", "long-enough");
    assert!(refusal.contains("auth.admin") && !refusal.contains("auth.admin_"), "{refusal}");
    let refusal = error("secret", "root", "guessed");
    assert!(refusal.contains("auth.admin_secret_file") && !refusal.contains("guessed"), "{refusal}");
}
