//! One address for several brokers, as a Service is on Kubernetes: a connection goes to whichever broker takes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::broker::address;

/// Takes connections until it is dropped.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Door {
    /// In front of brokers that listen for clients on these ports, now or later.
    pub(crate) async fn open(listener: std::net::TcpListener, brokers: Vec<u16>) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let port = listener.local_addr()?.port();
        let brokers = Arc::new(brokers);
        let turns = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(async move {
            loop {
                // An error is one connection's.
                let Ok((inside, _)) = listener.accept().await else { continue };
                tokio::spawn(pass(inside, Arc::clone(&brokers), turns.fetch_add(1, Ordering::Relaxed)));
            }
        });
        Ok(Self { port, task })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends both sides when one has ended: a client whose broker is gone has to notice.
async fn pass(mut inside: TcpStream, brokers: Arc<Vec<u16>>, turn: usize) {
    for port in brokers.iter().cycle().skip(turn % brokers.len()).take(brokers.len()) {
        if let Ok(mut outside) = TcpStream::connect(address(*port)).await {
            let _ = (inside.set_nodelay(true), outside.set_nodelay(true));
            let _ = copy_bidirectional(&mut inside, &mut outside).await;
            return;
        }
    }
}
