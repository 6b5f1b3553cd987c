//! Bugs that can be planted, to see that the proofs of the promise notice them.
//!
//! Each [`Fault`] is a mistake that such a program could well have. At the very place of the rule it breaks, the product
//! asks [`planted`]. Without the feature `enabled` the answer is a constant no, and the compiler leaves nothing of it.
//! With the feature, the one fault that the environment variable [`VARIABLE`] names is there. The feature does not
//! compile without debug assertions, so a release build cannot contain a planted bug.

mod fault;

pub use fault::{Fault, Home};

#[cfg(all(feature = "enabled", not(debug_assertions)))]
compile_error!(
    "a build without debug assertions must not contain planted bugs: leave out the feature `enabled`"
);

/// The environment variable that names the fault to plant. Read once.
pub const VARIABLE: &str = "MAINSTAY_PLANTED";

/// Whether `fault` is planted in this process.
#[cfg(not(feature = "enabled"))]
#[inline(always)]
pub const fn planted(_fault: Fault) -> bool {
    false
}

/// Whether `fault` is planted in this process. A name that no fault has ends the process: a run with a misspelt fault
/// would pass for a run that noticed nothing.
#[cfg(feature = "enabled")]
#[inline]
pub fn planted(fault: Fault) -> bool {
    chosen() == Some(fault)
}

#[cfg(feature = "enabled")]
fn chosen() -> Option<Fault> {
    static CHOSEN: std::sync::OnceLock<Option<Fault>> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var_os(VARIABLE)?;
        let fault = name.to_str().and_then(Fault::named);
        if fault.is_none() {
            // No panic: a test may catch it.
            eprintln!("{VARIABLE} is {name:?}, which is the name of no fault");
            std::process::exit(2);
        }
        fault
    })
}
