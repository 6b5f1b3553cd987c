//! Runs simulations: `MAINSTAY_SEED=n` one seed with every event, `MAINSTAY_SEEDS=n` that many fresh ones,
//! `MAINSTAY_BASE=n` from that seed on. Exits with 1 when a promise was broken.

use std::process::ExitCode;

use mainstay_sim::{Campaign, Setting, run};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => {
            eprintln!("{variable} is '{text}', not a number");
            std::process::exit(2);
        }
    }
}

fn main() -> ExitCode {
    if let Some(seed) = number("MAINSTAY_SEED") {
        let loud = std::env::var_os("MAINSTAY_QUIET").is_none();
        let verdict = run(seed, Setting { loud, ..Setting::default() });
        println!("{verdict}");
        return if verdict.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::from(1) };
    }
    let base = number("MAINSTAY_BASE").unwrap_or_else(rand::random);
    let count = number("MAINSTAY_SEEDS").unwrap_or(100);
    println!("seeds {base} to {}", base.wrapping_add(count - 1));
    let campaign = Campaign { base, count, setting: Setting::default() };
    let summary = campaign.run(|verdict| {
        if verdict.violation.is_some() {
            println!("{verdict}");
        }
    });
    println!("{summary}");
    if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
