//! The Mainstay operator: a pure core that decides, and a thin shell that looks and acts.

pub mod decide;
