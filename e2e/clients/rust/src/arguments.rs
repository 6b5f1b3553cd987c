//! The command line, in any order of options and words; README.md beside the launcher describes it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::library::{NO_PUSH, NO_TLS};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Smoke,
    Scenario,
    Produce,
    Consume,
}

/// Options that stand alone.
const FLAGS: [&str; 2] = ["tls", "sql"];

/// Options with a value, and the value when they are absent.
const OPTIONS: [(&str, &str); 30] = [
    ("endpoints", ""),
    ("topic", ""),
    ("group", ""),
    ("name", ""),
    ("start-timeout", "30"),
    ("access-endpoints", ""),
    ("access-key", ""),
    ("secret-key", ""),
    ("history", ""),
    ("progress", "1"),
    ("count", "0"),
    ("in-flight", "8"),
    ("rate", "0"),
    ("size", "256"),
    ("type", "normal"),
    ("delay", "2"),
    ("kind", "simple"),
    ("until-idle", "0"),
    ("first-within", "0"),
    ("duration", "0"),
    ("invisible", "30"),
    ("batch", "32"),
    ("wait", "5"),
    ("filter", "*"),
    ("wants", ""),
    ("order", ""),
    ("max-attempts", "0"),
    ("rest", "0"),
    ("give-back", "0"),
    ("give-back-times", "1"),
];

/// One command line.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    pub(crate) command: Command,
    /// Scenarios.
    pub(crate) names: Vec<String>,
    pub(crate) endpoints: String,
    /// For scenarios the beginning of the names of topics and groups.
    pub(crate) topic: String,
    pub(crate) group: String,
    /// Of this client in histories; must be unique.
    pub(crate) name: String,
    pub(crate) start_timeout: Duration,
    pub(crate) access_endpoints: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) history: PathBuf,
    pub(crate) progress: Duration,
    /// 0: no end.
    pub(crate) count: u64,
    pub(crate) in_flight: u32,
    /// Messages per second; 0: as fast as it goes.
    pub(crate) rate: f64,
    /// Bytes of a body.
    pub(crate) size: usize,
    pub(crate) kind: String,
    /// Seconds.
    pub(crate) delay: i64,
    pub(crate) until_idle: Duration,
    pub(crate) first_within: Duration,
    pub(crate) duration: Duration,
    pub(crate) invisible: Duration,
    pub(crate) batch: i32,
    pub(crate) wait: Duration,
    pub(crate) filter: String,
    pub(crate) sql: bool,
    pub(crate) wants: String,
    pub(crate) order: String,
    pub(crate) max_attempts: u32,
    pub(crate) rest: Duration,
    pub(crate) give_back: Duration,
    pub(crate) give_back_times: i32,
}

impl Arguments {
    /// Several command lines with `+` between them, which run at once.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(crate) fn parts(words: &[String]) -> Result<Vec<Self>, String> {
        words.split(|word| word == "+").map(|line| Words::read(line)?.arguments()).collect()
    }

    fn check(self) -> Result<Self, String> {
        if self.endpoints.is_empty() || self.topic.is_empty() {
            return Err("--endpoints and --topic are needed".to_owned());
        }
        match self.command {
            Command::Scenario if self.names.is_empty() => Err("scenario takes names".to_owned()),
            Command::Scenario => Ok(self),
            _ if !self.names.is_empty() => Err(format!("what is {:?}?", self.names)),
            Command::Produce | Command::Consume if self.history.as_os_str().is_empty() => {
                Err("--history is needed".to_owned())
            }
            Command::Consume if self.group.is_empty() => Err("consume needs --group".to_owned()),
            _ => Ok(self),
        }
    }
}

/// A command line, taken apart.
#[derive(Debug, Default)]
struct Words {
    plain: Vec<String>,
    flags: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Words {
    fn read(line: &[String]) -> Result<Self, String> {
        let mut read = Self::default();
        let mut words = line.iter();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                read.plain.push(word.clone());
                continue;
            };
            if FLAGS.contains(&name) {
                read.flags.push(name.to_owned());
            } else if OPTIONS.iter().any(|(known, _)| *known == name) {
                let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
                read.values.insert(name.to_owned(), value.clone());
            } else {
                return Err(format!("there is no option --{name}"));
            }
        }
        Ok(read)
    }

    fn text(&self, name: &str) -> String {
        let otherwise = OPTIONS.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        self.values.get(name).cloned().unwrap_or_else(|| otherwise.to_owned())
    }

    fn number<T: FromStr>(&self, name: &str) -> Result<T, String> {
        self.text(name).parse().map_err(|_| format!("--{name} {} is not such a number", self.text(name)))
    }

    fn seconds(&self, name: &str) -> Result<Duration, String> {
        Duration::try_from_secs_f64(self.number(name)?).map_err(|error| format!("--{name}: {error}"))
    }

    fn command(&self) -> Result<Command, String> {
        match self.plain.first().map(String::as_str) {
            Some("smoke") => Ok(Command::Smoke),
            Some("scenario") => Ok(Command::Scenario),
            Some("produce") => Ok(Command::Produce),
            Some("consume") => Ok(Command::Consume),
            _ => Err("there is to be one command of smoke, scenario, produce, consume".to_owned()),
        }
    }

    fn arguments(&self) -> Result<Arguments, String> {
        let has = |flag: &str| self.flags.iter().any(|given| given == flag);
        if has("tls") {
            return Err(NO_TLS.to_owned());
        }
        match self.text("kind").as_str() {
            "simple" => {}
            "push" => return Err(NO_PUSH.to_owned()),
            _ => return Err("of --kind there are simple and push".to_owned()),
        }
        let arguments = Arguments {
            command: self.command()?,
            names: self.plain[1..].to_vec(),
            endpoints: self.text("endpoints"),
            topic: self.text("topic"),
            group: self.text("group"),
            name: self.text("name"),
            start_timeout: self.seconds("start-timeout")?,
            access_endpoints: self.text("access-endpoints"),
            access_key: self.text("access-key"),
            secret_key: self.text("secret-key"),
            history: self.text("history").into(),
            progress: self.seconds("progress")?,
            count: self.number("count")?,
            in_flight: self.number("in-flight")?,
            rate: self.number("rate")?,
            size: self.number("size")?,
            kind: self.text("type"),
            delay: self.number("delay")?,
            until_idle: self.seconds("until-idle")?,
            first_within: self.seconds("first-within")?,
            duration: self.seconds("duration")?,
            invisible: self.seconds("invisible")?,
            batch: self.number("batch")?,
            wait: self.seconds("wait")?,
            filter: self.text("filter"),
            sql: has("sql"),
            wants: self.text("wants"),
            order: self.text("order"),
            max_attempts: self.number("max-attempts")?,
            rest: self.seconds("rest")?,
            give_back: self.seconds("give-back")?,
            give_back_times: self.number("give-back-times")?,
        };
        arguments.check()
    }
}
