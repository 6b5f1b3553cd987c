//! A broker by itself inside the test's process, and the command line pointed at it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "every test file uses its own part, and panics where it cannot go on"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use mainstay_broker::config::{Config, Listen};
use mainstay_broker::{Addresses, Broker, Ports};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Server {
    _broker: Broker,
    addresses: Addresses,
    folder: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut config =
            Config::single(folder.path().join("data"), Listen { client: any, internal: any, http: any });
        config.storage.segment_bytes = 16 << 20;
        change(&mut config);
        let ports = Ports::bind(&config).await.unwrap();
        let addresses = ports.addresses().unwrap();
        config.name_ports(addresses.client, addresses.internal);
        let broker = Broker::start(config, ports).await.unwrap();
        let mut view = broker.group().watch();
        let serving = view.wait_for(|view| view.serving);
        tokio::time::timeout(Duration::from_secs(20), serving).await.expect("serves in time").unwrap();
        Self { _broker: broker, addresses, folder }
    }

    /// Writes a file that goes away with the server.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command
            .env_clear()
            .args(["--endpoint", &self.addresses.client.to_string()])
            .args(["--admin-endpoint", &self.addresses.internal.to_string()])
            .args(["--output", "json"])
            .args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// What it printed.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// As [`Self::ok`], with arguments that have no spaces.
    pub(crate) async fn line(&self, line: &str) -> Value {
        self.ok(&line.split(' ').collect::<Vec<_>>()).await
    }

    /// What it said on its way to failing.
    pub(crate) async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}
