//! Everything that helps to understand a failed test, written into a folder before the cluster is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;

/// What kubectl is asked for, and the file the answer goes to.
const QUESTIONS: [(&str, &[&str]); 6] = [
    ("nodes.txt", &["get", "nodes", "--output", "wide"]),
    ("pods.txt", &["get", "pods", "--all-namespaces", "--output", "wide"]),
    ("volumes.txt", &["get", "pv,pvc", "--all-namespaces", "--output", "wide"]),
    ("events.txt", &["get", "events", "--all-namespaces", "--sort-by", ".metadata.creationTimestamp"]),
    ("descriptions.txt", &["describe", "nodes,pods", "--all-namespaces"]),
    (
        "objects.yaml",
        &["get", "all,endpointslices,configmaps,leases", "--all-namespaces", "--output", "yaml"],
    ),
];

/// Writes answers, pod logs and program logs into the folder. A failed question's file holds the error: a diagnosis
/// that fails must not hide the failure that called for it.
pub(crate) fn dump(kubectl: &Command, program_logs: &[PathBuf], folder: &Path) {
    if let Err(error) = fs::create_dir_all(folder.join("pods")) {
        eprintln!("no diagnosis: cannot create {}: {error}", folder.display());
        return;
    }
    for (file, question) in QUESTIONS {
        save(&folder.join(file), ask(kubectl, question));
    }
    match custom_resources(kubectl) {
        Ok(kinds) => {
            for kind in kinds {
                let answer = ask(kubectl, &["get", &kind, "--all-namespaces", "--output", "yaml"]);
                save(&folder.join(format!("{kind}.yaml")), answer);
            }
        }
        Err(error) => save(&folder.join("custom-resources.txt"), Err(error)),
    }
    match pods(kubectl) {
        Ok(pods) => pods.iter().for_each(|pod| save_pod_logs(kubectl, pod, &folder.join("pods"))),
        Err(error) => save(&folder.join("pods/error.txt"), Err(error)),
    }
    for log in program_logs {
        if let Some(name) = log.file_name()
            && let Err(error) = fs::copy(log, folder.join(name))
        {
            eprintln!("diagnosis: cannot copy {}: {error}", log.display());
        }
    }
    eprintln!("diagnosis in {}", folder.display());
}

struct Pod {
    namespace: String,
    name: String,
    /// Containers and whether each has been restarted.
    containers: Vec<(String, bool)>,
}

fn pods(kubectl: &Command) -> Result<Vec<Pod>> {
    let answer = ask(kubectl, &["get", "pods", "--all-namespaces", "--output", "json"])?;
    let list: Value = serde_json::from_str(&answer).context("understand the list of pods")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = list["items"].as_array().into_iter().flatten().map(|pod| Pod {
        namespace: text(&pod["metadata"]["namespace"]),
        name: text(&pod["metadata"]["name"]),
        containers: ["initContainerStatuses", "containerStatuses"]
            .iter()
            .flat_map(|kind| pod["status"][kind].as_array().into_iter().flatten())
            .map(|status| (text(&status["name"]), status["restartCount"].as_u64().unwrap_or_default() > 0))
            .collect(),
    });
    Ok(pods.collect())
}

fn save_pod_logs(kubectl: &Command, pod: &Pod, folder: &Path) {
    for (container, restarted) in &pod.containers {
        let question =
            ["logs", "--namespace", &pod.namespace, &pod.name, "--container", container, "--timestamps"];
        let file = format!("{}.{}.{container}", pod.namespace, pod.name);
        save(&folder.join(format!("{file}.log")), ask(kubectl, &question));
        if *restarted {
            let question = [&question[..], &["--previous"]].concat();
            save(&folder.join(format!("{file}.previous.log")), ask(kubectl, &question));
        }
    }
}

/// The cluster's own kinds and those of whatever is installed in it.
fn custom_resources(kubectl: &Command) -> Result<Vec<String>> {
    let names = ask(kubectl, &["get", "customresourcedefinitions", "--output", "name"])?;
    Ok(names.lines().filter_map(|line| line.rsplit_once('/')).map(|(_, name)| name.to_owned()).collect())
}

/// With a time limit for each question: the API server may be what is broken.
fn ask(kubectl: &Command, question: &[&str]) -> Result<String> {
    let mut command = Command::new(kubectl.get_program());
    for (name, value) in kubectl.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command::output(command.args(question).arg("--request-timeout=15s"))
}

fn save(path: &Path, answer: Result<String>) {
    let text = answer.unwrap_or_else(|error| format!("{error:#}\n"));
    if let Err(error) = fs::write(path, text) {
        eprintln!("diagnosis: cannot write {}: {error}", path.display());
    }
}
