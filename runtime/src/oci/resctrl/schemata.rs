//! Lines of a `schemata` file: parsed, and compared with a group's.
//!
//! Invariant: pure. A line is compared as the kernel reads it (resctrl.rst, "Schemata files"): by number,
//! domain by domain, only the domains that it names.

/// `L3:0=7f0;1=1f`: a resource, and the value of each domain.
struct Line<'a> {
    resource: &'a str,
    domains: Vec<(u32, &'a str)>,
}

fn parse(line: &str) -> Option<Line<'_>> {
    let (resource, domains) = line.split_once(':')?;
    let domain = |text: &'_ str| -> Option<(u32, usize)> {
        let (id, _) = text.split_once('=')?;
        Some((id.trim().parse().ok()?, id.len() + 1))
    };
    let listed = domains.trim().split(';').filter(|text| !text.trim().is_empty());
    let domains: Option<Vec<_>> = listed
        .map(|text| domain(text).map(|(id, at)| (id, text.get(at..).unwrap_or_default().trim())))
        .collect();
    Some(Line { resource: resource.trim(), domains: domains.filter(|domains| !domains.is_empty())? })
}

/// Bandwidths are decimal, bit masks hexadecimal.
fn number(resource: &str, text: &str) -> Option<u64> {
    if is_bandwidth(resource) {
        text.parse().ok()
    } else {
        let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        u64::from_str_radix(text, 16).ok()
    }
}

fn is_bandwidth(resource: &str) -> bool {
    matches!(resource, "MB" | "SMBA")
}

/// Whether a group with `schemata` fulfils `line`. `step` is the step to which the kernel rounds a bandwidth
/// up, if it does.
pub(super) fn holds(schemata: &str, line: &str, step: Option<u64>) -> bool {
    let Some(wanted) = parse(line) else { return false };
    let mut lines = schemata.lines().filter_map(parse);
    let Some(there) = lines.find(|there| there.resource == wanted.resource) else { return false };
    let rounded = |value: u64| match step.filter(|step| is_bandwidth(wanted.resource) && *step > 0) {
        Some(step) => value.checked_next_multiple_of(step),
        None => Some(value),
    };
    wanted.domains.iter().all(|(id, value)| {
        let has = there.domains.iter().find(|(there, _)| there == id);
        let has = has.and_then(|(_, value)| number(there.resource, value));
        let value = number(wanted.resource, value);
        has.is_some() && (has == value || has == value.and_then(rounded))
    })
}

/// The line of `schemata` for the same resource as `line`, to be shown beside it.
pub(super) fn same_resource<'a>(schemata: &'a str, line: &str) -> Option<&'a str> {
    let resource = line.split_once(':')?.0.trim();
    let of = |there: &&str| there.split_once(':').is_some_and(|(name, _)| name.trim() == resource);
    schemata.lines().find(of).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: &str = "    MB:0= 20;1=100\n    L3:0=7f0;1=0001f\n    L2:0=ff\n";

    #[test]
    fn a_line_is_compared_as_the_kernel_reads_it() {
        for line in ["L3:0=7f0;1=1f", "L3:1=1f", " L3 : 1 = 0x1F ; 0=7F0;", "MB:0=20;1=100", "L2:0=0ff"] {
            assert!(holds(THERE, line, None), "{line}");
        }
        for line in [
            "L3:0=7f0;1=1e",
            "L3:2=1f",
            "L3CODE:0=7f0",
            "MB:0=0x14",
            "L3:0=zz",
            "L3:",
            "L3",
            "",
            "L3:0",
            "L3:x=1",
        ] {
            assert!(!holds(THERE, line, None), "{line}");
        }
    }

    #[test]
    fn a_bandwidth_is_rounded_as_the_kernel_rounds_it() {
        assert!(holds(THERE, "MB:0=15", Some(10)) && holds(THERE, "MB:0=20;1=91", Some(10)));
        assert!(!holds(THERE, "MB:0=15", None) && !holds(THERE, "MB:0=21", Some(10)));
        assert!(!holds(THERE, "L3:1=1e", Some(31)), "a mask is not rounded");
        assert!(!holds(THERE, "MB:0=18446744073709551615", Some(10)));
    }

    #[test]
    fn what_a_group_has_is_shown_by_its_line() {
        assert_eq!(same_resource(THERE, "L3:0=f"), Some("L3:0=7f0;1=0001f"));
        assert_eq!(same_resource(THERE, "L4:0=f"), None);
    }
}
