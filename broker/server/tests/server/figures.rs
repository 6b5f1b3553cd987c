//! What a broker's metrics tell.

#![allow(dead_code, clippy::unwrap_used)]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How many long polls wait in the broker with this HTTP port, by its metrics.
pub(crate) async fn polls_waiting(http: SocketAddr) -> u64 {
    gauge(http, "mainstay_long_polls_waiting").await
}

/// One value of the broker's metrics.
pub(crate) async fn gauge(http: SocketAddr, name: &str) -> u64 {
    let mut stream = TcpStream::connect(http).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
}
