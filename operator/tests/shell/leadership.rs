//! One of several operators acts.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use mainstay_operator::{
    candidacy::Timing,
    shell::{
        Clock,
        leadership::{Leadership, Tenure},
    },
};

use crate::support::api::FakeApi;

fn contender(api: &FakeApi, identity: &str) -> (Leadership, Tenure) {
    let tenure = Tenure::new(Clock::start());
    let timing = Timing {
        duration: Duration::from_secs(2),
        renew_within: Duration::from_millis(1200),
        retry: Duration::from_millis(100),
    };
    let leases: Api<Lease> = Api::namespaced(api.client(), "default");
    (Leadership::new(leases, "mainstay".to_owned(), identity.to_owned(), timing, tenure.clone()), tenure)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_operator_is_active_and_the_other_takes_over() {
    let api = FakeApi::new();
    let (mut first, first_tenure) = contender(&api, "first");
    let (mut second, second_tenure) = contender(&api, "second");
    first.acquire().await;
    assert!(first_tenure.holds());
    let keeping = tokio::spawn(async move {
        tokio::select! {
            () = first.keep() => panic!("lost without a reason"),
            () = tokio::time::sleep(Duration::from_secs(3)) => {}
        }
        first
    });
    let acquired = tokio::time::timeout(Duration::from_millis(2800), second.acquire()).await;
    assert!(acquired.is_err(), "a lease that is renewed is not taken");
    let mut first = keeping.await.expect("no panic");
    let released = Instant::now();
    first.release().await;
    assert!(!first_tenure.holds());
    tokio::time::timeout(Duration::from_secs(1), second.acquire())
        .await
        .expect("a released lease is taken at once");
    assert!(released.elapsed() < Duration::from_secs(1));

    // The second stops renewing: the first gets it back, and not before the second has stopped acting.
    tokio::time::timeout(Duration::from_secs(5), first.acquire())
        .await
        .expect("a lease that lapsed is taken");
    assert!(first_tenure.holds() && !second_tenure.holds());
    tokio::time::timeout(Duration::from_secs(3), second.keep()).await.expect("the loser notices");
}
