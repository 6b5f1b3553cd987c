//! Configuration files of brokers under test: everything on loopback, on ports of the system's choice.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    Sync,
    Async,
}

impl Flush {
    const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
        }
    }
}

/// Where one broker listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    pub(crate) internal: u16,
    pub(crate) http: u16,
}

impl Ports {
    /// For so many brokers. Held open together, so that the system gives different ones.
    pub(crate) fn free(brokers: usize) -> anyhow::Result<Vec<Self>> {
        let mut held = Vec::new();
        let mut port = || -> anyhow::Result<u16> {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        (0..brokers).map(|_| Ok(Self { client: port()?, internal: port()?, http: port()? })).collect()
    }
}

/// Writes the file of member `own` of a group that listens on `ports`: several members elect by themselves.
pub(crate) fn write(folder: &Path, flush: Flush, ports: &[Ports], own: usize) -> anyhow::Result<PathBuf> {
    let Ports { client, internal, http } = ports[own];
    let mode = if ports.len() > 1 { "raft" } else { "none" };
    let mut members = String::new();
    for (ordinal, ports) in ports.iter().enumerate() {
        let internal = ports.internal;
        writeln!(members, r#"  {{ name = "bench-0-{ordinal}", address = "127.0.0.1:{internal}" }},"#)?;
    }
    let text = format!(
        r#"cluster = "bench"
group = 0
member = "bench-0-{own}"
data = "{data}"

[replication]
mode = "{mode}"

[flush]
type = "{flush}"

[listen]
client = "127.0.0.1:{client}"
internal = "127.0.0.1:{internal}"
http = "127.0.0.1:{http}"

[topics]
auto_create = true

[[groups]]
id = 0
address = "127.0.0.1:{client}"
members = [
{members}]
"#,
        data = folder.join("data").display(),
        flush = flush.name(),
    );
    let path = folder.join("broker.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}
