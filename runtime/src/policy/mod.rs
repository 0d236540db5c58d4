//! Kubernetes' rules for a pod, as one pure function: an event in, a list of actions out.
//!
//! ```text
//! let mut state = PodState::new(&pod, &images, Moment::now());
//! loop {
//!     let actions = step(&pod, &mut state, event, Moment::now());   // perform them in order
//!     // arm one timer for state.wake_at(); when it fires the next event is Event::Tick
//! }
//! ```
//!
//! Invariant: `step` and the views of a state read no clock, file or descriptor, do not wait and do not
//! panic; the same history gives the same actions. Any event may come at any moment: one that no longer
//! fits changes nothing.

mod back_off;
pub mod columns;
mod conditions;
mod driver;
mod event;
mod journal;
pub mod launch;
mod loss;
mod moment;
mod narrate;
mod progress;
mod state;
mod status;
mod step;
mod stop;
pub mod store;

pub use driver::fronts;
pub use event::{Action, Event, Exit, StartFailure};
pub use journal::{Journal, JournalEntry, Severity};
pub use loss::lose;
pub use moment::Moment;
pub use progress::{Progress, WaitFor, create_progress};
pub use state::{
    BackOff, ContainerPhase, ContainerRun, Deletion, Ended, ImageFact, PodState, Role, Sandbox, Sent,
    Stopping, Transition, Verdict,
};
pub use status::{observed, status};
pub use step::step;

#[cfg(test)]
mod tests;
