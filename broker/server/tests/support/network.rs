//! A relay for each direction between two nodes. A cut closes what is open and lets nothing new through.

use std::collections::BTreeMap;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Network {
    relays: BTreeMap<(usize, usize), Relay>,
}

struct Relay {
    address: String,
    open: watch::Sender<bool>,
    /// Connections that are open.
    passing: watch::Sender<usize>,
}

impl Network {
    /// Relays between all pairs of nodes with these addresses.
    pub(crate) async fn between(targets: &[String]) -> Self {
        let mut relays = BTreeMap::new();
        for from in 0..targets.len() {
            for (to, target) in targets.iter().enumerate().filter(|(to, _)| *to != from) {
                relays.insert((from, to), Relay::start(target.clone()).await);
            }
        }
        Self { relays }
    }

    /// Where `from` reaches `to`.
    pub(crate) fn address(&self, from: usize, to: usize) -> Option<String> {
        self.relays.get(&(from, to)).map(|relay| relay.address.clone())
    }

    /// Returns when nothing passes any more.
    pub(crate) async fn isolate(&self, node: usize) {
        self.set(node, false);
        for ((from, to), relay) in &self.relays {
            if *from == node || *to == node {
                let _ = relay.passing.subscribe().wait_for(|passing| *passing == 0).await;
            }
        }
    }

    pub(crate) fn heal(&self, node: usize) {
        self.set(node, true);
    }

    fn set(&self, node: usize, open: bool) {
        for ((from, to), relay) in &self.relays {
            if *from == node || *to == node {
                relay.open.send_replace(open);
            }
        }
    }
}

impl Relay {
    async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (open, opened) = watch::channel(true);
        let passing = watch::Sender::new(0);
        let counted = passing.clone();
        tokio::spawn(async move {
            while let Ok((incoming, _)) = listener.accept().await {
                let (target, opened, counted) = (target.clone(), opened.clone(), counted.clone());
                counted.send_modify(|passing| *passing += 1);
                tokio::spawn(async move {
                    pass(incoming, target, opened).await;
                    counted.send_modify(|passing| *passing -= 1);
                });
            }
        });
        Self { address, open, passing }
    }
}

async fn pass(mut incoming: TcpStream, target: String, mut open: watch::Receiver<bool>) {
    if !*open.borrow_and_update() {
        return;
    }
    let Ok(mut outgoing) = TcpStream::connect(&target).await else { return };
    let _ = incoming.set_nodelay(true);
    let _ = outgoing.set_nodelay(true);
    tokio::select! {
        _ = copy_bidirectional(&mut incoming, &mut outgoing) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
