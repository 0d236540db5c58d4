//! podrun's command line: parse, dispatch, print the error once, choose the exit code.
//! Keeps no state of its own.
fn main() {}
