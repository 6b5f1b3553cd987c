//! Events for people, in `events.k8s.io`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tracing::{info, warn};

/// Longest note that the API takes.
const LONGEST_NOTE: usize = 1000;

/// Writes one event about `regarding`. Failure to do so is logged and otherwise of no consequence.
///
/// Each event gets a recorder of its own: a shared one would fold a second failover into the first one's note.
pub async fn tell(
    client: &Client,
    identity: &str,
    regarding: &ObjectReference,
    warning: bool,
    reason: &str,
    note: &str,
) {
    info!(object = regarding.name, reason, "{note}");
    let reporter =
        Reporter { controller: crate::names::FIELD_MANAGER.to_owned(), instance: Some(identity.to_owned()) };
    let event = Event {
        type_: if warning { EventType::Warning } else { EventType::Normal },
        reason: reason.to_owned(),
        note: Some(note.chars().take(LONGEST_NOTE).collect()),
        action: reason.to_owned(),
        secondary: None,
    };
    let recorder = Recorder::new(client.clone(), reporter);
    if let Err(error) = recorder.publish(&event, regarding).await {
        warn!(%error, reason, "the event could not be written");
    }
}
