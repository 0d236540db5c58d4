//! The init of a pid namespace that a pod's containers share: reaps orphans, waits for SIGTERM from outside.
//!
//! It does not exec: without root, capabilities, descriptors and a root file system of its own there
//! is nothing behind its /proc entry to enter the host by.

use super::State;
use crate::engine::failure::{Call, During as _, Fault};
use crate::sys::child::{descriptors, exec};

/// Says that it is ready by closing the wire with all else, and reaps until SIGTERM.
pub(super) fn run(state: &mut State<'_>) -> Result<(), Fault> {
    // Blocked signals are kept for a namespace's init, where unhandled ones would be dropped.
    exec::block_signals(state.half).during(Call::Sigaction)?;
    for kept in [state.root.take(), state.proc.take(), state.empty.take()] {
        std::mem::forget(kept);
    }
    descriptors::close_from(state.half, 0).during(Call::CloseRange)?;
    exec::reap_until_sigterm(state.half);
    Ok(())
}
