//! An API server in memory: objects with resource versions, compare-and-swap, the status subresource, merge patches and
//! watches. It allows what the chart does. Server-side apply is approximated by a merge. StatefulSets have the revision of
//! their newest spec at once.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::StreamExt;

use super::rights;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

#[derive(Debug, Default)]
struct Store {
    objects: BTreeMap<String, Value>,
    version: u64,
    writes: Vec<(String, String)>,
    interfere: Option<String>,
    asleep: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct FakeApi {
    store: Arc<Mutex<Store>>,
    changes: broadcast::Sender<(String, Value)>,
}

impl FakeApi {
    pub fn new() -> Self {
        Self { store: Arc::default(), changes: broadcast::channel(1024).0 }
    }

    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
                Ok::<_, std::io::Error>(api.answer(&parts.method, &parts.uri, &parts.headers, &body))
            }
        });
        kube::Client::new(service, "default")
    }

    /// The object at a path such as `/api/v1/namespaces/default/pods/a`.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.store.lock().expect("lock").objects.get(path).cloned()
    }

    /// Every object with its path.
    pub fn objects(&self) -> Vec<(String, Value)> {
        self.store.lock().expect("lock").objects.clone().into_iter().collect()
    }

    /// Puts an object there, as somebody else would.
    pub fn put(&self, path: &str, object: Value) {
        let mut store = self.store.lock().expect("lock");
        self.write(&mut store, path, object);
    }

    pub fn remove(&self, path: &str) {
        let mut store = self.store.lock().expect("lock");
        if let Some(object) = store.objects.remove(path) {
            let _ = self.changes.send((path.to_owned(), json!({ "type": "DELETED", "object": object })));
        }
    }

    /// Somebody else changes the object just before the next time it is replaced.
    pub fn interfere(&self, path: &str) {
        self.store.lock().expect("lock").interfere = Some(path.to_owned());
    }

    /// From here on no controller sees what becomes of StatefulSets.
    pub fn controllers_sleep(&self) {
        self.store.lock().expect("lock").asleep = true;
    }

    /// They see it all again.
    pub fn controllers_wake(&self) {
        let mut store = self.store.lock().expect("lock");
        store.asleep = false;
        for (path, set) in store.objects.clone() {
            if path.contains("/statefulsets/") {
                store.objects.insert(path, seen(set));
            }
        }
    }

    /// Method and path of every write since the last call.
    pub fn take_writes(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.store.lock().expect("lock").writes)
    }

    fn write(&self, store: &mut Store, path: &str, mut object: Value) -> Value {
        let before = store.objects.get(path).cloned();
        let unversioned = |value: &Value| {
            let mut value = value.clone();
            value["metadata"]["resourceVersion"] = Value::Null;
            value
        };
        if let Some(before) = before.as_ref().filter(|before| unversioned(before) == unversioned(&object)) {
            return before.clone();
        }
        store.version += 1;
        object["metadata"]["resourceVersion"] = json!(store.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", store.version));
        }
        let generation =
            before.as_ref().map_or(0, |before| before["metadata"]["generation"].as_i64().unwrap_or(1));
        let changed = before.as_ref().is_none_or(|before| before["spec"] != object["spec"]);
        let generation = generation + i64::from(changed);
        object["metadata"]["generation"] = json!(generation);
        if path.contains("/statefulsets/") && !store.asleep {
            object = seen(object);
        }
        store.objects.insert(path.to_owned(), object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let _ = self.changes.send((path.to_owned(), json!({ "type": kind, "object": object })));
        object
    }

    fn answer(&self, method: &Method, uri: &http::Uri, headers: &http::HeaderMap, body: &[u8]) -> Answer {
        let path = uri.path().trim_end_matches('?');
        let query = uri.query().unwrap_or_default();
        if !rights::allow(method, path, query, is_collection(path)) {
            return refuse(StatusCode::FORBIDDEN, "Forbidden");
        }
        let mut store = self.store.lock().expect("lock");
        let (path, status) = match path.strip_suffix("/status") {
            Some(path) => (path, true),
            None => (path, false),
        };
        if *method != Method::GET {
            store.writes.push((method.to_string(), path.to_owned()));
        }
        if *method == Method::PUT && store.interfere.take_if(|at| at == path).is_some() {
            let mut object = store.objects.get(path).cloned().unwrap_or_default();
            object["metadata"]["annotations"]["interfered"] = json!("yes");
            self.write(&mut store, path, object);
        }
        let given: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let found = store.objects.get(path).cloned();
        match *method {
            Method::GET if query.contains("watch=") => self.watch(path),
            Method::GET if is_collection(path) => list(&store, path, query),
            Method::GET => match found {
                Some(object) => ok(&object),
                None => refuse(StatusCode::NOT_FOUND, "NotFound"),
            },
            Method::POST => {
                let name = given["metadata"]["name"].as_str().unwrap_or("unnamed");
                let path = format!("{path}/{name}");
                if store.objects.contains_key(&path) {
                    return refuse(StatusCode::CONFLICT, "AlreadyExists");
                }
                ok(&self.write(&mut store, &path, given))
            }
            Method::PUT => {
                let Some(found) = found else { return refuse(StatusCode::NOT_FOUND, "NotFound") };
                if given["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"] {
                    return refuse(StatusCode::CONFLICT, "Conflict");
                }
                let mut wanted = if status { found } else { given.clone() };
                if status {
                    wanted["status"] = given["status"].clone();
                }
                ok(&self.write(&mut store, path, wanted))
            }
            Method::PATCH => {
                let apply = headers
                    .get("content-type")
                    .is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply"));
                let mut wanted = match (found, apply) {
                    (Some(found), _) => found,
                    (None, true) => json!({}),
                    (None, false) => return refuse(StatusCode::NOT_FOUND, "NotFound"),
                };
                let uid = &given["metadata"]["uid"];
                if !uid.is_null() && *uid != wanted["metadata"]["uid"] {
                    return refuse(StatusCode::CONFLICT, "Conflict");
                }
                merge(&mut wanted, &given);
                ok(&self.write(&mut store, path, wanted))
            }
            Method::DELETE => {
                drop(store);
                self.remove(path);
                ok(&json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            }
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn watch(&self, collection: &str) -> Answer {
        let collection = collection.to_owned();
        let changes = tokio_stream::wrappers::BroadcastStream::new(self.changes.subscribe());
        let frames = changes.filter_map(move |change| {
            let (path, event) = change.ok()?;
            let fits = within(&path, &collection);
            fits.then(|| Ok(Frame::data(Bytes::from(format!("{event}\n")))))
        });
        Response::new(UnsyncBoxBody::new(StreamBody::new(frames)))
    }
}

/// A StatefulSet whose controller has seen it.
fn seen(mut set: Value) -> Value {
    let generation = set["metadata"]["generation"].clone();
    let revision = format!("revision-{generation}");
    set["status"] = json!({ "observedGeneration": generation, "updateRevision": revision });
    set
}

/// Whether the object at `path` is listed under `collection`, which may span all namespaces.
fn within(path: &str, collection: &str) -> bool {
    let (prefix, plural) = collection.rsplit_once('/').unwrap_or_default();
    path.starts_with(prefix) && path.rsplit('/').nth(1) == Some(plural)
}

fn is_collection(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|last| {
        [
            "pods",
            "brokerclusters",
            "brokergroups",
            "persistentvolumeclaims",
            "configmaps",
            "controllerrevisions",
        ]
        .contains(&last)
    })
}

fn list(store: &Store, collection: &str, query: &str) -> Answer {
    let selector = query.split('&').find_map(|part| part.strip_prefix("labelSelector=")).unwrap_or_default();
    let selector = selector.replace("%3D", "=").replace("%2F", "/");
    let wanted = selector.split_once('=');
    let fits = |object: &Value| wanted.is_none_or(|(key, value)| object["metadata"]["labels"][key] == value);
    let items: Vec<&Value> = store
        .objects
        .iter()
        .filter(|(path, object)| within(path, collection) && fits(object))
        .map(|(_, o)| o)
        .collect();
    ok(&json!({
        "kind": "List", "apiVersion": "v1",
        "metadata": { "resourceVersion": store.version.to_string() }, "items": items,
    }))
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn ok(object: &Value) -> Answer {
    respond(StatusCode::OK, object)
}

fn refuse(code: StatusCode, reason: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason,
        "code": code.as_u16(),
    });
    respond(code, &status)
}

fn respond(code: StatusCode, object: &Value) -> Answer {
    let body = http_body_util::Full::new(Bytes::from(object.to_string()));
    let mut response = Response::new(UnsyncBoxBody::new(body));
    *response.status_mut() = code;
    response
}
