//! The Secrets of a cluster: those that people named are looked at, those that are the operator's own are made when they
//! are not there. None is ever overwritten, and nothing that is in one is logged.

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use rand::RngCore;
use serde_json::json;
use tracing::info;

use super::apply::{ApplyError, ours};
use crate::{
    names,
    plan::{
        Plan, objects,
        secrets::{self, AdministratorSecret, Data, Purpose},
    },
};

/// Looks for every Secret that the spec names, and makes those of the operator that are not there. Gives back the name of
/// the administrator's when it was made just now.
///
/// # Errors
/// The first Secret that is missing, cannot be used, or belongs to somebody else.
pub async fn provide(client: &Client, plan: &Plan) -> Result<Option<String>, ApplyError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &plan.identity.namespace);
    if let Some(tls) = &plan.spec.tls {
        named(&api, Purpose::Certificate, "spec.tls.secretName", &tls.secret_name).await?;
    }
    let administrator = plan.administrator_secret();
    if let Some(AdministratorSecret::Named(name)) = &administrator {
        named(&api, Purpose::Administrator, "spec.auth.administrator.secretName", name).await?;
    }
    let token = || Data::from([(names::TOKEN_KEY.to_owned(), ByteString(random().into_bytes()))]);
    own(&api, plan, &names::secret(&plan.identity.name), "Opaque", token).await?;
    let Some(AdministratorSecret::Made(name)) = administrator else { return Ok(None) };
    match own(&api, plan, &name, "kubernetes.io/basic-auth", credentials).await? {
        Some(found) => {
            let data = found.data.unwrap_or_default();
            secrets::check(Purpose::Administrator, "spec.auth.administrator", &name, &data)?;
            Ok(None)
        }
        None => Ok(Some(name)),
    }
}

/// A Secret that people made.
async fn named(api: &Api<Secret>, purpose: Purpose, field: &str, name: &str) -> Result<(), ApplyError> {
    let found = api.get_opt(name).await.map_err(|error| failed(name, error))?;
    let found = found.ok_or_else(|| secrets::missing(field, name))?;
    Ok(secrets::check(purpose, field, name, &found.data.unwrap_or_default())?)
}

/// A Secret of the operator's own: found as it is, or made with this content.
async fn own(
    api: &Api<Secret>,
    plan: &Plan,
    name: &str,
    type_: &str,
    content: impl FnOnce() -> Data,
) -> Result<Option<Secret>, ApplyError> {
    if let Some(found) = api.get_opt(name).await.map_err(|error| failed(name, error))? {
        ours(plan, "Secret", name, &found.metadata)?;
        return Ok(Some(found));
    }
    let mut secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(names::cluster_labels(&plan.identity.name)),
            ..ObjectMeta::default()
        },
        data: Some(content()),
        type_: Some(type_.to_owned()),
        ..Secret::default()
    };
    secret.metadata.owner_references = serde_json::from_value(json!([objects::owner(&plan.identity)])).ok();
    api.create(&PostParams::default(), &secret).await.map_err(|error| failed(name, error))?;
    info!(name, "made the secret");
    Ok(None)
}

fn credentials() -> Data {
    let entry = |key: &str, value: String| (key.to_owned(), ByteString(value.into_bytes()));
    let username = entry(secrets::USERNAME, secrets::MADE_USERNAME.to_owned());
    Data::from([username, entry(secrets::PASSWORD, random())])
}

/// 256 bits, hexadecimal.
fn random() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failed(name: &str, error: kube::Error) -> ApplyError {
    ApplyError::Kube { kind: "Secret", name: name.to_owned(), error: Box::new(error) }
}
