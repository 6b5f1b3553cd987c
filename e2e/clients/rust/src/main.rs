//! The test client on the official Rust library. README.md beside the launcher describes what it does.
//!
//! The library cannot do TLS, has no push consumer, and cannot change how long a message is invisible, take a message back
//! or give one a priority. What needs these is refused with the reason; nothing is done by other means. A panic of the
//! library ends the program with a failure.

mod arguments;
mod consume;
mod history;
mod kinds;
mod library;
mod produce;
mod progress;
mod receipt;
mod scenario;
mod scenes;
mod smoke;
mod stage;
mod stop;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::arguments::{Arguments, Command};
use crate::stop::Stop;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let lines = match Arguments::parts(&words) {
        Ok(lines) => lines,
        Err(problem) => {
            eprintln!("clients/run rust: {problem}");
            return ExitCode::from(2);
        }
    };
    let mut own = match quiet_library() {
        Ok(own) => own,
        Err(error) => {
            eprintln!("clients/run rust: the library's log: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(own, "rust: {error}");
            return ExitCode::FAILURE;
        }
    };
    let well = runtime.block_on(all(lines, own));
    // A receive that waits may take longer; nobody is to see its end.
    runtime.shutdown_background();
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The library logs to the standard error, which goes to a file from now on. What it was before is returned.
fn quiet_library() -> io::Result<File> {
    let own = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    if let Some(path) = std::env::var_os("LIBRARY_LOG") {
        if let Some(folder) = Path::new(&path).parent() {
            std::fs::create_dir_all(folder)?;
        }
        let log = OpenOptions::new().create(true).append(true).open(path)?;
        rustix::stdio::dup2_stderr(log)?;
    }
    Ok(own)
}

/// Runs all command lines at once; whether all went well.
async fn all(lines: Vec<Arguments>, mut own: File) -> bool {
    if let Some(line) = lines.iter().find(|line| line.command == Command::Scenario) {
        // It has clients of its own, and ends by itself.
        return scenario::run_all(&Arc::new(line.clone())).await;
    }
    let stop = match Stop::on_signals() {
        Ok(stop) => stop,
        Err(error) => {
            let _ = writeln!(own, "rust: signals: {error}");
            return false;
        }
    };
    let mut running = JoinSet::new();
    for line in lines {
        let stop = stop.clone();
        running.spawn(async move {
            let line = Arc::new(line);
            let done = match line.command {
                Command::Produce => Box::pin(produce::run(Arc::clone(&line), stop)).await,
                Command::Consume => Box::pin(consume::run(Arc::clone(&line), stop)).await,
                Command::Smoke | Command::Scenario => smoke::run(&line).await,
            };
            done.map_err(|problem| format!("{:?} {} failed: {problem}", line.command, line.name))
        });
    }
    let mut well = true;
    while let Some(ended) = running.join_next().await {
        if let Err(problem) = ended.unwrap_or_else(|panic| Err(panic.to_string())) {
            let _ = writeln!(own, "rust: {problem}");
            well = false;
        }
    }
    well
}
