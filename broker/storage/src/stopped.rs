//! Why a log stopped, left behind for whoever looks after the process is gone.
//!
//! Written with best effort: the disk may be what failed. The next start that opens the log takes it away.

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use mainstay_record::Timestamp;

use crate::error::{IoFailure, LogError};
use crate::fs::{FileSystem, read_file, remove_if_there, replace_file};

const FILE: &str = "stopped";
const FIRST_LINE: &str = "mainstay log stopped, format 1";

/// Why a log stopped for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Milliseconds since 1970.
    pub at: Timestamp,
    /// The operation that failed, on which file, and the system's number of the error; where it was one.
    pub operation: Option<String>,
    pub path: Option<PathBuf>,
    pub errno: Option<i32>,
    /// The whole reason.
    pub what: String,
}

impl Stopped {
    fn of(error: &LogError) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let io = match error {
            LogError::Io(io) | LogError::NoSpace(io) => Some(io),
            _ => None,
        };
        Self {
            at: Timestamp(now.as_millis() as u64),
            operation: io.map(|io| io.operation.to_owned()),
            path: io.map(|io| io.path.clone()),
            errno: io.and_then(|io| io.source.raw_os_error()),
            what: error.to_string(),
        }
    }

    fn to_text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\nat: {}\n", self.at.0);
        let mut line = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!("{name}: {}\n", value.replace('\n', " ")));
            }
        };
        line("operation", self.operation.clone());
        line("path", self.path.as_ref().map(|path| path.display().to_string()));
        line("errno", self.errno.map(|errno| errno.to_string()));
        line("what", Some(self.what.clone()));
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.strip_prefix(FIRST_LINE)?;
        let field = |name: &str| {
            let value = |line: &str| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned);
            lines.lines().find_map(value)
        };
        Some(Self {
            at: Timestamp(field("at")?.parse().ok()?),
            operation: field("operation"),
            path: field("path").map(PathBuf::from),
            errno: field("errno").and_then(|errno| errno.parse().ok()),
            what: field("what")?,
        })
    }

    /// Leaves the reason in the group's folder.
    pub(crate) fn leave(fs: &dyn FileSystem, directory: &Path, error: &LogError) {
        let text = Self::of(error).to_text();
        let path = directory.join(FILE);
        if let Err(failure) = replace_file(fs, &path, &[IoSlice::new(text.as_bytes())]) {
            tracing::warn!(error = %failure, "cannot leave behind why the log stopped");
        }
    }

    /// What the process before left in the group's folder, if its log stopped.
    pub fn read(fs: &dyn FileSystem, directory: &Path) -> Result<Option<Self>, IoFailure> {
        let path = directory.join(FILE);
        let Some(bytes) = read_file(fs, &path)? else { return Ok(None) };
        match Self::parse(&String::from_utf8_lossy(&bytes)) {
            Some(stopped) => Ok(Some(stopped)),
            None => Err(IoFailure { operation: "understand", path, source: ErrorKind::InvalidData.into() }),
        }
    }

    /// Reads the reason and takes it away.
    pub(crate) fn take(fs: &dyn FileSystem, directory: &Path) -> Option<Self> {
        let stopped = Self::read(fs, directory).unwrap_or_else(|error| {
            tracing::warn!(%error, "why the log stopped before cannot be told");
            None
        });
        if let Err(error) = remove_if_there(fs, &directory.join(FILE)) {
            tracing::warn!(%error, "the reason why the log stopped before stays");
        }
        stopped
    }
}
