//! The broker's configuration file, one for each group. Every key in it is one that a broker knows; it refuses others.

use serde::Serialize;

use mainstay_crds::cluster::{FlushType, Mode};

use super::{Plan, duration, secrets, settings::Setting};
use crate::names;

/// Where the file and the secret are mounted.
pub const FOLDER: &str = "/etc/mainstay";
/// Where the certificate for clients is mounted.
pub const TLS_FOLDER: &str = "/etc/mainstay-tls";
/// Where the administrator's credentials are mounted.
pub const ADMINISTRATOR_FOLDER: &str = "/etc/mainstay-administrator";
/// Where the data volume is mounted.
pub const DATA_FOLDER: &str = "/var/lib/mainstay";

#[derive(Serialize)]
struct File {
    cluster: String,
    group: u32,
    data: &'static str,
    listen: Listen,
    internal: Internal,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<Auth>,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Listen {
    client: String,
    internal: String,
    http: String,
}

#[derive(Serialize)]
struct Internal {
    secret_file: String,
}

#[derive(Serialize)]
struct Tls {
    cert_file: String,
    key_file: String,
}

#[derive(Serialize)]
struct Auth {
    enabled: bool,
    admin_file: String,
    admin_secret_file: String,
}

#[derive(Serialize)]
struct Group {
    id: u32,
    address: String,
    members: Vec<Member>,
}

#[derive(Serialize)]
struct Member {
    name: String,
    address: String,
}

/// The file for the brokers of `group`. `domain` is the DNS domain of the Kubernetes cluster.
///
/// # Errors
/// When it cannot be written as TOML, which a test rules out.
pub fn render(plan: &Plan, group: u32, domain: &str) -> Result<String, toml::ser::Error> {
    let any = |port: u16| format!("0.0.0.0:{port}");
    let file = File {
        cluster: plan.identity.name.clone(),
        group,
        data: DATA_FOLDER,
        listen: Listen {
            client: any(names::CLIENT_PORT),
            internal: any(names::INTERNAL_PORT),
            http: any(names::HTTP_PORT),
        },
        internal: Internal { secret_file: format!("{FOLDER}/secret/{}", names::TOKEN_KEY) },
        tls: plan.spec.tls.as_ref().map(|_| Tls {
            cert_file: format!("{TLS_FOLDER}/{}", secrets::CERTIFICATE),
            key_file: format!("{TLS_FOLDER}/{}", secrets::KEY),
        }),
        auth: plan.administrator_secret().map(|_| Auth {
            enabled: true,
            admin_file: format!("{ADMINISTRATOR_FOLDER}/{}", secrets::USERNAME),
            admin_secret_file: format!("{ADMINISTRATOR_FOLDER}/{}", secrets::PASSWORD),
        }),
        groups: (0..plan.groups).map(|id| broker_group(plan, id, domain)).collect(),
    };
    let mut table = toml::Table::try_from(file)?;
    set(&mut table, "replication.mode", mode(plan.mode).into());
    set(&mut table, "replication.ack_timeout", duration::render(plan.ack_timeout).into());
    if let Some(min) = plan.min_in_sync {
        set(&mut table, "replication.min_in_sync", i64::from(min).into());
    }
    set(&mut table, "flush.type", flush(plan.spec.flush.type_).into());
    set(&mut table, "flush.timeout", duration::render(plan.flush_timeout).into());
    set(&mut table, "flush.interval", duration::render(plan.flush_interval).into());
    if let Some(time) = plan.retention.time {
        set(&mut table, "storage.retention.time", duration::render(time).into());
    }
    if let Some(size) = plan.retention.size {
        set(&mut table, "storage.retention.size", size.render().into());
    }
    for (key, setting) in &plan.settings {
        let value = match setting {
            Setting::Flag(flag) => (*flag).into(),
            Setting::Number(number) => i64::from(*number).into(),
            Setting::Text(text) => text.clone().into(),
        };
        set(&mut table, key, value);
    }
    let text = toml::to_string(&table)?;
    Ok(format!("# Written by mainstay-operator; change the BrokerCluster instead.\n{text}"))
}

fn set(table: &mut toml::Table, key: &str, value: toml::Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, key)) => {
            let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(section) = section {
                set(section, key, value);
            }
        }
    }
}

fn broker_group(plan: &Plan, id: u32, domain: &str) -> Group {
    let (cluster, namespace) = (&plan.identity.name, &plan.identity.namespace);
    let peers = names::peers(cluster);
    let member = |ordinal| {
        let name = names::pod(cluster, id, ordinal);
        let address = format!("{name}.{peers}.{namespace}.svc.{domain}:{}", names::INTERNAL_PORT);
        Member { name, address }
    };
    // A single broker comes back under another address, which clients would look up too late; the virtual one stays.
    let service = if plan.replicas > 1 { names::brokers(cluster, id) } else { names::group(cluster, id) };
    Group {
        id,
        address: format!("{service}.{namespace}.svc.{domain}:{}", names::CLIENT_PORT),
        members: (0..plan.replicas).map(member).collect(),
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::None => "none",
        Mode::Async => "async",
        Mode::Sync => "sync",
        Mode::Raft => "raft",
    }
}

fn flush(flush: FlushType) -> &'static str {
    match flush {
        FlushType::Sync => "sync",
        FlushType::Async => "async",
    }
}
