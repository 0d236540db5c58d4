//! Kubernetes' rules for a pod, as one pure function: an event in, a list of actions out.
//!
//! ```text
//! let mut state = PodState::new(&pod, &images, now);
//! loop {
//!     let actions = step(&pod, &mut state, event, now);   // perform them in order
//!     // arm one timer for state.wake_at(); when it fires the next event is Event::Tick
//! }
//! ```
//!
//! Invariant: nothing here reads a clock, a file or a descriptor, waits, or panics; the same history
//! gives the same actions. Any event may come at any moment: one that no longer fits changes nothing.

mod event;
mod journal;
mod moment;
mod state;

pub use event::{Action, Event, Exit, StartFailure};
pub use journal::{Journal, JournalEntry, Severity};
pub use moment::Moment;
pub use state::{
    BackOff, ContainerPhase, ContainerRun, Deletion, Ended, ImageFact, PodState, Role, Sandbox, Stopping,
    Transition, Verdict,
};
