//! The program as people and Kubernetes see it: what it prints, its exit codes, and that a start that fails leaves
//! nothing behind.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay-broker"));
    command.env_remove("RUST_LOG").env_remove("MAINSTAY_MEMBER");
    command
}

fn dev(data: &Path) -> Command {
    let mut command = program();
    command.args(["dev", "--listen", "127.0.0.1:0"]).arg("--data").arg(data);
    command
}

/// Runs to the end, which must be a failure with this code, and gives what it said.
fn fails(mut command: Command, code: i32) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{said}");
    said
}

/// A broker that is ready, and its line about that.
struct Running {
    child: Child,
    line: String,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("ready"), "{line}");
        Self { child, line }
    }

    fn client(&self) -> SocketAddr {
        let text = self.line.split("connect to ").nth(1).unwrap().split(';').next().unwrap();
        text.parse().unwrap()
    }

    /// SIGTERM; gives the exit code.
    fn terminate(mut self) -> Option<i32> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn dev_says_where_it_is_and_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for _ in 0..2 {
        let start = Instant::now();
        let broker = Running::start(dev(&data));
        println!("ready after {:?}", start.elapsed());
        assert!(broker.line.contains(&format!("data in {}", data.display())), "{}", broker.line);
        std::net::TcpStream::connect(broker.client()).unwrap();
        let start = Instant::now();
        assert_eq!(broker.terminate(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn wrong_flags_and_commands_are_named() {
    for (arguments, expected) in [
        (vec!["dev", "--lisen", "x"], "--lisen"),
        (vec!["dev", "--listen", "nowhere"], "nowhere"),
        (vec!["fly"], "fly"),
        (vec!["run"], "--config"),
    ] {
        let mut command = program();
        command.args(arguments);
        assert!(fails(command, 2).contains(expected));
    }
}

#[test]
fn a_configuration_is_checked_without_starting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.toml");
    let check = || {
        let mut command = program();
        command.arg("check-config").arg("--config").arg(&file);
        command
    };
    assert!(
        fails(check(), 1).contains("broker.toml: No such file") || fails(check(), 1).contains("cannot read")
    );
    let text = "cluster = \"c\"\ngroup = 0\nmember = \"m\"\ndata = \"/tmp/x\"\n[replication]\nmode = \"none\"\n\
        [listen]\ninternal = \"127.0.0.1:8082\"\n[[groups]]\nid = 0\naddress = \"h:1\"\n\
        members = [{name = \"m\", address = \"h:2\"}]\n";
    fs::write(&file, text).unwrap();
    let output = check().output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("member m of group 0 in cluster c"));
    fs::write(&file, format!("colour = 1\n{text}")).unwrap();
    let said = fails(check(), 1);
    assert!(said.contains("colour") && said.contains("broker.toml"), "{said}");
}

#[test]
fn a_taken_port_is_named_and_no_data_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--internal", "--http"] {
        let mut command = program();
        command.arg("dev").arg("--data").arg(&data);
        if flag != "--listen" {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args([flag, &address]);
        let said = fails(command, 1);
        assert!(said.contains(&address) && said.contains("in use"), "{said}");
        assert!(!data.exists());
    }
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let _first = Running::start(dev(&data));
    let said = fails(dev(&data), 1);
    assert!(said.contains("in use by another process") && said.contains("data"), "{said}");
}

#[test]
fn a_folder_that_cannot_be_one_of_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let said = fails(dev(&file), 1);
    assert!(said.contains(&*file.display().to_string()), "{said}");
    let said = fails(dev(folder.path()), 1);
    assert!(said.contains("not a data folder"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_folder_of_another_cluster_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert_eq!(Running::start(dev(&data)).terminate(), Some(0));
    let file = folder.path().join("broker.toml");
    let text = format!(
        "cluster = \"other\"\ngroup = 0\nmember = \"m\"\ndata = \"{}\"\n[replication]\nmode = \"none\"\n\
         [listen]\nclient = \"127.0.0.1:0\"\ninternal = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
         [[groups]]\nid = 0\naddress = \"h:1\"\nmembers = [{{name = \"m\", address = \"h:2\"}}]\n",
        data.display()
    );
    fs::write(&file, text).unwrap();
    let mut command = program();
    command.arg("run").arg("--config").arg(&file);
    let said = fails(command, 1);
    assert!(said.contains("belongs to cluster 'dev' group 0, not to cluster 'other'"), "{said}");
}

#[test]
fn damage_is_named_and_nothing_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert_eq!(Running::start(dev(&data)).terminate(), Some(0));
    for name in ["node", "granted", "membership"] {
        let path = data.join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        fs::write(&path, &bad).unwrap();
        let said = fails(dev(&data), 1);
        assert!(said.contains(&*path.display().to_string()) && said.contains("damaged"), "{said}");
        assert_eq!(fs::read(&path).unwrap(), bad);
        fs::write(&path, good).unwrap();
    }
    let segment = fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|e| e == "seg")).min().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let batch = bytes.windows(4).position(|window| window == b"MSB1").unwrap();
    bytes[batch + 40] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let said = fails(dev(&data), 1);
    assert!(said.contains(&*segment.display().to_string()) && said.contains("damaged"), "{said}");
    assert_eq!(fs::read(&segment).unwrap(), bytes);
    let identity = data.join("node");
    fs::remove_file(&identity).unwrap();
    let said = fails(dev(&data), 1);
    assert!(said.contains("holds a log, but its file 'node' is gone"), "{said}");
}
