//! Kubernetes clusters that tests and the demo run on, and the images they run.
//!
//! Two providers stand behind one [`Cluster`] trait: [`Provider::Kind`] where a Docker engine answers, and
//! [`Provider::Local`], the same Kubernetes programs run directly in network namespaces of this machine, where
//! none does. [`up`] starts a cluster, [`attach`] finds one that is running, [`down`] removes it.
//!
//! The API is blocking on purpose: everything here waits for other programs.

mod client;
mod cluster;
mod command;
mod diagnose;
mod folder;
mod image;
mod kind;
mod local;
mod progress;
mod tools;

pub use cluster::{Cluster, Options, Provider, attach, down, up};
pub use command::{output, succeeds};
pub use folder::work_folder;
pub use image::{Image, NON_ROOT_ID};
pub use progress::{Step, until};
pub use tools::{cache_folder, ensure_fault_packages, ensure_fuzz_packages, helm};
