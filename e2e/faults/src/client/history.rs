//! Writes down what a client did and saw, in the format that the programs on the official clients use
//! (`e2e/clients/README.md`): each line is in the file before the client goes on.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use mainstay_checker::Moment;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How a call ended, as far as its caller can know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    Ok,
    /// It certainly had no effect.
    Failed(String),
    Unknown(String),
}

impl Ended {
    const fn name(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(_) => "fail",
            Self::Unknown(_) => "unknown",
        }
    }

    fn error(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Failed(error) | Self::Unknown(error) => Some(error),
        }
    }
}

/// The history of one client.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: Mutex<File>,
    client: String,
    calls: AtomicU64,
}

impl Writer {
    /// A new file in `folder`; `group` makes it a consumer's.
    pub(crate) fn create(folder: &Path, client: &str, topic: &str, group: Option<&str>) -> Result<Self> {
        let path = folder.join(format!("{client}.jsonl"));
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let writer =
            Self { path, file: Mutex::new(file), client: client.to_owned(), calls: AtomicU64::new(1) };
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        writer.write(
            "start",
            json!({"boot": boot.trim(), "language": "rust", "version": env!("CARGO_PKG_VERSION"),
                "topic": topic, "group": group, "kind": group.map(|_| "simple")}),
        )?;
        Ok(writer)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    /// A call begins; gives its number.
    pub(crate) fn invoke(&self, op: &str, fields: Value) -> Result<u64> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        self.write("invoke", merged(json!({"op": op, "call": call}), fields))?;
        Ok(call)
    }

    pub(crate) fn message(&self, call: u64, fields: Value) -> Result<()> {
        self.write("message", merged(json!({"call": call}), fields))
    }

    pub(crate) fn complete(&self, op: &str, call: u64, ended: &Ended, fields: Value) -> Result<()> {
        let common = json!({"op": op, "call": call, "outcome": ended.name(), "error": ended.error()});
        self.write("complete", merged(common, fields))
    }

    pub(crate) fn end(&self) -> Result<()> {
        self.write("end", json!({"reason": "signal"}))
    }

    fn write(&self, event: &str, fields: Value) -> Result<()> {
        // Taken under the lock: times rise from line to line.
        let mut file = self.file.lock();
        let ts = Moment::now().0;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let common = json!({"event": event, "ts": ts, "wall": wall, "client": self.client});
        let mut line = serde_json::to_string(&merged(common, fields))?;
        line.push('\n');
        file.write_all(line.as_bytes()).with_context(|| format!("write {}", self.path.display()))
    }
}

/// Both together; what is null is left out.
fn merged(mut into: Value, from: Value) -> Value {
    if let (Value::Object(into), Value::Object(from)) = (&mut into, from) {
        into.extend(from);
        into.retain(|_, value| !value.is_null());
    }
    into
}

/// Over the whole body.
pub(crate) fn checksum(body: &[u8]) -> String {
    Sha256::digest(body).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The id in a body that a producer wrote: its first line.
pub(crate) fn id_in(body: &[u8]) -> Option<&str> {
    let end = body.iter().take(256).position(|byte| *byte == b'\n')?;
    std::str::from_utf8(&body[..end]).ok()
}

#[cfg(test)]
mod tests {
    use mainstay_checker::{History, Outcome};

    use super::*;

    #[test]
    fn the_checker_reads_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::create(folder.path(), "p", "orders", None).unwrap();
        let send = |id: &str| writer.invoke("send", json!({"id": id, "checksum": checksum(b"x")})).unwrap();
        let (one, two, _) = (send("1"), send("2"), send("3"));
        writer
            .complete("send", one, &Ended::Ok, json!({"message_id": "m", "offset": 7, "tries": 1}))
            .unwrap();
        writer.complete("send", two, &Ended::Failed("no".into()), json!({"tries": 1})).unwrap();
        writer.end().unwrap();
        let history = History::read(writer.path()).unwrap();
        let outcomes: Vec<_> = history.sends.iter().map(|send| &send.outcome).collect();
        assert!(matches!(outcomes[0], Outcome::Ok(receipt) if receipt.offset == Some(7)));
        assert!(matches!(outcomes[1], Outcome::Failed(why) if why == "no"));
        assert!(matches!(outcomes[2], Outcome::Unknown(_)));
        assert_eq!(history.sends[0].checksum.len(), 16);
    }

    #[test]
    fn the_id_is_the_first_line() {
        assert_eq!(id_in(b"p-17\nfiller\n"), Some("p-17"));
        assert_eq!(id_in(b"no line"), None);
    }
}
