//! A relay for each direction between two nodes, with an address that stays although the node behind it starts on
//! another port each time. A cut closes what is open and lets nothing new through.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Network {
    /// Where each node listens, once it does.
    targets: Vec<watch::Sender<Option<SocketAddr>>>,
    relays: BTreeMap<(usize, usize), Relay>,
}

struct Relay {
    address: String,
    open: watch::Sender<bool>,
    /// Connections that are open.
    passing: watch::Sender<usize>,
}

impl Network {
    /// Relays between all pairs of so many nodes.
    pub(crate) async fn between(nodes: usize) -> Self {
        let targets: Vec<_> = (0..nodes).map(|_| watch::Sender::new(None)).collect();
        let mut relays = BTreeMap::new();
        for from in 0..nodes {
            for to in (0..nodes).filter(|to| *to != from) {
                relays.insert((from, to), Relay::start(targets[to].subscribe()).await);
            }
        }
        Self { targets, relays }
    }

    /// The node listens there from now on.
    pub(crate) fn started(&self, node: usize, address: SocketAddr) {
        self.targets[node].send_replace(Some(address));
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
    async fn start(target: watch::Receiver<Option<SocketAddr>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (open, opened) = watch::channel(true);
        let passing = watch::Sender::new(0);
        let counted = passing.clone();
        tokio::spawn(async move {
            while let Ok((incoming, _)) = listener.accept().await {
                let Some(target) = *target.borrow() else { continue };
                let (opened, counted) = (opened.clone(), counted.clone());
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

async fn pass(mut incoming: TcpStream, target: SocketAddr, mut open: watch::Receiver<bool>) {
    if !*open.borrow_and_update() {
        return;
    }
    let Ok(mut outgoing) = TcpStream::connect(target).await else { return };
    let _ = incoming.set_nodelay(true);
    let _ = outgoing.set_nodelay(true);
    tokio::select! {
        _ = copy_bidirectional(&mut incoming, &mut outgoing) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
