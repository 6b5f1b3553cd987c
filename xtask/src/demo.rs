//! `cargo xtask demo`: the whole product at work. Rolls out brokers on a Kubernetes of this machine, sends with an
//! official client, kills the leader in the middle, and proves that nothing acknowledged was lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use mainstay_checker::{Moment, Options, Report};
use mainstay_clusters::Step;
use mainstay_e2e::{Deployment, Traffic, TrafficOptions, World};

use crate::{clients, cluster, e2e, images};

const NAMESPACE: &str = "demo";
const MESSAGES: u64 = 10_000;
const ROLLOUT: Duration = Duration::from_secs(180);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Leave everything running and say how to reach it
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    location: cluster::Location,
}

/// What took how long.
#[derive(Debug)]
struct Times {
    rollout: Duration,
    first_acknowledged: Duration,
    promotion: Duration,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    println!(
        "Mainstay: apply a BrokerCluster, send with an official client, kill the leader, lose nothing.\n"
    );
    let programs = images::build()?;
    clients::install("python")?;
    let world = e2e::world(&arguments.location.run_dir, false, &programs)?;
    let result = show(&world);
    if result.is_err() {
        world.cluster().diagnose(&e2e::results().join("failed-demo"));
    }
    if arguments.keep {
        how_to_reach(&world);
    } else {
        world.cluster().down()?;
    }
    let (report, times) = result?;
    tell(&report, &times, started.elapsed());
    ensure!(report.passed(), "the promise was broken:\n{report}");
    Ok(())
}

fn show(world: &World) -> Result<(Report, Times)> {
    let manifest = std::fs::read_to_string(world.repository().join("examples/raft.yaml"))
        .context("read examples/raft.yaml")?;
    println!("\n$ kubectl apply -f examples/raft.yaml\n{manifest}");
    let step = Step::start("roll out three brokers", "");
    let (deployment, rollout) = Deployment::apply(world, NAMESPACE, &manifest, ROLLOUT)?;
    step.done();
    print!("{}", get(&deployment, "brokergroups")?);

    let options = TrafficOptions { count: MESSAGES, rate: None, in_flight: 16, ..TrafficOptions::default() };
    println!("\n$ mainstay topic create {} --queues 8", options.topic);
    deployment.create_topic(&options.topic, 8)?;

    println!(
        "\nThe official Python client sends {MESSAGES} messages, another receives and acknowledges them."
    );
    let mut traffic = Traffic::start(&deployment, &options)?;
    traffic.wait_acknowledged(MESSAGES * 2 / 5, Duration::from_secs(120))?;
    let old = deployment.leader(0)?;
    println!("{} messages are acknowledged.", traffic.acknowledged()?);
    println!("\nSIGKILL for the leader's program on {}, and its pod is deleted:", old.node);
    println!("$ kubectl delete pod {} --grace-period=0 --force", old.pod);
    let killed = deployment.kill(&old.pod)?;
    let first_acknowledged = traffic.wait_acknowledged_after(killed, Duration::from_secs(60))?;
    println!(
        "The first message sent after the kill was acknowledged {:.2} s after it.",
        first_acknowledged.as_secs_f64()
    );
    let new = deployment.wait_new_leader(0, &old, Duration::from_secs(60))?;
    let promotion = Moment::now().since(killed);
    println!("{} leads now, in epoch {} (before: {} in epoch {}).", new.pod, new.epoch, old.pod, old.epoch);

    let step = Step::start("send the rest, receive everything", "");
    traffic.wait_sent(Duration::from_secs(180))?;
    let (report, _) = traffic.finish(&Options::default())?;
    step.done();
    deployment.wait_whole(Duration::from_secs(90))?;
    print!("{}", get(&deployment, "brokergroups")?);
    Ok((report, Times { rollout, first_acknowledged, promotion }))
}

fn get(deployment: &Deployment<'_>, kind: &str) -> Result<String> {
    println!("\n$ kubectl get {kind}");
    deployment.world().cluster().kubectl(&["--namespace", deployment.namespace(), "get", kind])
}

fn how_to_reach(world: &World) {
    let cluster = world.cluster();
    println!("\nEverything is left running until `cargo xtask cluster down`. To use it:");
    println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("  alias kubectl={}", cluster.kubectl_program().display());
    println!("  kubectl --namespace {NAMESPACE} get brokerclusters,brokergroups,pods");
}

fn tell(report: &Report, times: &Times, total: Duration) {
    let received: u64 = report.groups.values().map(|group| group.received).sum();
    println!("\nWhat happened");
    println!("  rollout of three brokers            {:>8.1} s", times.rollout.as_secs_f64());
    println!("  kill to first new acknowledgement   {:>8.2} s", times.first_acknowledged.as_secs_f64());
    println!("  new leader seen by everyone within  {:>8.2} s", times.promotion.as_secs_f64());
    println!("  all of it                           {:>8.0} s", total.as_secs_f64());
    println!("  sent          {:>8}", report.sent);
    println!("  acknowledged  {:>8}", report.acknowledged);
    println!("  not certain   {:>8}   (told so to the sender)", report.unknown + report.failed);
    println!("  received      {:>8}", received);
    println!("  lost          {:>8}", report.lost().len());
}
