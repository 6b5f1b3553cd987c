//! The network of the brokers: a namespace for each, joined by a bridge in this process's own, where the clients are.
//!
//! A direction is cut where packets arrive, so that the sender notices nothing. Cuts of one namespace are changed at
//! once, by one nft transaction.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::enclosure::{NETWORKS, search_path};

/// Whoever can be at one end of a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Broker(usize),
    /// Clients, the stand-in for the operator, and this process.
    Clients,
}

/// Packets from the first are dropped when they arrive at the second.
pub(crate) type Cut = (Place, Place);

/// The address of a place.
pub(crate) fn address(place: Place) -> String {
    match place {
        Place::Broker(number) => format!("10.99.0.{}", number + 1),
        Place::Clients => "10.99.0.254".to_owned(),
    }
}

fn namespace(broker: usize) -> String {
    format!("broker{broker}")
}

/// A command that runs in the network of `broker`. The process is the program itself, not a wrapper.
pub(crate) fn in_network(broker: usize) -> Command {
    let mut command = Command::new("nsenter");
    command.env("PATH", search_path()).arg(format!("--net={NETWORKS}/{}", namespace(broker))).arg("--");
    command
}

/// The brokers' networks.
#[derive(Debug)]
pub(crate) struct Network {
    brokers: usize,
    cuts: BTreeSet<Cut>,
}

impl Network {
    /// Makes the bridge, and a namespace for each broker.
    pub(crate) fn create(brokers: usize) -> Result<Self> {
        ip(&["link", "set", "lo", "up"])?;
        ip(&["link", "add", "bridge", "type", "bridge"])?;
        ip(&["address", "add", &format!("{}/24", address(Place::Clients)), "dev", "bridge"])?;
        ip(&["link", "set", "bridge", "up"])?;
        for broker in 0..brokers {
            let name = namespace(broker);
            let own = format!("{}/24", address(Place::Broker(broker)));
            ip(&["netns", "add", &name])?;
            ip(&["link", "add", "name", &name, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
            ip(&["link", "set", &name, "master", "bridge", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["-n", &name, "address", "add", &own, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        }
        let network = Self { brokers, cuts: BTreeSet::new() };
        for place in network.places() {
            nft(
                place,
                "table ip faults {\n set cut {\n type ipv4_addr\n }\n chain arriving {\n \
                 type filter hook input priority 0; policy accept;\n ip saddr @cut drop\n }\n}\n",
            )?;
        }
        Ok(network)
    }

    /// These directions are cut and no others.
    pub(crate) fn set(&mut self, cuts: impl IntoIterator<Item = Cut>) -> Result<()> {
        let cuts: BTreeSet<Cut> = cuts.into_iter().collect();
        for place in self.places() {
            let arriving = |cuts: &BTreeSet<Cut>| -> Vec<String> {
                cuts.iter().filter(|(_, to)| *to == place).map(|(from, _)| address(*from)).collect()
            };
            let wanted = arriving(&cuts);
            if wanted == arriving(&self.cuts) {
                continue;
            }
            let mut rules = "flush set ip faults cut\n".to_owned();
            if !wanted.is_empty() {
                rules.push_str(&format!("add element ip faults cut {{ {} }}\n", wanted.join(", ")));
            }
            nft(place, &rules)?;
        }
        self.cuts = cuts;
        Ok(())
    }

    pub(crate) fn heal(&mut self) -> Result<()> {
        self.set([])
    }

    fn places(&self) -> Vec<Place> {
        (0..self.brokers).map(Place::Broker).chain([Place::Clients]).collect()
    }
}

/// Both directions between two places.
pub(crate) fn between(one: Place, other: Place) -> [Cut; 2] {
    [(one, other), (other, one)]
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output =
        Command::new("ip").args(arguments).env("PATH", search_path()).output().context("start ip")?;
    ensure!(
        output.status.success(),
        "ip {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn nft(place: Place, rules: &str) -> Result<()> {
    let mut command = match place {
        Place::Broker(broker) => {
            let mut command = in_network(broker);
            command.arg("nft");
            command
        }
        Place::Clients => Command::new("nft"),
    };
    command.env("PATH", search_path()).args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start nft")?;
    child.stdin.take().context("nft takes no input")?.write_all(rules.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "nft failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
