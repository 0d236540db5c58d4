//! podrun's tests through the real binary: one program, so that images are loaded once.

mod harness;
mod images;

use std::process::ExitCode;

use support::suite::Suite;

fn main() -> ExitCode {
    if let Some(code) = support::namespaces::take_over(std::env::args().nth(1).as_deref()) {
        return code;
    }
    let mut suite = Suite::default();
    harness::add(&mut suite);
    images::add(&mut suite);
    suite.run().exit_code()
}
