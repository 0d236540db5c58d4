//! The annotations that podrun reads: those below `podrun.io/`. All others are notes for somebody else.
//!
//! Invariant: one below `podrun.io/` that means nothing is refused, as an unknown field is.

use super::StringMap;
use super::suggest;
use crate::error::quoted;

const PREFIX: &str = "podrun.io/";

/// `off`: the pod may send what it likes onto its bridge.
const PORT_FILTER: &str = "podrun.io/port-filter";

const KNOWN: [(&str, [&str; 2]); 1] = [(PORT_FILTER, ["on", "off"])];

/// Whether the pod is held to its own addresses.
pub fn has_port_filter(annotations: &StringMap) -> bool {
    annotations.get(PORT_FILTER).is_none_or(|value| value != "off")
}

/// What is wrong with an annotation of podrun's, if it is one.
pub(super) fn check(key: &str, value: &str) -> Result<(), String> {
    if !key.starts_with(PREFIX) {
        return Ok(());
    }
    let Some((_, values)) = KNOWN.iter().find(|(known, _)| *known == key) else {
        let names = || KNOWN.iter().map(|(known, _)| *known);
        let meant = suggest::nearest(key, names()).map(|meant| format!("; did you mean {meant}?"));
        return Err(format!("podrun has no such annotation{}", meant.unwrap_or_default()));
    };
    if values.contains(&value) {
        return Ok(());
    }
    Err(format!("must be {}, got {}", values.join(" or "), quoted(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podruns_own_are_known_and_others_are_let_be() {
        assert!(check("example.org/port-filter", "x").is_ok());
        assert!(check(PORT_FILTER, "off").is_ok() && check(PORT_FILTER, "on").is_ok());
        assert_eq!(check(PORT_FILTER, "no").unwrap_err(), "must be on or off, got \"no\"");
        assert!(
            check("podrun.io/portfilter", "off")
                .unwrap_err()
                .ends_with("did you mean podrun.io/port-filter?")
        );
        assert!(check("podrun.io/x", "").is_err());
        let open = [(PORT_FILTER.to_owned(), "off".to_owned())].into();
        assert!(!has_port_filter(&open) && has_port_filter(&StringMap::new()));
    }
}
