//! Tries a cell: the fault on many seeds, each judged by what the cell allows. What may be lost must be lost once at
//! least, so that no cell is a claim about nothing.

use std::io::Write;

use mainstay_sim::{Account, Loss, Trial, try_out};

use crate::table::{Cell, cell};

/// Seeds that are the same in every run, for each mode of a cell.
const FIXED: u64 = 8;
/// Where those have not shown what the cell is about, the ones behind them are tried, through here.
const LAST: u64 = 80;
/// Seeds that are new in every run.
const FRESH: u64 = 1;

/// What the seeds of a cell came to together.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    pub(crate) runs: u64,
    pub(crate) account: Account,
}

pub(crate) fn prove(test: &str) {
    let cell = cell(test);
    let base: u64 = rand::random();
    let mut proof = Proof::default();
    let alone: Option<u64> = std::env::var("MAINSTAY_SEED").ok().map(|text| text.parse().unwrap());
    let seeds: Vec<u64> = match alone {
        Some(seed) => vec![seed],
        None => (1..=FIXED).chain((0..FRESH).map(|number| base.wrapping_add(number))).collect(),
    };
    for seed in &seeds {
        proof.run(cell, *seed, alone.is_some());
    }
    let mut last = FIXED;
    while alone.is_none() && !shown(cell, &proof.account) && last < LAST {
        last += 1;
        proof.run(cell, last, false);
    }
    let account = proof.account;
    // Past the capture of the test harness: what was run is of interest when it passed, too.
    let _ = writeln!(std::io::stderr(), "{test}: seeds 1 to {last} and {FRESH} from {base}: {account:?}");
    if alone.is_none() {
        shows_something(cell, &proof);
    }
}

impl Proof {
    fn run(&mut self, cell: &Cell, seed: u64, loud: bool) {
        let test = cell.test;
        for trial in trials(cell) {
            let tried = try_out(seed, Trial { loud, ..trial });
            if let Some(violation) = &tried.verdict.violation {
                panic!(
                    "{test}, seed {seed}: {}: {}\n    {}\n    again with: MAINSTAY_SEED={seed}",
                    violation.check, violation.what, tried.verdict.plan
                );
            }
            self.runs += 1;
            self.account.add(&tried.account);
        }
    }
}

/// What the fault may do to messages or to those who send them has been seen.
const fn shown(cell: &Cell, account: &Account) -> bool {
    match cell.loss {
        Loss::Nothing | Loss::Everything => true,
        Loss::Unavailable => account.held_up > 0,
        Loss::FlushWindow | Loss::TailWithDisk => account.lost > 0,
        Loss::TailSetAside => account.set_aside > 0,
        Loss::FlushWindowAndTail => account.lost + account.set_aside > 0,
    }
}

/// The cell's fault in each of its modes.
pub(crate) fn trials(cell: &Cell) -> impl Iterator<Item = Trial> {
    let (flush, blow, allowed) = (cell.row.flush(), cell.column.blow(), cell.loss);
    let kinds = cell.row.kinds().iter();
    kinds.map(move |kind| Trial { kind: *kind, flush, blow, allowed, bug: None, loud: false })
}

/// The runs reached what the cell is about.
fn shows_something(cell: &Cell, proof: &Proof) {
    let (test, Proof { runs, account }) = (cell.test, proof);
    assert!(account.before > 20 * runs, "{test}: too little was acknowledged before the fault: {account:?}");
    assert!(account.after > 20 * runs, "{test}: too little was acknowledged after the fault: {account:?}");
    match cell.loss {
        Loss::Nothing => assert_eq!((account.lost, account.set_aside), (0, 0), "{test}"),
        Loss::Unavailable => {
            assert_eq!((account.lost, account.set_aside), (0, 0), "{test}");
            assert!(account.held_up > 0, "{test}: nobody was held up: {account:?}");
        }
        Loss::FlushWindow => assert!(account.lost > 0, "{test}: never lost anything: {account:?}"),
        Loss::TailSetAside => {
            assert_eq!(account.lost, 0, "{test}");
            assert!(account.set_aside > 0, "{test}: never cut a tail off: {account:?}");
        }
        Loss::FlushWindowAndTail => {
            assert!(account.lost + account.set_aside > 0, "{test}: never missed anything: {account:?}");
        }
        Loss::TailWithDisk => {
            assert!(account.lost > 0, "{test}: never lost anything: {account:?}");
            assert_eq!(account.set_aside, 0, "{test}");
        }
        // An answer may have been on its way when the disk went.
        Loss::Everything => {
            let on_their_way = account.lost.checked_sub(account.before);
            assert!(on_their_way.is_some_and(|few| few <= *runs), "{test}: {account:?}");
        }
    }
}
