//! The signal that asks a container to end, as images write it.

/// Linux' signals by number, from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const SIGTERM: i32 = 15;
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of an image's STOPSIGNAL (`SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`); SIGTERM where there
/// is none, or none that the kernel knows.
pub fn stop_signal(asked: Option<&str>) -> i32 {
    asked.and_then(parse).unwrap_or(SIGTERM)
}

fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i32>().ok() };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest)
            .map(|offset| RTMIN.saturating_add(offset))
            .filter(|signal| (RTMIN..=RTMAX).contains(signal));
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest)
            .map(|offset| RTMAX.saturating_add(offset))
            .filter(|signal| (RTMIN..=RTMAX).contains(signal));
    }
    let index = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(index + 1).ok()
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
