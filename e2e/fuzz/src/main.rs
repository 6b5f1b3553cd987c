//! The program that libFuzzer drives. The environment tells what to do, since the command line is libFuzzer's:
//! `MAINSTAY_FUZZ_TARGET` names the target, `MAINSTAY_FUZZ_SEEDS` a folder that its seeds and kept inputs go to first,
//! and with `MAINSTAY_FUZZ_LIST` it only prints the names of all targets.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use mainstay_fuzz::{ALL, Target, failed_once, find, reached};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn chosen() -> &'static Target {
    let name = std::env::var("MAINSTAY_FUZZ_TARGET").unwrap_or_default();
    find(&name).unwrap_or_else(|| panic!("MAINSTAY_FUZZ_TARGET names no target: '{name}'"))
}

fn prepare() {
    if std::env::var_os("MAINSTAY_FUZZ_LIST").is_some() {
        ALL.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    }
    let target = TARGET.get_or_init(chosen);
    if let Some(folder) = std::env::var_os("MAINSTAY_FUZZ_SEEDS") {
        let seeds = [(target.seeds)(), failed_once(target.name)].concat();
        write(Path::new(&folder), "seed", &seeds);
        write(Path::new(&folder), "kept", &reached(target.name));
    }
}

fn write(folder: &Path, kind: &str, inputs: &[Vec<u8>]) {
    for (number, input) in inputs.iter().enumerate() {
        let path = folder.join(format!("{kind}-{number}"));
        std::fs::write(&path, input).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fuzz_target!(init: prepare(), |data: &[u8]| (TARGET.get_or_init(chosen).run)(data));
