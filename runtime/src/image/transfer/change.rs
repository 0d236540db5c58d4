//! `--change`: an imported image's settings for running it, in a Dockerfile's words.
//!
//! Invariant: an instruction that changes files, or that podrun does not know, is refused by name; a list is JSON or
//! words, and never half of both.

use std::collections::HashSet;
use std::str::FromStr;

use oci_spec::image::Config;

use crate::error::{quoted, shown};

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The arguments of the program.
    Cmd(Vec<String>),
    /// The program.
    Entrypoint(Vec<String>),
    /// Variables.
    Env(Vec<(String, String)>),
    /// Ports it listens on, each with its protocol.
    Expose(Vec<String>),
    /// Labels.
    Label(Vec<(String, String)>),
    /// The signal that asks it to end.
    StopSignal(String),
    /// Its user.
    User(String),
    /// Directories that are to be volumes.
    Volume(Vec<String>),
    /// Where it begins.
    Workdir(String),
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        // `CMD=…` is how docker's old clients wrote it, and podman takes it.
        let end = text.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(text.len());
        let (word, rest) = (text[..end].to_uppercase(), text.get(end + 1..).unwrap_or_default().trim());
        if rest.is_empty() {
            return Err(format!(
                "{}: write it as INSTRUCTION VALUE, such as CMD [\"/bin/sh\"]",
                quoted(text)
            ));
        }
        let one = || Ok(rest.to_owned());
        match word.as_str() {
            "CMD" => program(rest).map(Self::Cmd),
            "ENTRYPOINT" => program(rest).map(Self::Entrypoint),
            "ENV" => pairs(rest).map(Self::Env),
            "EXPOSE" => {
                words(rest)?.iter().map(|port| self::port(port)).collect::<Result<_, _>>().map(Self::Expose)
            }
            "LABEL" => pairs(rest).map(Self::Label),
            "STOPSIGNAL" => one().map(Self::StopSignal),
            "USER" => one().map(Self::User),
            "VOLUME" => list(rest).unwrap_or_else(|| words(rest)).map(Self::Volume),
            "WORKDIR" if rest.starts_with('/') => one().map(Self::Workdir),
            "WORKDIR" => Err(format!("WORKDIR {}: an absolute path is wanted", quoted(rest))),
            _ => Err(format!(
                "{} is not among them: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR",
                shown(&word)
            )),
        }
    }
}

impl Change {
    /// Makes `config` say so; a list replaces the earlier one, of names the last value counts.
    pub(in crate::image) fn apply(&self, config: &mut Config) {
        match self.clone() {
            Self::Cmd(words) => config.set_cmd(Some(words)),
            Self::Entrypoint(words) => config.set_entrypoint(Some(words)),
            Self::Env(pairs) => {
                let mut all = config.env().clone().unwrap_or_default();
                all.extend(pairs.into_iter().map(|(name, value)| format!("{name}={value}")));
                let mut seen = HashSet::new();
                // From behind: the last value counts, and stands where it was given.
                let kept =
                    all.iter().rev().filter(|one| seen.insert(one.split('=').next().unwrap_or_default()));
                let mut env: Vec<String> = kept.cloned().collect();
                env.reverse();
                config.set_env(Some(env))
            }
            Self::Expose(ports) => config.set_exposed_ports(merged(config.exposed_ports(), ports)),
            Self::Label(pairs) => {
                let mut labels = config.labels().clone().unwrap_or_default();
                labels.extend(pairs);
                config.set_labels(Some(labels))
            }
            Self::StopSignal(signal) => config.set_stop_signal(Some(signal)),
            Self::User(user) => config.set_user(Some(user)),
            Self::Volume(paths) => config.set_volumes(merged(config.volumes(), paths)),
            Self::Workdir(path) => config.set_working_dir(Some(path)),
        };
    }
}

fn merged(old: &Option<Vec<String>>, new: Vec<String>) -> Option<Vec<String>> {
    let mut seen = HashSet::new();
    let all = old.iter().flatten().cloned().chain(new);
    Some(all.filter(|one| seen.insert(one.clone())).collect())
}

/// A list in JSON, if it looks like one.
fn list(text: &str) -> Option<Result<Vec<String>, String>> {
    text.starts_with('[').then(|| {
        serde_json::from_str(text).map_err(|error| {
            format!("{}: a list of strings in JSON is wanted: {}", shown(text), shown(&error.to_string()))
        })
    })
}

/// A program with its arguments: a list, or a line for the shell.
fn program(text: &str) -> Result<Vec<String>, String> {
    let shell = || Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()]);
    list(text).unwrap_or_else(shell)
}

/// `NAME=value …`, or `NAME value`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("{}: a value is wanted", quoted(text)))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words(text)?
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(format!("{}: write it as NAME=value", quoted(&word))),
        })
        .collect()
}

/// Words, as a shell parts them: quotes and backslashes keep spaces.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(rest.next()),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => all.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("{}: a quote is open", quoted(text)));
    }
    all.extend(word);
    Ok(all)
}

/// `80` or `80/udp`, always with its protocol.
fn port(text: &str) -> Result<String, String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let known = ["tcp", "udp", "sctp"].contains(&protocol);
    match number.parse::<u16>() {
        Ok(number) if number > 0 && known => Ok(format!("{number}/{protocol}")),
        _ => Err(format!("EXPOSE {}: a port such as 80 or 53/udp is wanted", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn instructions_are_a_dockerfiles() {
        let read = |text: &str| text.parse::<Change>().unwrap();
        assert_eq!(read("CMD [\"a\", \"b c\"]"), Change::Cmd(strings(&["a", "b c"])));
        assert_eq!(read("cmd echo hi"), Change::Cmd(strings(&["/bin/sh", "-c", "echo hi"])));
        assert_eq!(read("ENTRYPOINT=[\"/x\"]"), Change::Entrypoint(strings(&["/x"])));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read("ENV A=1 B='two words' C=x\\ y"),
            Change::Env(vec![pair("A", "1"), pair("B", "two words"), pair("C", "x y")])
        );
        assert_eq!(read("ENV PATH /bin:/usr/bin"), Change::Env(vec![pair("PATH", "/bin:/usr/bin")]));
        assert_eq!(read("LABEL a.b=\"\""), Change::Label(vec![pair("a.b", "")]));
        assert_eq!(read("EXPOSE 80 53/udp"), Change::Expose(strings(&["80/tcp", "53/udp"])));
        assert_eq!(read("VOLUME [\"/a b\"]"), Change::Volume(strings(&["/a b"])));
        assert_eq!(read("USER 1:2"), Change::User("1:2".into()));
        for (text, why) in [
            ("CMD", "INSTRUCTION VALUE"),
            ("RUN apt", "RUN is not among them"),
            ("CMD [\"a\"", "JSON"),
            ("ENV A", "a value"),
            ("ENV A=1 B", "NAME=value"),
            ("LABEL a='x", "open"),
            ("EXPOSE 0", "a port"),
            ("EXPOSE 80/icmp", "a port"),
            ("WORKDIR x", "absolute"),
        ] {
            let said = text.parse::<Change>().unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn later_changes_win_by_name() {
        let mut config = Config::default();
        for text in ["ENV A=1 B=2", "ENV A=3", "CMD [\"x\"]", "CMD [\"y\"]", "EXPOSE 80", "EXPOSE 80 81"] {
            text.parse::<Change>().unwrap().apply(&mut config);
        }
        assert_eq!(config.env(), &Some(strings(&["B=2", "A=3"])));
        assert_eq!(config.cmd(), &Some(strings(&["y"])));
        assert_eq!(config.exposed_ports(), &Some(strings(&["80/tcp", "81/tcp"])));
    }
}
