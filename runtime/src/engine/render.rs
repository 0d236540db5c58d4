//! The sentence that the parent makes of a child half's failure.
//!
//! Invariant: pure; it names the step, its object, the call as strace prints it, and the cause, once.

use super::failure::{Call, Failure, INTERPRETER};
use super::hints::{NO_INTERPRETER, TOO_BIG, hint, is_gone};
use super::plan::{Plan, Step, TIME_OFFSETS};
use crate::error::{Error, ErrorKind};
use crate::sys::child::exec::rlimit_name;
use crate::sys::{Errno, errno_name};

impl Step {
    /// The object of a call of the step, if it is another than the step's own.
    fn object_of(&self, failure: Failure) -> Option<String> {
        match (self, failure.call) {
            (Self::NewTimeNamespace(_), Call::Openat) => Some(format!("{TIME_OFFSETS:?}")),
            (Self::NewTimeNamespace(offsets), Call::Write) => Some(format!("{TIME_OFFSETS:?}, {offsets:?}")),
            (Self::NewTimeNamespace(_), _) => Some("CLONE_NEWTIME".to_owned()),
            (Self::OomScore(score), Call::Write) => Some(format!("\"/proc/self/oom_score_adj\", {score:?}")),
            (Self::Rlimits(limits), _) => {
                let limit = limits.get(usize::try_from(failure.index).unwrap_or(usize::MAX))?;
                let name = rlimit_name(limit.resource).unwrap_or("a limit");
                Some(format!("{name}, soft {}, hard {}", limit.soft, limit.hard))
            }
            _ => None,
        }
    }
}

impl Plan {
    /// A failure as strace would print it, with a hint where the reader can act. The kind is
    /// `CommandNotFound` or `CommandNotExecutable` when it is the execve that failed so.
    pub fn render(&self, failure: Failure) -> Error {
        let Some(step) = self.steps.get(usize::from(failure.step)) else {
            return Error::failed(format!("the child reports a step that is not in its plan: {failure:?}"));
        };
        let (name, object) = step.label();
        let cause = errno_name(failure.errno);
        let call = failure.call.name();
        let message = match step {
            Step::Execve { .. } | Step::FindProgram { .. } => format!("{call}({object}): {cause}"),
            _ => {
                let same = |step: &&Step| step.label().0 == name;
                let count = self.steps.iter().filter(same).count();
                let number = self.steps.iter().take(usize::from(failure.step) + 1).filter(same).count();
                let which = if count > 1 { format!("{name} {number} of {count}") } else { name.to_owned() };
                let object = step.object_of(failure).unwrap_or(object);
                let said = failure.said.text().map(|said| format!(": {said}")).unwrap_or_default();
                format!("{which}: {call}({object}): {cause}{said}")
            }
        };
        let kind = match step {
            Step::Execve { .. } | Step::FindProgram { .. } => failure.program_kind(),
            _ if is_gone(step, failure) => ErrorKind::State,
            _ if Errno(failure.errno) == Errno::ENOSYS => ErrorKind::Unsupported,
            _ => ErrorKind::Failed,
        };
        let error = Error::new(kind, message);
        match hint(step, failure) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl Failure {
    /// The meaning of a failed execve for the caller.
    pub(super) fn program_kind(self) -> ErrorKind {
        match Errno(self.errno) {
            Errno::ENOENT | Errno::ENOTDIR => ErrorKind::CommandNotFound,
            _ => ErrorKind::CommandNotExecutable,
        }
    }

    /// A failure after [`super::Tie::UntilStart`]'s wait, for the starter of the program, who has no plan.
    pub fn render_start(self, program: &str) -> Error {
        let cause = errno_name(self.errno);
        match self.call {
            Call::Execve => {
                let error = Error::new(self.program_kind(), format!("execve({program:?}): {cause}"));
                match self.index & INTERPRETER {
                    0 if Errno(self.errno) == Errno::E2BIG => error.hint(TOO_BIG),
                    0 => error,
                    _ => error.hint(NO_INTERPRETER),
                }
            }
            call => Error::failed(format!("{}: {cause}", call.name())),
        }
    }
}
