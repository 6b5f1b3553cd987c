//! The local provider from start to end: everything the trait promises, on a real cluster, and nothing left of it.
#![allow(clippy::unwrap_used, reason = "the lint takes only functions marked #[test] for tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mainstay_clusters::{Cluster, Image, Options, Provider, attach, down, output, until, up};

const MANIFESTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: probe}
spec: {selector: {app: probe}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: probe-headless}
spec: {clusterIP: None, selector: {app: probe}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: probe}
spec:
  replicas: 3
  serviceName: probe-headless
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      terminationGracePeriodSeconds: 0
      securityContext: {runAsNonRoot: true, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: probe}}}
      containers:
      - name: probe
        image: mainstay-probe:dev
        imagePullPolicy: Never
        args: [serve]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        volumeMounts: [{name: data, mountPath: /data}, {name: tmp, mountPath: /tmp}]
      volumes: [{name: tmp, emptyDir: {}}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"#;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "starts a Kubernetes: needs root, and minutes the first time"]
fn a_local_cluster_keeps_its_promises() {
    let run_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.run/test");
    let options = Options { run_dir: run_dir.clone(), volumes_per_node: 1, ..Options::default() };
    let cluster = up(Provider::Local, &options).unwrap();
    assert_eq!(cluster.nodes(), ["node1", "node2", "node3"]);

    let scratch = tempfile::tempdir().unwrap();
    let probe = build_probe(scratch.path());
    let archive = scratch.path().join("probe.tar");
    let image = Image::new("mainstay-probe:dev").entrypoint(["/probe"]).program(&probe, "/probe").unwrap();
    image.write(&archive).unwrap();
    cluster.load_image(&archive).unwrap();

    // Pods that are as restricted as Kubernetes' strictest policy asks, each with a volume on a node of its own.
    cluster
        .kubectl(&["label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted"])
        .unwrap();
    cluster.apply(MANIFESTS).unwrap();
    wait_for_pods(&*cluster);
    let log = cluster.kubectl(&["logs", "probe-0"]).unwrap();
    assert!(log.contains("writing to the root file system: true"), "{log}");
    let inside =
        cluster.kubectl(&["exec", "probe-0", "--", "/probe", "get", "probe-1.probe-headless:8080"]).unwrap();
    assert!(inside.contains("hello from probe-1"), "{inside}");

    // A client on the host reaches Services and pods by name.
    let get =
        |address: &str| output(cluster.client_command(probe.as_os_str()).unwrap().args(["get", address]));
    until("the Service to lead to the pods", MINUTE, || {
        Ok(get("probe:80").err().map(|error| error.to_string()))
    })
    .unwrap();
    let greeting = get("probe:80").unwrap();
    assert!(greeting.starts_with("uid 65532 got hello from probe-"), "{greeting}");
    assert!(
        get("probe-2.probe-headless.default.svc.cluster.local:8080").unwrap().contains("hello from probe-2")
    );
    assert!(get("nobody-has-this-name:80").unwrap_err().to_string().contains("Name or service not known"));

    a_node_is_cut_off_and_comes_back(&*cluster, &get);

    cluster.stop_api_server().unwrap();
    assert!(cluster.kubectl(&["get", "nodes", "--request-timeout=2s"]).is_err());
    assert!(get("probe:80").unwrap().contains("hello from"), "the data path does not need the API server");
    cluster.start_api_server().unwrap();

    // Another process finds the cluster.
    let attached = attach(&run_dir).unwrap();
    let diagnosis = scratch.path().join("diagnosis");
    attached.diagnose(&diagnosis);
    assert!(
        fs::read_to_string(diagnosis.join("pods/default.probe-0.probe.log")).unwrap().contains("started")
    );
    assert!(fs::read_to_string(diagnosis.join("events.txt")).unwrap().contains("probe"));
    assert!(diagnosis.join("node1-kubelet.log").exists());

    volumes_come_back_empty(&*cluster, &get);

    attached.down().unwrap();
    assert_nothing_is_left(&run_dir);
    down(&run_dir).unwrap();
}

fn a_node_is_cut_off_and_comes_back(cluster: &dyn Cluster, get: &dyn Fn(&str) -> anyhow::Result<String>) {
    let on_node = r#"jsonpath={.items[?(@.spec.nodeName=="node2")].metadata.name}"#;
    let pod = cluster.kubectl(&["get", "pods", "--selector", "app=probe", "--output", on_node]).unwrap();
    let address = cluster.kubectl(&["get", "pod", &pod, "--output", "jsonpath={.status.podIP}"]).unwrap();
    let address = format!("{address}:8080");
    assert!(get(&address).unwrap().contains(&pod));
    cluster.cut_off("node2").unwrap();
    assert!(get(&address).unwrap_err().to_string().contains("connect"));
    let lost = cluster.wait_for_node("node2", false, MINUTE).unwrap();
    cluster.heal("node2").unwrap();
    let found = cluster.wait_for_node("node2", true, MINUTE).unwrap();
    eprintln!("not ready after {lost:?}, ready again after {found:?}");
    assert!(get(&address).unwrap().contains("start 1,"), "the pod went on running");
    wait_for_pods(cluster);
    assert!(cluster.cut_off("node9").is_err());
}

fn volumes_come_back_empty(cluster: &dyn Cluster, get: &dyn Fn(&str) -> anyhow::Result<String>) {
    // The old pod may still answer for a moment: the API server forgets a pod with no grace period at once.
    let wait_for_start = |number: u32| {
        until("the pod to find what it should on its volume", MINUTE, || {
            let greeting = get("probe-0.probe-headless:8080").unwrap_or_else(|error| error.to_string());
            Ok((!greeting.contains(&format!("start {number},"))).then_some(greeting))
        })
        .unwrap();
    };
    cluster.kubectl(&["delete", "pod", "probe-0"]).unwrap();
    wait_for_start(2);
    cluster.kubectl(&["delete", "statefulset,pvc", "--all"]).unwrap();
    cluster.recycle_volumes().unwrap();
    cluster.apply(MANIFESTS).unwrap();
    wait_for_start(1);
}

fn wait_for_pods(cluster: &dyn Cluster) {
    until("the pods to be ready", MINUTE, || {
        let ready = cluster.kubectl(&[
            "get",
            "statefulset",
            "probe",
            "--output",
            "jsonpath={.status.readyReplicas}",
        ])?;
        Ok((ready != "3").then(|| format!("{ready:?} of 3 are")))
    })
    .unwrap();
}

fn build_probe(folder: &Path) -> PathBuf {
    let probe = folder.join("probe");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe/probe.rs");
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-C", "target-feature=+crt-static", "--target", &target, "-o"]);
    output(rustc.arg(&probe).arg(source)).unwrap();
    // The client's user must be able to get here; a temporary folder is its owner's alone.
    output(Command::new("chmod").arg("755").arg(folder)).unwrap();
    probe
}

fn assert_nothing_is_left(run_dir: &Path) {
    assert!(!run_dir.exists());
    let run_dir =
        std::path::absolute(run_dir.parent().unwrap()).unwrap().canonicalize().unwrap().join("test");
    let run_dir = run_dir.to_str().unwrap();
    assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(run_dir));
    let processes = output(Command::new("ps").args(["-eo", "args"])).unwrap();
    assert!(!processes.contains(run_dir), "{processes}");
}
