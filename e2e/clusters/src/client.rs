//! Programs of this machine inside a cluster's network: test clients run on the host, as processes, but must reach pods
//! and Services by address and by name, as a pod would.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::image::NON_ROOT_ID;

/// Each word replaces its process by the next one, so the child that is spawned *is* the program: its signals and its
/// exit status are the program's own.
///
/// Some official clients never ask whether a silent connection still lives. They notice that a node is gone when TCP
/// gives up, by default after a quarter of an hour; three unanswered repetitions take about 3 s.
const ENTER: &str = r#"echo 3 > /proc/sys/net/ipv4/tcp_retries2 && if [ -n "$CLIENT_HOSTS" ]; then mount --bind "$CLIENT_HOSTS" /etc/hosts; fi && mount --bind "$1" /etc/resolv.conf && shift && exec setpriv \
    --reuid "$CLIENT_ID" --regid "$CLIENT_ID" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@""#;

/// A command that runs `program` as a non-root user in the given network namespace, with the given file in place of
/// `/etc/resolv.conf`. Arguments, environment and pipes are the caller's to add.
pub(crate) fn command_in(network: &Path, resolv_conf: &Path, program: &OsStr) -> Command {
    let mut enter = Command::new("nsenter");
    enter
        .arg(format!("--net={}", network.display()))
        .args(["--", "unshare", "--mount", "--", "sh", "-c", ENTER, "sh"])
        .arg(resolv_conf)
        .arg(program)
        .env("PATH", command::search_path())
        .env("CLIENT_ID", NON_ROOT_ID.to_string())
        // Root's home is closed to the user the program runs as.
        .env("HOME", "/tmp");
    enter
}

/// What `/etc/resolv.conf` says in a pod of the default namespace.
pub(crate) fn resolv_conf(dns: &str) -> String {
    format!(
        "nameserver {dns}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    )
}
