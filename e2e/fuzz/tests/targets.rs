//! Every target with the inputs that once failed, with its seeds, and for a second with those that libFuzzer kept and
//! with mutations of all of them. What a run tries comes from one number, which it prints; `MAINSTAY_FUZZ_SEED` brings
//! it back, `MAINSTAY_FUZZ_SECONDS` makes it longer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use mainstay_fuzz::{ALL, FOLDERS, Mutator, Target, failed_once, find, reached};

/// Of a run that is not told another.
const SEED: u64 = 20_261_126;

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        mod target {
            $(
                #[test]
                fn $name() {
                    super::try_out(stringify!($name));
                }
            )*
        }
    };
}

targets! {
    record_batch, log_folder, snapshot_files, state_file, log_base, hard_state, standing, membership,
    replica_message, refill, consensus_core, command, commands, messaging_snapshot, handles, names, grants,
    authorization, tag_filter, sql_filter, configuration, histories, client_api, telemetry, internal_port,
}

#[test]
fn every_target_is_tried() {
    assert_eq!(NAMES, ALL.iter().map(|target| target.name).collect::<Vec<_>>());
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn try_out(name: &str) {
    let target = find(name).expect("a target");
    let (seed, seconds) = (number("MAINSTAY_FUZZ_SEED", SEED), number("MAINSTAY_FUZZ_SECONDS", 1));
    let mut tried = 0;
    for input in failed_once(name).into_iter().chain((target.seeds)()) {
        attempt(target, &input, seed, tried);
        tried += 1;
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    for input in reached(name) {
        attempt(target, &input, seed, tried);
        tried += 1;
    }
    let mut mutator = Mutator::new(seed, [(target.seeds)(), reached(name)].concat());
    while Instant::now() < end {
        attempt(target, &mutator.input(), seed, tried);
        tried += 1;
    }
    println!("{name}: {tried} inputs, MAINSTAY_FUZZ_SEED={seed}");
}

/// Leaves an input that fails behind, for `tests/failed_once`.
fn attempt(target: &Target, input: &[u8], seed: u64, number: u64) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let left = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{seed}-{number}", target.name));
        fs::write(&left, input).expect("the input is left behind");
        eprintln!("{}: input {number} of MAINSTAY_FUZZ_SEED={seed} failed: {}", target.name, left.display());
        resume_unwind(panic);
    }
}

#[test]
fn what_is_kept_belongs_to_targets() {
    for folder in FOLDERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in fs::read_dir(folder).expect("the folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name");
            assert!(name == "README.md" || find(&name).is_some(), "{name} is no target");
        }
    }
}
