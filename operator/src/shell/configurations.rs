//! Deletes configurations that no pod can need any more. Each is named by its content, so every change makes another; the
//! old ones are what old pods restart with.
//!
//! One stays while it is mentioned by a StatefulSet, by any revision of one that Kubernetes still keeps, or by a pod. And
//! nothing is deleted before Kubernetes has seen the newest StatefulSets: until then it may make pods, and the revision
//! they are made from, of a template that is recorded nowhere else.

use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use tracing::info;

use super::Context;
use crate::{
    names,
    plan::{Identity, Plan, configuration},
};

/// Deletes the cluster's configurations that nothing mentions.
///
/// # Errors
/// When something could not be read or deleted. Nothing suffers from that but the room that is taken.
pub async fn clear_up(context: &Context, plan: &Plan) -> Result<(), kube::Error> {
    let (client, identity) = (&context.client, &plan.identity);
    // Before everything that may mention them: what is made meanwhile is not among them.
    let found = owned(client, identity).await?;
    if found.len() <= plan.groups as usize {
        return Ok(());
    }
    let Some(users) = users(client, plan).await? else { return Ok(()) };
    let config_maps = api(client, identity, ("", "v1", "ConfigMap", "configmaps"));
    for config_map in found {
        let name = config_map.name_any();
        if users.iter().any(|user| configuration::mentions(&user.data, &name)) {
            continue;
        }
        if !context.tenure.holds() {
            return Ok(());
        }
        let unchanged =
            Preconditions { uid: config_map.uid(), resource_version: config_map.resource_version() };
        match config_maps.delete(&name, &DeleteParams::default().preconditions(unchanged)).await {
            Ok(_) => info!(name, "deleted a configuration that no broker needs any more"),
            // Somebody else has deleted or changed it: the next look tells which.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The configurations of the cluster's groups, the newest included.
async fn owned(client: &Client, identity: &Identity) -> Result<Vec<DynamicObject>, kube::Error> {
    let api = api(client, identity, ("", "v1", "ConfigMap", "configmaps"));
    let mut found = list(&api, identity).await?;
    found.retain(|object| {
        let owner = object.owner_references().iter().any(|owner| owner.uid == identity.uid);
        let group = object.labels().get(names::GROUP_LABEL).map(String::as_str);
        owner && configuration::is_of(&identity.name, &object.name_any(), group)
    });
    Ok(found)
}

/// Everything that a configuration may be needed by; absent while Kubernetes has not seen the newest StatefulSets.
async fn users(client: &Client, plan: &Plan) -> Result<Option<Vec<DynamicObject>>, kube::Error> {
    let identity = &plan.identity;
    let mut users = Vec::new();
    let sets = api(client, identity, ("apps", "v1", "StatefulSet", "statefulsets"));
    for group in 0..plan.groups {
        let set = sets.get(&names::group(&identity.name, group)).await?;
        let seen = set.data["status"]["observedGeneration"].as_i64();
        if seen.is_none() || seen != set.metadata.generation {
            return Ok(None);
        }
        users.push(set);
    }
    let others = [
        ("apps", "v1", "ControllerRevision", "controllerrevisions"),
        // Last: a pod that is made from now on is made from the newest template.
        ("", "v1", "Pod", "pods"),
    ];
    for kind in others {
        users.extend(list(&api(client, identity, kind), identity).await?);
    }
    Ok(Some(users))
}

fn api(client: &Client, identity: &Identity, kind: (&str, &str, &str, &str)) -> Api<DynamicObject> {
    let (group, version, name, plural) = kind;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, name), plural);
    Api::namespaced_with(client.clone(), &identity.namespace, &resource)
}

/// Everything of the cluster, read from the API server's store and not from a cache.
async fn list(api: &Api<DynamicObject>, identity: &Identity) -> Result<Vec<DynamicObject>, kube::Error> {
    let selector = names::cluster_selector(&identity.name);
    Ok(api.list(&ListParams::default().labels(&selector)).await?.items)
}
