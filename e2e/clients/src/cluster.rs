//! Three broker processes of one Raft group on this machine, behind one address, any of which can be killed. Clients need
//! credentials.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mainstay_proto::control::control_client::ControlClient;
use mainstay_proto::control::{Role, StatusRequest, StatusResponse};
use tonic::transport::{Channel, Endpoint};

use crate::broker::{Broker, Ports, address};
use crate::door::Door;

const MEMBERS: usize = 3;
const ANSWER: Duration = Duration::from_millis(700);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Cluster {
    brokers: Vec<Option<Broker>>,
    ports: Vec<Ports>,
    channels: Vec<Channel>,
    program: PathBuf,
    folder: PathBuf,
    door: Door,
}

impl Cluster {
    /// Starts fresh brokers below `folder`.
    pub(crate) async fn start(program: &Path, folder: &Path) -> Result<Self> {
        let ports = (0..MEMBERS).map(|_| Ports::choose()).collect::<Result<Vec<_>>>()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let route = address(listener.local_addr()?.port());
        for (number, own) in ports.iter().enumerate() {
            let text = config(number, own, &ports, &folder.join(name(number)), &route);
            std::fs::write(config_path(folder, number), text)?;
        }
        let door = Door::open(listener, ports.iter().map(|ports| ports.client).collect()).await?;
        let channel = |ports: &Ports| {
            let endpoint = Endpoint::from_shared(format!("http://{}", address(ports.internal)))?;
            Ok(endpoint.connect_timeout(ANSWER).connect_lazy())
        };
        let channels = ports.iter().map(channel).collect::<Result<Vec<_>>>()?;
        let mut cluster = Self {
            brokers: (0..MEMBERS).map(|_| None).collect(),
            ports,
            channels,
            program: program.to_owned(),
            folder: folder.to_owned(),
            door,
        };
        cluster.start_missing().await?;
        Ok(cluster)
    }

    /// Starts the brokers that do not run.
    pub(crate) async fn start_missing(&mut self) -> Result<()> {
        for number in 0..MEMBERS {
            if self.brokers[number].is_none() {
                let config = config_path(&self.folder, number);
                let log = self.folder.join(format!("{}.log", name(number)));
                let broker = Broker::member(&self.program, &config, self.ports[number], &log).await?;
                self.brokers[number] = Some(broker);
            }
        }
        Ok(())
    }

    /// SIGKILL, and nothing of the process is left.
    pub(crate) async fn kill(&mut self, number: usize) -> Result<()> {
        if let Some(broker) = self.brokers[number].take() {
            broker.kill().await.with_context(|| format!("kill {}", name(number)))?;
        }
        Ok(())
    }

    /// What clients are told.
    pub(crate) fn endpoint(&self) -> String {
        address(self.door.port)
    }

    pub(crate) fn internal(&self, number: usize) -> String {
        address(self.ports[number].internal)
    }

    /// The broker that leads and takes messages, as soon as there is one.
    pub(crate) async fn leader(&self, limit: Duration) -> Result<usize> {
        let began = Instant::now();
        loop {
            for number in 0..MEMBERS {
                let status = self.status(number).await;
                if status
                    .is_some_and(|status| status.role() == Role::Leader && status.serving && status.writable)
                {
                    return Ok(number);
                }
            }
            if began.elapsed() > limit {
                bail!("no broker leads after {limit:?}");
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn status(&self, number: usize) -> Option<StatusResponse> {
        self.brokers[number].as_ref()?;
        let mut client = ControlClient::new(self.channels[number].clone());
        let answer = tokio::time::timeout(ANSWER, client.status(StatusRequest {})).await;
        Some(answer.ok()?.ok()?.into_inner())
    }
}

pub(crate) fn name(number: usize) -> String {
    format!("broker{number}")
}

fn config_path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{}.toml", name(number)))
}

fn config(number: usize, own: &Ports, all: &[Ports], data: &Path, route: &str) -> String {
    let members: Vec<String> = all
        .iter()
        .enumerate()
        .map(|(member, ports)| {
            format!("{{ name = \"{}\", address = \"{}\" }}", name(member), address(ports.internal))
        })
        .collect();
    format!(
        r#"cluster = "clients"
group = 0
member = "{member}"
data = "{data}"

[replication]
mode = "raft"

[auth]
enabled = true

[listen]
client = "{client}"
internal = "{internal}"
http = "{http}"

[[groups]]
id = 0
address = "{route}"
members = [{members}]
"#,
        member = name(number),
        data = data.display(),
        client = address(own.client),
        internal = address(own.internal),
        http = address(own.http),
        members = members.join(", "),
    )
}
