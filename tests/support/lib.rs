//! What the tests share: a host of their own, the binary under test, and the leak check around each test.
//!
//! Invariant: a test that cannot run on this machine shows as ignored, with the reason; it never
//! passes without having run.

pub mod certificates;
pub mod deadline;
pub mod dice;
pub mod fixtures;
pub mod footprint;
pub mod host;
pub mod kernel;
pub mod namespaces;
pub mod pods;
pub mod registry;
pub mod run;
pub mod standstill;
pub mod suite;
pub mod terminal;
pub mod trace;
