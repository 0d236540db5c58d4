//! Where a reference leads that stands in an answer: resolution by RFC 3986, section 5.2.
//!
//! Invariant: the result is an absolute URL with a host, or none.

use hyper::Uri;

/// The URL of `reference`, relative to `base`. A fragment after `#` is dropped.
pub(super) fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next().unwrap_or_default();
    let (scheme, rest) = match reference.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
        _ => (None, reference),
    };
    let (authority, rest) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(authority), rest)
        }
        None => (None, rest),
    };
    let (path, mut query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    if scheme.is_some() && authority.is_none() {
        return None;
    }
    let path = if authority.is_some() || path.starts_with('/') {
        without_dots(path)
    } else if path.is_empty() {
        query = query.or(base.query());
        base.path().to_owned()
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        without_dots(&format!("{folder}/{path}"))
    };
    let scheme = scheme.or(base.scheme_str())?;
    let authority = match authority {
        Some(authority) => authority,
        None => base.authority()?.as_str(),
    };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{authority}{path}{query}").parse().ok()
}

fn is_scheme(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(rest)
}

/// `path`, which is empty or begins with a slash, with `.` and `..` carried out: nothing is above its root.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut all = path.split('/').skip(1).peekable();
    while let Some(part) = all.next() {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
        if matches!(part, "." | "..") && all.peek().is_none() {
            parts.push("");
        }
    }
    parts.iter().fold(String::new(), |path, part| path + "/" + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(base: &str, reference: &str) -> Option<String> {
        resolve(&base.parse().unwrap(), reference).map(|uri| uri.to_string())
    }

    #[test]
    fn the_examples_of_the_rfc_come_out() {
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
        ] {
            assert_eq!(resolved("http://a/b/c/d;p?q", reference).as_deref(), Some(expected), "{reference}");
        }
    }

    #[test]
    fn what_registries_send_leads_where_they_mean() {
        let base = "https://r.example:5000/v2/a/b/blobs/uploads/";
        for (reference, expected) in [
            ("uuid?state=x", "https://r.example:5000/v2/a/b/blobs/uploads/uuid?state=x"),
            ("./uuid", "https://r.example:5000/v2/a/b/blobs/uploads/uuid"),
            ("../z:1", "https://r.example:5000/v2/a/b/blobs/z:1"),
            ("//cdn.example/y?s=%2F", "https://cdn.example/y?s=%2F"),
            ("http://cdn.example", "http://cdn.example/"),
            ("https://[::1]:1/x?a=b://c", "https://[::1]:1/x?a=b://c"),
        ] {
            assert_eq!(resolved(base, reference).as_deref(), Some(expected), "{reference}");
        }
        for nowhere in ["file:/etc/passwd", "file:///etc/passwd", "mailto:x", "//", "https:///x", "a b"] {
            assert_eq!(resolved(base, nowhere), None, "{nowhere}");
        }
    }
}
