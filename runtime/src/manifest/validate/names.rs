//! The syntax of names, keys and addresses.
//!
//! Invariant: each check accepts exactly the texts that Kubernetes' check of the same name accepts. Its message
//! states the whole rule, so that one reading is enough.

use std::net::IpAddr;

use crate::error::quoted;

/// The outcome of a check: the rule, and the text that breaks it.
pub type Verdict = Result<(), String>;

fn rule(holds: bool, text: &str, rule: &str) -> Verdict {
    if holds { Ok(()) } else { Err(format!("must be {rule}, got {}", quoted(text))) }
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_dns_label(text: &str) -> bool {
    let inner = |byte| is_lower_alphanumeric(byte) || byte == b'-';
    framed(text, is_lower_alphanumeric, inner) && text.len() <= 63
}

fn is_dns_subdomain(text: &str) -> bool {
    let inner = |byte| is_lower_alphanumeric(byte) || byte == b'-';
    text.len() <= 253 && text.split('.').all(|part| framed(part, is_lower_alphanumeric, inner))
}

/// Whether `text` begins and ends with an `outer` byte and has only `inner` ones between.
fn framed(text: &str, outer: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => outer(*first) && outer(*last) && bytes.iter().all(|byte| inner(*byte)),
        _ => false,
    }
}

/// A namespace, a container, a volume, a hostname: an RFC 1123 label.
pub fn dns_label(text: &str) -> Verdict {
    rule(
        is_dns_label(text),
        text,
        "a DNS label (lower case letters, digits and '-', beginning and ending with a letter or digit, at most 63 characters)",
    )
}

/// A pod: an RFC 1123 subdomain.
pub fn dns_subdomain(text: &str) -> Verdict {
    rule(
        is_dns_subdomain(text),
        text,
        "a DNS name (lower case letters, digits, '-' and '.', each part beginning and ending with a letter or digit, at most 253 characters)",
    )
}

/// The prefix of a generated pod name: a name, which may end with '-'. Letters and digits are added.
pub fn name_prefix(text: &str) -> Verdict {
    rule(
        text.len() <= 253 && is_dns_subdomain(text.trim_end_matches('-')),
        text,
        "the beginning of a DNS name (lower case letters, digits, '-' and '.', not ending with '.', at most 253 characters)",
    )
}

fn is_qualified_part(text: &str) -> bool {
    let outer = |byte: u8| byte.is_ascii_alphanumeric();
    text.len() <= 63 && framed(text, outer, |byte| outer(byte) || matches!(byte, b'-' | b'_' | b'.'))
}

/// A label's or annotation's key: `app` or `example.com/app`.
pub fn qualified_name(text: &str) -> Verdict {
    let holds = match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_qualified_part(name),
        None => is_qualified_part(text),
    };
    rule(
        holds,
        text,
        "a key (letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, at most 63 characters, after an optional DNS name and '/')",
    )
}

/// A label's value.
pub fn label_value(text: &str) -> Verdict {
    rule(
        text.is_empty() || is_qualified_part(text),
        text,
        "empty or a label's value (letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, at most 63 characters)",
    )
}

/// A variable's name.
pub fn env_name(text: &str) -> Verdict {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    rule(
        !text.is_empty() && text.bytes().all(printable),
        text,
        "a variable's name (printable ASCII characters except '=')",
    )
}

/// A port's name: an IANA service name.
pub fn port_name(text: &str) -> Verdict {
    let inner = |byte| is_lower_alphanumeric(byte) || byte == b'-';
    let holds = text.len() <= 15
        && framed(text, is_lower_alphanumeric, inner)
        && !text.contains("--")
        && text.bytes().any(|byte| byte.is_ascii_lowercase());
    rule(
        holds,
        text,
        "a port's name (lower case letters, digits and single '-', at least one letter, beginning and ending with a letter or digit, at most 15 characters)",
    )
}

/// An IPv4 or IPv6 address.
pub fn ip_address(text: &str) -> Verdict {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_some() => Err(format!(
            "must be an IPv4 or IPv6 address, got {text:?}, an IPv4 address in disguise: write it as one"
        )),
        parsed => rule(parsed.is_ok(), text, "an IPv4 or IPv6 address"),
    }
}

/// An address of the host's that a port of it can be mapped on.
pub fn host_ip(text: &str) -> Verdict {
    ip_address(text)?;
    let Ok(ip) = text.parse::<IpAddr>() else { return Ok(()) };
    let why = match ip {
        IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() => "an address of many hosts",
        IpAddr::V6(ip) if ip.is_multicast() => "an address of many hosts",
        IpAddr::V6(ip) if ip.is_loopback() => {
            "IPv6's loopback, which the kernel does not redirect to a pod: 127.0.0.1 it does"
        }
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "an address that each link may have",
        _ => return Ok(()),
    };
    Err(format!("must be one address of the host's, got {text:?}, {why}"))
}

/// A search domain: a DNS name whose labels may contain `_` except in the last one, or the root.
pub fn search_domain(text: &str) -> Verdict {
    let name = text.strip_suffix('.').unwrap_or(text);
    let inner = |byte| is_lower_alphanumeric(byte) || matches!(byte, b'-' | b'_');
    let label = |part: &str| framed(part.strip_prefix('_').unwrap_or(part), is_lower_alphanumeric, inner);
    let labels = name.split('.').all(label);
    rule(
        text == "." || (labels && name.len() <= 253),
        text,
        "a search domain (a DNS name of lower case letters, digits, '-', '_' and '.')",
    )
}

/// A kernel setting's name: parts of lower case letters, digits, `-` and `_`, split by `.` or `/`.
pub fn sysctl_name(text: &str) -> Verdict {
    let inner = |byte| is_lower_alphanumeric(byte) || matches!(byte, b'-' | b'_');
    let parts = text.split(['.', '/']).all(|part| framed(part, is_lower_alphanumeric, inner));
    rule(parts && text.len() <= 253, text, "a kernel setting's name like net.ipv4.ip_forward")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held(check: fn(&str) -> Verdict, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_what_kubernetes_takes() {
        let (l63, l64) = ("a".repeat(63), "a".repeat(64));
        let (l253, l254) = ("a".repeat(253), "a".repeat(254));
        let dash254 = format!("{l253}-");
        held(
            dns_label,
            &["a", "0", "a-b", "a--b", &l63],
            &["", "-a", "a-", "A", "a.b", "a_b", "ä", " a", &l64],
        );
        held(
            dns_subdomain,
            &["a", "a.b", "a-b.c-d", &l253, &l64],
            &["", ".", "a.", ".a", "a..b", "A.b", "a-.b", "a_b", &l254],
        );
        held(
            name_prefix,
            &["a", "a-", "a--", "a.b-", &l253],
            &["", "-", "--", "A-", "-a", "a_", "a.", "a.-", &l254, &dash254],
        );
        held(
            qualified_name,
            &["app", "App.Kubernetes_io-x", "example.com/App", "1/2", &l63],
            &["", "/a", "a/", "a/b/c", "Ex.com/a", "-a", "a b", &l64, "ä"],
        );
        held(label_value, &["", "a", "A.b_c-1", &l63], &["-", "a b", "a/b", &l64]);
        held(env_name, &["A", "a.b-c", "1", "a b"], &["", "A=B", "ä", "a\n"]);
        held(port_name, &["http", "a", "h2c-1"], &["", "80", "-a", "a-", "a--b", "HTTP", "abcdefghijklmnop"]);
        held(
            ip_address,
            &["10.0.0.1", "fd00::1", "0:0::1", "FD00::1"],
            &["", "10.0.0", "010.0.0.1", "::1%eth0", "host", "::ffff:1.2.3.4"],
        );
        held(
            host_ip,
            &["0.0.0.0", "::", "127.0.0.1", "192.0.2.1", "2001:db8::1"],
            &[
                "",
                "::1",
                "::ffff:127.0.0.1",
                "::FFFF:10.0.0.1",
                "224.0.0.1",
                "255.255.255.255",
                "ff02::1",
                "fe80::1",
            ],
        );
        held(
            search_domain,
            &["a.b", "a.b.", ".", "_tcp.a", "a_b"],
            &["", "a..b", "A.b", "a b", "_", "a_", "__a", "_.a"],
        );
        held(sysctl_name, &["net.ipv4.ip_forward", "net/ipv4", "a"], &["", "a.", "Net.a", "a b", ".a"]);
    }

    proptest! {
        #[test]
        fn a_label_is_a_name_and_a_value(text in "[a-z0-9A-Z._-]{0,70}") {
            if dns_label(&text).is_ok() {
                prop_assert!(dns_subdomain(&text).is_ok());
                prop_assert!(label_value(&text).is_ok());
                prop_assert!(qualified_name(&text).is_ok());
            }
        }

        #[test]
        fn a_drawn_name_is_a_name(prefix in "[a-z0-9.-]{1,60}", end in "[bcdf2-9]{5}") {
            if name_prefix(&prefix).is_ok() {
                let drawn = prefix + &end;
                prop_assert!(dns_subdomain(&drawn).is_ok());
            }
        }
    }
}
