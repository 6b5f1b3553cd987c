//! `mainstay-operator`.
fn main() {}
