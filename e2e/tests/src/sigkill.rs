//! SIGKILL for the program of a pod, from outside: deleting a pod, even without grace, lets its program say goodbye.
//!
//! Containers of both cluster providers are processes of this machine, recognised by the pod's uid in their control
//! group.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use mainstay_checker::Moment;

/// Kills every process named `program` of the pod with this uid and returns the moment before; an error when there is
/// none.
pub(crate) fn kill(uid: &str, program: &str) -> Result<Moment> {
    let pids = processes(uid, program)?;
    ensure!(!pids.is_empty(), "pod {uid} runs no process {program} on this machine");
    let before = Moment::now();
    mainstay_clusters::output(Command::new("kill").arg("-KILL").args(pids))?;
    Ok(before)
}

fn processes(uid: &str, program: &str) -> Result<Vec<String>> {
    // The systemd driver writes uids with underscores.
    let names = [uid.to_owned(), uid.replace('-', "_")];
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let pid = entry?.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|digit| digit.is_ascii_digit()) {
            continue;
        }
        // A process may end while it is looked at.
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // The kernel keeps 15 characters of a name.
        let short: String = program.chars().take(15).collect();
        if name.trim_end() == short && names.iter().any(|uid| groups.contains(uid)) {
            found.push(pid);
        }
    }
    Ok(found)
}
