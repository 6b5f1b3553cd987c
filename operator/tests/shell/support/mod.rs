//! Stand-ins for the two worlds the shell talks to.

#![allow(dead_code, unreachable_pub)]

pub mod api;
pub mod broker;
mod rights;

use std::{sync::Arc, time::Duration};

use mainstay_operator::shell::{Clock, Context, Settings, leadership::Tenure, metrics::Metrics};

/// A context whose tenure never ends.
pub fn context(client: kube::Client, control_port: u16) -> Context {
    let clock = Clock::start();
    let tenure = Tenure::new(clock);
    tenure.forever();
    let settings = Settings {
        broker_image: "mainstay-broker:test".to_owned(),
        domain: "cluster.local".to_owned(),
        identity: "test".to_owned(),
        control_port,
    };
    Context { client, tenure, metrics: Arc::new(Metrics::default()), settings: Arc::new(settings), clock }
}

/// Waits for a state, not for a time: fails when it does not come about in 20 seconds.
#[track_caller]
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
    let what = what.to_owned();
    async move {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = check() {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "{what} did not come about");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
