//! Judges history files: `mainstay-checker [--quarantined FILE] HISTORY...`. Exits with 0 when every promise was kept,
//! with 1 when one was broken, with 2 when the files cannot be judged.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use mainstay_checker::{History, Options, Promise, check_with, longest_pause};

const USAGE: &str = "usage: mainstay-checker [--quarantined FILE] HISTORY...
  --quarantined FILE   a failover may have cut off an acknowledged tail; FILE has the reported ids, one in a line";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("mainstay-checker: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, String> {
    let mut options = Options::default();
    let mut paths = Vec::new();
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--quarantined") => {
                let file = PathBuf::from(arguments.next().ok_or("--quarantined needs a file")?);
                let text =
                    std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                let quarantined: BTreeSet<String> = text.split_whitespace().map(str::to_owned).collect();
                options.promise = Promise::TailMayBeCut { quarantined };
            }
            Some(flag) if flag.starts_with('-') => return Err(format!("unknown option {flag}\n{USAGE}")),
            _ => paths.push(PathBuf::from(argument)),
        }
    }
    if paths.is_empty() {
        return Err(format!("no history was named\n{USAGE}"));
    }
    let histories = paths
        .iter()
        .map(|path| History::read(path).map_err(|error| error.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    let report = check_with(&histories, &options);
    if let Some(pause) = longest_pause(&histories) {
        println!("longest time without an acknowledgement {:?}", pause.length());
    }
    println!("{report}");
    Ok(report.passed())
}
