//! What the test runs in pods and on the host, as one static program: `serve` writes to its volume and greets who
//! connects, `get HOST:PORT` resolves, connects and prints the greeting.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;
use std::{env, fs, process};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve(),
        ["get", address] => get(address),
        _ => process::exit(64),
    }
}

fn serve() {
    let visits = fs::read_to_string("/data/visits").map_or(0, |text| text.trim().parse::<u32>().expect("a number"));
    fs::write("/data/visits", (visits + 1).to_string()).expect("the volume is writable");
    fs::write("/tmp/scratch", "").expect("/tmp is writable");
    println!("started; writing to the root file system: {:?}", fs::write("/usr/forbidden", "").is_err());
    let listener = TcpListener::bind("0.0.0.0:8080").expect("listen");
    for stream in listener.incoming() {
        let mut stream = stream.expect("accept");
        let host = env::var("HOSTNAME").unwrap_or_default();
        let _ = writeln!(stream, "hello from {host}, start {}, to {}", visits + 1, stream.peer_addr().expect("peer"));
    }
}

fn get(address: &str) {
    let resolved: Vec<_> = match address.to_socket_addrs() {
        Ok(resolved) => resolved.collect(),
        Err(error) => fail(&format!("resolve {address}: {error}")),
    };
    let mut stream = match TcpStream::connect_timeout(&resolved[0], Duration::from_secs(2)) {
        Ok(stream) => stream,
        Err(error) => fail(&format!("connect to {resolved:?}: {error}")),
    };
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).expect("read");
    let status = fs::read_to_string("/proc/self/status").expect("my status");
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("my user").split_whitespace().next();
    print!("uid {} got {greeting}", uid.unwrap_or_default());
}

fn fail(complaint: &str) -> ! {
    eprintln!("{complaint}");
    process::exit(1);
}
