//! The loopback's own ceiling: 1 KiB there and back over TCP, one at a time, between two threads.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::figures::{Figures, Latencies};

const BYTES: usize = 1024;

/// Measures round trips for `duration`.
pub(crate) fn probe(duration: Duration) -> anyhow::Result<Figures> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = [0; BYTES];
        // The end of the stream ends the measurement.
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    let mut latencies = Latencies::new()?;
    let started = Instant::now();
    {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut buffer = [0x5a; BYTES];
        while started.elapsed() < duration {
            let before = Instant::now();
            stream.write_all(&buffer)?;
            stream.read_exact(&mut buffer)?;
            latencies.record(before.elapsed())?;
        }
    }
    let figures = latencies.figures(1, started.elapsed());
    echo.join().ok().context("the echo thread panicked")??;
    Ok(figures)
}
