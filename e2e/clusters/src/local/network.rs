//! The network of a local cluster: a namespace for each node, joined by a bridge in the control plane's. Nothing in it
//! has a route out of the machine.

use std::process::Command;

use anyhow::{Context, Result};

use super::layout::{CONTROL_ADDRESS, Layout, Node, SERVICE_RANGE};
use crate::command;

const BRIDGE: &str = "bridge";

/// Creates namespaces, links, addresses and routes.
pub(super) fn create(layout: &Layout, nodes: &[Node]) -> Result<()> {
    let control = layout.control_network();
    ip(&["netns", "add", &control])?;
    ip(&["-n", &control, "link", "set", "lo", "up"])?;
    ip(&["-n", &control, "link", "add", BRIDGE, "type", "bridge"])?;
    ip(&["-n", &control, "address", "add", &format!("{CONTROL_ADDRESS}/24"), "dev", BRIDGE])?;
    ip(&["-n", &control, "link", "set", BRIDGE, "up"])?;
    forward_packets(&control)?;
    // Leads nowhere: it lets a client's packet to a Service pass the route lookup, after which kube-proxy's rules give it
    // the address of a pod. On the nodes the default route does as much.
    ip(&["-n", &control, "route", "add", SERVICE_RANGE, "dev", BRIDGE])?;
    for node in nodes {
        create_node(layout, node).with_context(|| format!("connect {}", node.name()))?;
    }
    for node in nodes {
        ip(&["-n", &control, "route", "add", &node.pod_range(), "via", &node.address()])?;
        for other in nodes.iter().filter(|other| other.name() != node.name()) {
            ip(&["-n", &node.global_name(), "route", "add", &other.pod_range(), "via", &other.address()])?;
        }
    }
    Ok(())
}

fn create_node(layout: &Layout, node: &Node) -> Result<()> {
    let (control, network) = (layout.control_network(), node.global_name());
    ip(&["netns", "add", &network])?;
    ip(&["-n", &network, "link", "set", "lo", "up"])?;
    // Both ends are made where they belong: nothing appears in the machine's own network, not even for a moment.
    ip(&[
        "link",
        "add",
        "name",
        &node.name(),
        "netns",
        &control,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        &network,
    ])?;
    ip(&["-n", &control, "link", "set", &node.name(), "master", BRIDGE, "up"])?;
    ip(&["-n", &network, "address", "add", &format!("{}/24", node.address()), "dev", "eth0"])?;
    ip(&["-n", &network, "link", "set", "eth0", "up"])?;
    ip(&["-n", &network, "route", "add", "default", "via", CONTROL_ADDRESS])?;
    forward_packets(&network)
}

/// Connects a node to the bridge, or cuts it off.
pub(super) fn set_link(layout: &Layout, node: &str, up: bool) -> Result<()> {
    ip(&["-n", &layout.control_network(), "link", "set", node, if up { "up" } else { "down" }])
}

/// A port of the host on which nobody listens now.
pub(super) fn free_host_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}

fn forward_packets(network: &str) -> Result<()> {
    let setting = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    command::output(
        Command::new("nsenter").arg(format!("--net=/run/netns/{network}")).args(["sh", "-c", setting]),
    )?;
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    command::output(Command::new("ip").args(arguments).env("PATH", command::search_path())).map(drop)
}
