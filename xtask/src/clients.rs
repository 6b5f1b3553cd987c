//! The official clients: installing them, and each one's smoke test against `mainstay-broker dev`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mainstay_clusters::{Step, until};

use crate::e2e;

/// Languages whose official client must work.
pub(crate) const LANGUAGES: [&str; 3] = ["python", "node", "java"];

/// Installs a client into the cache, unless it is there.
pub(crate) fn install(language: &str) -> Result<()> {
    let step = Step::start(format!("install the official {language} client"), "");
    let status = launcher().args(["--install", language]).status().context("start e2e/clients/run")?;
    ensure!(status.success(), "the official {language} client cannot be installed");
    step.done();
    Ok(())
}

/// Sends, receives and acknowledges with the official client.
pub(crate) fn smoke(language: &str, broker: &DevBroker) -> Result<()> {
    let endpoint = format!("127.0.0.1:{}", broker.port);
    let topic = format!("smoke-{language}");
    let arguments = [language, "--endpoints", &endpoint, "--topic", &topic, "--group", &topic, "smoke"];
    let started = Instant::now();
    let status = launcher().args(arguments).status().context("start e2e/clients/run")?;
    ensure!(status.success(), "the official {language} client failed against {endpoint}");
    println!("    {language}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn launcher() -> Command {
    Command::new(e2e::repository().join("e2e/clients/run"))
}

/// `mainstay-broker dev` on ports of the system's choice and a fresh data folder.
#[derive(Debug)]
pub(crate) struct DevBroker {
    child: Child,
    port: u16,
}

impl DevBroker {
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let data = e2e::results().join("dev-data");
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
        }
        fs::create_dir_all(e2e::results())?;
        // The system's choice, given back for the broker to take.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = e2e::results().join("dev-broker.log");
        let mut child = Command::new(program)
            .args(["dev", "--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(&data)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let stdout = child.stdout.take().context("the broker has no output")?;
        let broker = Self { child, port };
        // It says so in one line when it is ready; the rest is drained so that it never waits for us.
        let mut lines = BufReader::new(stdout).lines();
        let ready = lines
            .next()
            .with_context(|| format!("the broker ended before it was ready; see {}", log.display()))??;
        println!("    {ready}");
        std::thread::spawn(move || lines.for_each(drop));
        until("the broker to listen", Duration::from_secs(5), || {
            let refused = std::net::TcpStream::connect(("127.0.0.1", port)).err();
            Ok(refused.map(|error| error.to_string()))
        })?;
        Ok(broker)
    }
}

impl Drop for DevBroker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
