//! Brings a cluster's objects about, by server-side apply with one field manager. An object of that name that belongs to
//! somebody else is never touched.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::json;
use tracing::info;

use crate::{
    names,
    plan::{
        FieldError, Plan,
        configuration::Configuration,
        objects,
        objects::{Kind, Object},
        workload::{self, Existing},
    },
};

/// Why the objects are not there.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{kind} {name} exists already and belongs to {owner}")]
    Taken { kind: &'static str, name: String, owner: String },
    #[error("{kind} {name}: {}", brief(.error))]
    Kube { kind: &'static str, name: String, error: Box<kube::Error> },
    #[error("{0}")]
    Secret(#[from] FieldError),
    #[error("the configuration file cannot be written: {0}")]
    Config(#[from] toml::ser::Error),
}

/// What the API server says, without the dump of its whole answer.
fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Generation of each group's StatefulSet, by the number of the group.
pub type Workloads = BTreeMap<u32, Option<i64>>;

/// Applies everything a cluster consists of, apart from its Secrets.
///
/// # Errors
/// The first object that could not be applied.
pub async fn apply(
    client: &Client,
    plan: &Plan,
    domain: &str,
    default_image: &str,
) -> Result<Workloads, ApplyError> {
    for object in objects::supporting(plan) {
        apply_object(client, plan, &object).await?;
    }
    let mut workloads = Workloads::new();
    for group in 0..plan.groups {
        let api = api(client, plan, Kind::StatefulSet);
        let name = names::group(&plan.identity.name, group);
        let found = api.get_opt(&name).await.map_err(|error| failed(Kind::StatefulSet, &name, error))?;
        let existing = found.map(|set| Existing::of(&set.data)).unwrap_or_default();
        let configuration = Configuration::new(plan, group, domain, &existing)?;
        apply_object(client, plan, &configuration.object(plan, group)).await?;
        let object = workload::stateful_set(plan, group, &configuration, default_image, &existing);
        workloads.insert(group, apply_object(client, plan, &object).await?);
    }
    grow_volumes(client, plan).await?;
    Ok(workloads)
}

fn api(client: &Client, plan: &Plan, kind: Kind) -> Api<DynamicObject> {
    let (group, version, name, plural) = kind.api();
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, name), plural);
    Api::namespaced_with(client.clone(), &plan.identity.namespace, &resource)
}

fn failed(kind: Kind, name: &str, error: kube::Error) -> ApplyError {
    ApplyError::Kube { kind: kind.api().2, name: name.to_owned(), error: Box::new(error) }
}

/// Gives back the object's generation.
async fn apply_object(client: &Client, plan: &Plan, object: &Object) -> Result<Option<i64>, ApplyError> {
    let api = api(client, plan, object.kind);
    let failed = |error| failed(object.kind, &object.name, error);
    let found = api.get_opt(&object.name).await.map_err(failed)?;
    if let Some(found) = &found {
        ours(plan, object.kind.api().2, &object.name, &found.metadata)?;
    }
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    let written = api.patch(&object.name, &params, &Patch::Apply(&object.body)).await.map_err(failed)?;
    let before = found.and_then(|found| found.resource_version());
    if before != written.resource_version() {
        info!(kind = object.kind.api().2, name = object.name, created = before.is_none(), "applied");
    }
    Ok(written.metadata.generation)
}

/// # Errors
/// When the object is not this cluster's.
pub(super) fn ours(
    plan: &Plan,
    kind: &'static str,
    name: &str,
    metadata: &ObjectMeta,
) -> Result<(), ApplyError> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    if owners.iter().any(|owner| owner.uid == plan.identity.uid) {
        return Ok(());
    }
    let owner = owners.iter().find(|owner| owner.controller == Some(true));
    let owner =
        owner.map_or("nobody".to_owned(), |owner| format!("{} {} ({})", owner.kind, owner.name, owner.uid));
    Err(ApplyError::Taken { kind, name: name.to_owned(), owner })
}

/// Asks for more where volumes are smaller than the spec says; the StatefulSet's own template can never change.
async fn grow_volumes(client: &Client, plan: &Plan) -> Result<(), ApplyError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &plan.identity.namespace);
    let failed = |name: &str, error| ApplyError::Kube {
        kind: "PersistentVolumeClaim",
        name: name.to_owned(),
        error: Box::new(error),
    };
    let selector = names::cluster_selector(&plan.identity.name);
    let claims =
        api.list(&ListParams::default().labels(&selector)).await.map_err(|error| failed("*", error))?;
    let wanted = &plan.spec.storage.size;
    for claim in claims {
        let name = claim.name_any();
        let requests = claim.spec.and_then(|spec| spec.resources).and_then(|resources| resources.requests);
        let asked = requests.and_then(|requests| requests.get("storage").cloned());
        let smaller = asked.is_some_and(|asked| match (bytes(&asked.0), bytes(wanted)) {
            (Some(asked), Some(wanted)) => asked < wanted,
            _ => false,
        });
        // A claim that has no volume yet cannot be changed; it is looked at again later.
        let bound = claim.status.and_then(|status| status.phase).as_deref() == Some("Bound");
        if smaller && bound {
            info!(name, size = wanted, "growing the volume");
            let patch = json!({ "spec": { "resources": { "requests": { "storage": wanted } } } });
            let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            patched.map_err(|error| failed(&name, error))?;
        }
    }
    Ok(())
}

/// Bytes of a quantity such as 20Gi; absent for what is not one.
pub fn bytes(quantity: &str) -> Option<u128> {
    let at = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let unit: u128 = match &quantity[at..] {
        "" => 1,
        "k" => 1000,
        "M" => 1000_u128.pow(2),
        "G" => 1000_u128.pow(3),
        "T" => 1000_u128.pow(4),
        "P" => 1000_u128.pow(5),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return None,
    };
    let (whole, fraction) = quantity[..at].split_once('.').unwrap_or((&quantity[..at], ""));
    let whole = whole.parse::<u128>().ok()?.checked_mul(unit)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    whole.checked_add(fraction.parse::<u128>().ok()?.checked_mul(unit)? / scale)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn quantities_are_compared_by_what_they_are() {
        assert_eq!(bytes("1Ki"), Some(1024));
        assert_eq!(bytes("1.5Gi"), Some(3 << 29));
        assert!(bytes("1Gi") > bytes("1G"));
        assert_eq!(bytes("1024Mi"), bytes("1Gi"));
        assert_eq!(bytes("x"), None);
    }
}
