//! `mainstay user` and signed messages against a real broker that needs credentials.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mainstay_broker::config::{Administrator, Auth, Config, Listen};
use mainstay_broker::{Addresses, Broker, Ports};
use mainstay_messaging::{UserName, UserSecret};
use serde_json::Value;
use tempfile::TempDir;

struct Rig {
    _broker: Broker,
    addresses: Addresses,
    folder: TempDir,
}

impl Rig {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut config =
            Config::single(folder.path().join("data"), Listen { client: any, internal: any, http: any });
        config.storage.segment_bytes = 16 << 20;
        let (name, secret) = (UserName::new("admin").unwrap(), UserSecret::new("admin-secret").unwrap());
        config.auth = Some(Auth { admin: Some(Administrator { name, secret }), ..Auth::default() });
        let ports = Ports::bind(&config).await.unwrap();
        let addresses = ports.addresses().unwrap();
        config.name_ports(addresses.client, addresses.internal);
        let broker = Broker::start(config, ports).await.unwrap();
        broker.group().watch().wait_for(|view| view.serving).await.unwrap();
        Self { _broker: broker, addresses, folder }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command
            .env_clear()
            .args(["--endpoint", &self.addresses.client.to_string()])
            .args(["--admin-endpoint", &self.addresses.internal.to_string()])
            .args(["--output", "json"])
            .args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn ok(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Sends to topic `orders-eu` as this user.
    async fn send(&self, user: &str, key: &Path) -> Output {
        let key = key.to_str().unwrap();
        let credentials = ["--access-key", user, "--secret-key-file", key];
        self.run(&[&credentials[..], &["message", "send", "orders-eu", "hello"]].concat()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_made_used_changed_and_deleted() {
    let rig = Rig::start().await;
    rig.ok(&["topic", "create", "orders-eu", "--queues", "1"]).await;
    let made = rig.ok(&["user", "create", "shop", "--allow", "publish:topic:orders-*"]).await;
    let secret = made["secret_key"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 32);
    let key = rig.file("shop.key", &format!("{secret}\n"));

    assert!(rig.send("shop", &key).await.status.success());
    let wrong = rig.file("wrong.key", "wrong-secret");
    let refused = rig.send("shop", &wrong).await;
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("secret key is wrong") && text.contains("UNAUTHORIZED"), "{text}");
    let text = rig.refused(&["message", "send", "orders-eu", "hello"]).await;
    assert!(text.contains("credentials are needed"), "{text}");

    let own = rig.file("own.key", "a-secret-of-my-own");
    rig.ok(&["user", "change", "shop", "--new-secret-file", own.to_str().unwrap()]).await;
    assert!(!rig.send("shop", &key).await.status.success(), "the old key is void");
    assert!(rig.send("shop", &own).await.status.success());
    rig.ok(&["user", "change", "shop", "--allow", "subscribe:topic:orders-eu"]).await;
    assert!(!rig.send("shop", &own).await.status.success(), "grants are replaced");

    let described = rig.ok(&["user", "describe", "shop"]).await;
    assert_eq!(described[0]["grants"], serde_json::json!(["subscribe:topic:orders-eu"]));
    rig.ok(&["user", "create", "root", "--admin", "--new-secret-file", own.to_str().unwrap()]).await;
    assert!(rig.send("root", &own).await.status.success());
    let listed = rig.ok(&["user", "list"]).await;
    let names: Vec<_> =
        listed.as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["root", "shop"]);
    for shown in [&described, &listed] {
        assert!(!shown.to_string().contains("a-secret-of-my-own"), "{shown}");
    }
    rig.ok(&["user", "delete", "root"]).await;
    assert!(!rig.send("root", &own).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_in_words() {
    let rig = Rig::start().await;
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
