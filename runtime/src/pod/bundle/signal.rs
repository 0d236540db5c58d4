//! The signal that asks a container to end, as images write it.

use crate::sys::process::signal;

/// The number of an image's STOPSIGNAL (`SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`); SIGTERM where there
/// is none, or none that the kernel knows.
pub(crate) fn stop_signal(asked: Option<&str>) -> i32 {
    asked.and_then(signal::number).unwrap_or(signal::TERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling() {
        for (text, number) in [
            ("SIGQUIT", 3),
            ("quit", 3),
            ("9", 9),
            ("SIGWINCH", 28),
            ("SIGSYS", 31),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("", 15),
            ("SIGNONE", 15),
            ("0", 15),
            ("65", 15),
            ("RTMIN+40", 15),
        ] {
            assert_eq!(stop_signal(Some(text)), number, "{text:?}");
        }
        assert_eq!(stop_signal(None), 15);
    }
}
