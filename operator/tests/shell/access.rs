//! Secrets: made once, never overwritten, waited for, and never told; and when a change of access is over.

use std::{
    io,
    sync::{Arc, Mutex},
};

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::support::{api::FakeApi, broker::FakeGroup, eventually};
use crate::world::*;

const ADMINISTRATOR: &str = "/api/v1/namespaces/default/secrets/orders-admin";
const NAMED: &str = "/api/v1/namespaces/default/secrets/root";

fn spec(auth: Value) -> Value {
    json!({ "replicas": 3, "replication": { "mode": "Sync" }, "auth": auth })
}

fn base64(text: &str) -> Value {
    serde_json::to_value(ByteString(text.as_bytes().to_vec())).expect("is JSON")
}

/// Text of an entry of a Secret.
fn entry(secret: &Value, key: &str) -> String {
    let value: ByteString = serde_json::from_value(secret["data"][key].clone()).expect("is base64");
    String::from_utf8(value.0).expect("is text")
}

/// A Secret as people make it.
fn put_named(api: &FakeApi, name: &str, password: &str) {
    let path = format!("/api/v1/namespaces/default/secrets/{name}");
    api.put(
        &path,
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": "default" },
            "type": "kubernetes.io/basic-auth",
            "data": { "username": base64("root"), "password": base64(password) },
        }),
    );
}

/// Waits until the newest spec is said not to be in force, for this reason.
async fn refused(api: &FakeApi, reason: &str, telling: &str) -> String {
    let (_, _, message) = eventually(&format!("a refusal that says {telling}"), || {
        let object = api.get(CLUSTER)?;
        let seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        condition(&object, "Ready")
            .filter(|(_, found, message)| seen && found == reason && message.contains(telling))
    })
    .await;
    message
}

/// What the operator logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn capture() -> Self {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_global_default(subscriber).expect("no other test captures");
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("lock")).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_is_made_once_and_its_secret_is_told_nowhere() {
    let log = Log::capture();
    let api = FakeApi::new();
    let brokers = FakeGroup::start("orders-0", 3, 2, "secret").await;
    put_secret(&api);
    api.put(CLUSTER, cluster(spec(json!({ "enabled": true }))));
    let running = Running::start(&api, brokers.port);

    let secret = eventually("the administrator's secret", || api.get(ADMINISTRATOR)).await;
    let owner = &secret["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["uid"], &owner["controller"]), (&json!("cluster-uid"), &json!(true)));
    assert_eq!(secret["type"], "kubernetes.io/basic-auth");
    assert_eq!(entry(&secret, "username"), "admin");
    let password = entry(&secret, "password");
    assert_eq!(password.len(), 64);
    let set = eventually("the brokers", || api.get(SET)).await;
    let volumes = set["spec"]["template"]["spec"]["volumes"].as_array().cloned().expect("a list");
    assert!(volumes.iter().any(|volume| volume["secret"]["secretName"] == "orders-admin"), "{volumes:?}");
    eventually("the secret's name in the status", || {
        api.get(CLUSTER).filter(|object| object["status"]["administratorSecret"] == "orders-admin")
    })
    .await;
    let objects = api.objects();
    let told = objects.iter().find(|(_, object)| object["reason"] == "AdministratorCreated");
    let (_, event) = told.expect("an event");
    assert!(event["note"].as_str().is_some_and(|note| note.contains("orders-admin")), "{event}");

    for (path, object) in api.objects().into_iter().filter(|(path, _)| path != ADMINISTRATOR) {
        let text = object.to_string();
        assert!(
            !text.contains(&password) && !text.contains(base64(&password).as_str().expect("text")),
            "{path}"
        );
    }
    assert!(log.text().contains("orders-admin") && !log.text().contains(&password));

    // What people write into it stays, and restarts nobody.
    let mut changed = secret.clone();
    changed["data"]["password"] = base64("chosen-by-people");
    api.put(ADMINISTRATOR, changed);
    change(&api, spec(json!({ "enabled": true })), 2);
    applied(&api, 2).await;
    let kept = api.get(ADMINISTRATOR).expect("there");
    assert_eq!(entry(&kept, "password"), "chosen-by-people");
    assert_eq!(api.get(SET).expect("there")["spec"]["template"], set["spec"]["template"]);

    // Deleted, it is made anew.
    api.remove(ADMINISTRATOR);
    change(&api, spec(json!({ "enabled": true })), 3);
    applied(&api, 3).await;
    let anew = entry(&api.get(ADMINISTRATOR).expect("made again"), "password");
    assert!(anew.len() == 64 && anew != password);

    // Switched off, it stays for the next time.
    change(&api, spec(json!({ "enabled": false })), 4);
    applied(&api, 4).await;
    assert_eq!(entry(&api.get(ADMINISTRATOR).expect("there"), "password"), anew);
    let object = eventually("a status without it", || {
        api.get(CLUSTER).filter(|object| object["status"]["administratorSecret"].is_null())
    });
    object.await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_secret_is_waited_for_and_brokers_run_on_when_it_breaks() {
    let api = FakeApi::new();
    let brokers = FakeGroup::start("orders-0", 3, 2, "secret").await;
    put_secret(&api);
    let named = spec(json!({ "enabled": true, "administrator": { "secretName": "root" } }));
    api.put(CLUSTER, cluster(named.clone()));
    let running = Running::start(&api, brokers.port);

    let message = refused(&api, "SecretUnusable", "does not exist").await;
    assert!(message.starts_with("spec.auth.administrator.secretName: Secret root"), "{message}");
    put_named(&api, "root", "guessed");
    let message = refused(&api, "SecretUnusable", "password must be").await;
    assert!(!message.contains("guessed"), "{message}");
    assert!(api.get(SET).is_none() && api.get(ADMINISTRATOR).is_none(), "nothing is made before");

    put_named(&api, "root", "long-enough");
    let set = eventually("the brokers", || api.get(SET)).await;
    assert!(set.to_string().contains(r#""secretName":"root""#), "{set}");
    assert!(api.get(ADMINISTRATOR).is_none());

    api.remove(NAMED);
    let mut other = named.clone();
    other["flush"] = json!({ "type": "Async" });
    change(&api, other, 2);
    refused(&api, "SecretUnusable", "does not exist").await;
    assert_eq!(api.get(SET), Some(set), "brokers are left alone");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_somebody_else_are_not_taken_for_the_administrators() {
    let api = FakeApi::new();
    put_secret(&api);
    put_named(&api, "orders-admin", "long-enough");
    let before = api.get(ADMINISTRATOR);
    api.put(CLUSTER, cluster(spec(json!({ "enabled": true }))));
    let running = Running::start(&api, 1);
    refused(&api, "NameTaken", "Secret orders-admin exists already").await;
    assert_eq!(api.get(ADMINISTRATOR), before);
    // Naming it makes it the administrator's.
    change(&api, spec(json!({ "enabled": true, "administrator": { "secretName": "orders-admin" } })), 2);
    eventually("the brokers", || api.get(SET)).await;
    assert_eq!(api.get(ADMINISTRATOR), before);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_cannot_be_used_reaches_no_broker() {
    let api = FakeApi::new();
    put_secret(&api);
    let mut tls = sync_spec();
    tls["tls"] = json!({ "secretName": "cert" });
    api.put(CLUSTER, cluster(tls));
    let running = Running::start(&api, 1);
    let message = refused(&api, "SecretUnusable", "does not exist").await;
    assert!(message.starts_with("spec.tls.secretName: Secret cert"), "{message}");
    let [one, two] =
        [(), ()].map(|()| rcgen::generate_simple_self_signed(vec!["orders".to_owned()]).expect("made"));
    let put = |certificate: &str, key: &str| {
        api.put("/api/v1/namespaces/default/secrets/cert", json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cert", "namespace": "default" },
            "type": "kubernetes.io/tls", "data": { "tls.crt": base64(certificate), "tls.key": base64(key) },
        }));
    };
    put(&one.cert.pem(), &two.signing_key.serialize_pem());
    refused(&api, "SecretUnusable", "cannot be used together").await;
    assert!(api.get(SET).is_none());
    put(&one.cert.pem(), &one.signing_key.serialize_pem());
    eventually("the brokers", || api.get(SET)).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_not_ready_before_every_broker_has_what_was_asked_for() {
    let (api, brokers) = replicas_with_pods(2).await;
    api.put(CLUSTER, cluster(sync_spec()));
    let running = Running::start(&api, brokers.port);
    let ready = |reason: &'static str| {
        let api = api.clone();
        eventually(reason, move || {
            let object = api.get(CLUSTER)?;
            let seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            condition(&object, "Ready").filter(|(_, found, _)| seen && found == reason)
        })
    };
    ready("AsExpected").await;

    // From the first status of the new spec on.
    let mut object = api.get(CLUSTER).expect("there");
    object["spec"] = spec(json!({ "enabled": true }));
    api.put(CLUSTER, object);
    let first = eventually("the status of the new spec", || {
        let object = api.get(CLUSTER)?;
        let seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        condition(&object, "Ready").filter(|_| seen)
    });
    let (status, reason, _) = first.await;
    assert_eq!((status.as_str(), reason.as_str()), ("False", "RollingOut"));
    // The operator deletes old pods, and Kubernetes makes new ones.
    eventually("new pods alone", || {
        let old = |ordinal: &usize| {
            let pod = api.get(&pod_path(&brokers.pod(*ordinal)));
            pod.is_none_or(|pod| pod["metadata"]["labels"]["controller-revision-hash"] != "revision-2")
        };
        let old: Vec<usize> = (0..3).filter(old).collect();
        old.iter().for_each(|ordinal| put_pod_of(&api, &brokers, *ordinal, "revision-2"));
        let ready = condition(&api.get(CLUSTER)?, "Ready")?;
        (old.is_empty() && ready.1 == "AsExpected").then_some(())
    })
    .await;
    assert_eq!(brokers.orders().len(), 1, "no election was called for it");
    running.end().await;
}
