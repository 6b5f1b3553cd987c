//! `mainstay user` and signed messages against a real broker that needs credentials.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod server;

use std::path::Path;
use std::process::Output;

use mainstay_broker::config::{Administrator, Auth};
use mainstay_messaging::{UserName, UserSecret};
use server::Server;

async fn start() -> Server {
    let (name, secret) = (UserName::new("admin").unwrap(), UserSecret::new("admin-secret").unwrap());
    let auth = Auth { admin: Some(Administrator { name, secret }.into()), ..Auth::default() };
    Server::start_with(|config| config.auth = Some(auth)).await
}

/// Sends to topic `orders-eu` as this user.
async fn send(server: &Server, user: &str, key: &Path) -> Output {
    let key = key.to_str().unwrap();
    let credentials = ["--access-key", user, "--secret-key-file", key];
    server.run(&[&credentials[..], &["message", "send", "orders-eu", "hello"]].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_made_used_changed_and_deleted() {
    let rig = start().await;
    rig.ok(&["topic", "create", "orders-eu", "--queues", "1"]).await;
    let made = rig.ok(&["user", "create", "shop", "--allow", "publish:topic:orders-*"]).await;
    let secret = made["secret_key"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 32);
    let key = rig.file("shop.key", &format!("{secret}\n"));

    assert!(send(&rig, "shop", &key).await.status.success());
    let wrong = rig.file("wrong.key", "wrong-secret");
    let refused = send(&rig, "shop", &wrong).await;
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("secret key is wrong") && text.contains("UNAUTHORIZED"), "{text}");
    let text = rig.refused(&["message", "send", "orders-eu", "hello"]).await;
    assert!(text.contains("credentials are needed"), "{text}");

    let own = rig.file("own.key", "a-secret-of-my-own");
    rig.ok(&["user", "change", "shop", "--new-secret-file", own.to_str().unwrap()]).await;
    assert!(!send(&rig, "shop", &key).await.status.success(), "the old key is void");
    assert!(send(&rig, "shop", &own).await.status.success());
    rig.ok(&["user", "change", "shop", "--allow", "subscribe:topic:orders-eu"]).await;
    assert!(!send(&rig, "shop", &own).await.status.success(), "grants are replaced");

    let described = rig.ok(&["user", "describe", "shop"]).await;
    assert_eq!(described[0]["grants"], serde_json::json!(["subscribe:topic:orders-eu"]));
    rig.ok(&["user", "create", "root", "--admin", "--new-secret-file", own.to_str().unwrap()]).await;
    assert!(send(&rig, "root", &own).await.status.success());
    let listed = rig.ok(&["user", "list"]).await;
    let names: Vec<_> =
        listed.as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["root", "shop"]);
    for shown in [&described, &listed] {
        assert!(!shown.to_string().contains("a-secret-of-my-own"), "{shown}");
    }
    rig.ok(&["user", "delete", "root"]).await;
    assert!(!send(&rig, "root", &own).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_in_words() {
    let rig = start().await;
    let short = rig.file("short.key", "short");
    for (arguments, words) in [
        (&["user", "create", "a/b"][..], "a user's name has"),
        (&["user", "create", "ann", "--allow", "publish:t"], "is not actions:topic:name"),
        (&["user", "create", "ann", "--allow", "write:topic:t"], "action 'write'"),
        (&["user", "create", "ann", "--new-secret-file", short.to_str().unwrap()], "a secret has 8 to 256"),
        (&["user", "create", "admin", "--admin"], "comes from the configuration"),
        (&["user", "delete", "admin"], "comes from the configuration"),
        (&["user", "delete", "nobody"], "user 'nobody' does not exist"),
        (&["user", "describe", "nobody"], "user 'nobody' does not exist"),
        (&["user", "change", "nobody", "--admin"], "user 'nobody' does not exist"),
        (&["user", "change", "nobody"], "nothing to change"),
        (&["--access-key", "x", "message", "send", "t", "x"], "given together"),
    ] {
        let text = rig.refused(arguments).await;
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    rig.ok(&["user", "create", "ann"]).await;
    let text = rig.refused(&["user", "create", "ann"]).await;
    assert!(text.contains("exists with another secret"), "{text}");
}
