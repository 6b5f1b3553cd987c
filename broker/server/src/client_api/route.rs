//! Routes and assignments: which queues a topic has, and at which address each is served.
//!
//! What clients insist on always holds: broker id 0 only, exactly one address, scheme set, READ_WRITE, types set.

use std::net::{Ipv4Addr, Ipv6Addr};

use mainstay_messaging::{Topic, queue_share};
use mainstay_proto::rocketmq::{
    Address, AddressScheme, Assignment, Broker, Endpoints, MessageQueue, Permission, Resource,
};
use mainstay_record::GroupId;

use super::kind::accepted_types;
use crate::config::Config;

/// Stands for any queue of the broker named.
const ANY_QUEUE: i32 = -1;
/// Clients take the broker of this id for the leader.
const LEADER: i32 = 0;

/// Every queue of `topic`. `reached` is the address by which the client reached this broker.
pub(crate) fn queues(
    config: &Config,
    topic: &Topic,
    name: &Resource,
    reached: Option<&Endpoints>,
) -> Vec<MessageQueue> {
    brokers(config, topic, reached)
        .flat_map(|(broker, share)| (0..share as i32).map(move |id| queue(topic, name, broker.clone(), id)))
        .collect()
}

/// One assignment for each broker group that has queues of `topic`: every consumer takes from all of its queues.
pub(crate) fn assignments(
    config: &Config,
    topic: &Topic,
    name: &Resource,
    reached: Option<&Endpoints>,
) -> Vec<Assignment> {
    brokers(config, topic, reached)
        .map(|(broker, _)| Assignment { message_queue: Some(queue(topic, name, broker, ANY_QUEUE)) })
        .collect()
}

/// What routes call a broker group.
pub(crate) fn broker_name(config: &Config, group: GroupId) -> String {
    format!("{}-{}", config.cluster, group.0)
}

/// The broker group that goes by this broker name.
pub(crate) fn group_of_broker(config: &Config, name: &str) -> Option<GroupId> {
    let number = name.strip_prefix(config.cluster.as_str())?.strip_prefix('-')?;
    config.broker_group(GroupId(number.parse().ok()?)).map(|group| group.id)
}

fn brokers(
    config: &Config,
    topic: &Topic,
    reached: Option<&Endpoints>,
) -> impl Iterator<Item = (Broker, u32)> {
    let groups = config.groups.len() as u32;
    config.groups.iter().filter_map(move |group| {
        let share = queue_share(topic.queues, group.id, groups);
        let broker = || Broker {
            name: broker_name(config, group.id),
            id: LEADER,
            endpoints: Some(address(config, &group.address, reached)),
        };
        (share > 0).then(|| (broker(), share))
    })
}

fn queue(topic: &Topic, name: &Resource, broker: Broker, id: i32) -> MessageQueue {
    MessageQueue {
        topic: Some(name.clone()),
        id,
        permission: Permission::ReadWrite as i32,
        broker: Some(broker),
        accept_message_types: accepted_types(topic.kind).iter().map(|kind| *kind as i32).collect(),
    }
}

/// A broker by itself is where the client reached it, whatever lies between; in a cluster the configuration says.
fn address(config: &Config, configured: &str, reached: Option<&Endpoints>) -> Endpoints {
    let alone = config.groups.len() == 1 && config.groups[0].members.len() == 1;
    match reached.map(|endpoints| endpoints.addresses.as_slice()) {
        Some([Address { host, port }]) if alone && !host.is_empty() && (1..=65535).contains(port) => {
            endpoints(host, *port)
        }
        _ => {
            let (host, port) = configured.rsplit_once(':').unwrap_or((configured, ""));
            endpoints(host, port.parse().unwrap_or(8081))
        }
    }
}

fn endpoints(host: &str, port: i32) -> Endpoints {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let scheme = if bare.parse::<Ipv4Addr>().is_ok() {
        AddressScheme::IPv4
    } else if bare.parse::<Ipv6Addr>().is_ok() {
        AddressScheme::IPv6
    } else {
        AddressScheme::DomainName
    };
    Endpoints { scheme: scheme as i32, addresses: vec![Address { host: bare.to_owned(), port }] }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::PathBuf;

    use mainstay_messaging::{QueueCount, Revision, TopicKind, TopicName};
    use mainstay_proto::rocketmq::MessageType;

    use super::*;
    use crate::config::{BrokerGroup, Listen, Member};

    fn alone() -> Config {
        let local: SocketAddr = "127.0.0.1:8081".parse().unwrap();
        Config::single(PathBuf::from("/nowhere"), Listen { client: local, internal: local, http: local })
    }

    fn cluster(groups: u32) -> Config {
        let group = |id| BrokerGroup {
            id: GroupId(id),
            address: format!("orders-{id}.ns.svc:8081"),
            members: (0..3)
                .map(|m| Member { name: format!("orders-{id}-{m}"), address: "h:8082".into() })
                .collect(),
        };
        Config { cluster: "orders".to_owned(), groups: (0..groups).map(group).collect(), ..alone() }
    }

    fn topic(queues: u32, kind: TopicKind) -> Topic {
        Topic {
            name: TopicName::new("t").unwrap(),
            kind,
            queues: QueueCount::new(queues).unwrap(),
            revision: Revision(1),
        }
    }

    fn name() -> Resource {
        Resource { resource_namespace: "ns".to_owned(), name: "t".to_owned() }
    }

    #[test]
    fn queue_ids_are_local_to_each_broker_and_groups_without_queues_are_left_out() {
        let found = queues(&cluster(3), &topic(5, TopicKind::Normal), &name(), None);
        let ids: Vec<_> =
            found.iter().map(|queue| (queue.broker.as_ref().unwrap().name.clone(), queue.id)).collect();
        let expected: Vec<_> =
            [("orders-0", 0), ("orders-0", 1), ("orders-1", 0), ("orders-1", 1), ("orders-2", 0)]
                .map(|(broker, id)| (broker.to_owned(), id))
                .to_vec();
        assert_eq!(ids, expected);
        assert_eq!(queues(&cluster(3), &topic(2, TopicKind::Normal), &name(), None).len(), 2);
        for queue in found {
            let broker = queue.broker.unwrap();
            assert_eq!(broker.id, 0);
            let endpoints = broker.endpoints.unwrap();
            assert_eq!(endpoints.scheme(), AddressScheme::DomainName);
            assert_eq!(endpoints.addresses.len(), 1);
            assert_eq!(endpoints.addresses[0].host, format!("{}.ns.svc", broker.name));
            assert_eq!(queue.permission, Permission::ReadWrite as i32);
            assert_eq!(queue.accept_message_types, vec![MessageType::Normal as i32]);
            assert_eq!(queue.topic, Some(name()));
        }
    }

    #[test]
    fn assignments_name_each_broker_once_for_any_queue() {
        let found = assignments(&cluster(2), &topic(8, TopicKind::Mixed), &name(), None);
        let queues: Vec<_> = found.into_iter().map(|assignment| assignment.message_queue.unwrap()).collect();
        assert_eq!(queues.iter().map(|queue| queue.id).collect::<Vec<_>>(), vec![-1, -1]);
        assert!(queues.iter().all(|queue| queue.accept_message_types == vec![1, 2, 3, 4]));
    }

    #[test]
    fn a_broker_alone_echoes_the_address_that_reached_it() {
        let reached = endpoints("forwarded.example", 30081);
        let address = |config: &Config, reached: Option<&Endpoints>| {
            let queues = queues(config, &topic(1, TopicKind::Normal), &name(), reached);
            queues[0].broker.clone().unwrap().endpoints.unwrap()
        };
        assert_eq!(address(&alone(), Some(&reached)), reached);
        assert_eq!(address(&alone(), None), endpoints("127.0.0.1", 8081));
        assert_eq!(address(&alone(), None).scheme(), AddressScheme::IPv4);
        let unset = Endpoints { scheme: 0, ..endpoints("10.0.0.1", 81) };
        assert_eq!(address(&alone(), Some(&unset)).scheme(), AddressScheme::IPv4);
        let mut two = reached.clone();
        two.addresses.push(Address { host: "b".to_owned(), port: 2 });
        assert_eq!(address(&alone(), Some(&two)), endpoints("127.0.0.1", 8081));
        assert_eq!(address(&cluster(1), Some(&reached)), endpoints("orders-0.ns.svc", 8081));
        assert_eq!(endpoints("[::1]", 8081).scheme(), AddressScheme::IPv6);
        assert_eq!(endpoints("[::1]", 8081).addresses[0].host, "::1");
    }

    #[test]
    fn broker_names_lead_back_to_their_group() {
        let config = cluster(2);
        assert_eq!(group_of_broker(&config, "orders-1"), Some(GroupId(1)));
        for unknown in ["orders-2", "orders-", "orders", "other-1", "orders-1x", ""] {
            assert_eq!(group_of_broker(&config, unknown), None, "{unknown}");
        }
    }
}
