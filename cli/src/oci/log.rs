//! Errors and warnings, where a caller of runc looks for them: stderr, and the file of `--log`, as text or JSON.
//!
//! Invariant: an error is said once in each place. A log that cannot be opened is an error, before anything is done; one that
//! cannot be written later is said on stderr and stops nothing.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use runtime::time::Time;
use runtime::{Error, Result};

use crate::output;

/// The form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// `time="…" level=error msg="…"`
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`
    Json,
}

/// Where to say things.
#[derive(Debug)]
pub(super) struct Log {
    file: Option<File>,
    format: Format,
    debug: bool,
}

impl Log {
    pub(super) fn open(path: Option<&Path>, format: Format, debug: bool) -> Result<Self> {
        let open = |path: &Path| {
            let opened = File::options().append(true).create(true).open(path);
            opened.map_err(|error| Error::from(error).context(format!("--log {}", path.display())))
        };
        Ok(Self { file: path.map(open).transpose()?, format, debug })
    }

    /// One that is stderr alone.
    pub(super) fn of_stderr() -> Self {
        Self { file: None, format: Format::Text, debug: false }
    }

    /// The error that ended the command.
    pub(super) fn error(&self, error: &Error) {
        let text = match error.hint_text() {
            Some(hint) => format!("{} ({hint})", error.message()),
            None => error.message().to_owned(),
        };
        self.write("error", &text);
        output::note(format_args!("podrun-oci: {}", error.message()));
        if let Some(hint) = error.hint_text() {
            output::note(format_args!("hint: {hint}"));
        }
    }

    /// Clamped or omitted values.
    pub(super) fn warning(&self, text: &str) {
        self.write("warning", text);
        if self.file.is_none() {
            output::note(format_args!("podrun-oci: warning: {text}"));
        }
    }

    /// A detail, with `--debug`.
    pub(super) fn debug(&self, text: &str) {
        if !self.debug {
            return;
        }
        self.write("debug", text);
        if self.file.is_none() {
            output::note(format_args!("podrun-oci: {text}"));
        }
    }

    fn write(&self, level: &str, text: &str) {
        let Some(mut file) = self.file.as_ref() else { return };
        let line = line(self.format, Time::now(), level, text);
        if let Err(error) = file.write_all(line.as_bytes()) {
            output::note(format_args!("podrun-oci: --log: {error}"));
        }
    }
}

fn line(format: Format, time: Time, level: &str, text: &str) -> String {
    match format {
        Format::Json => {
            let entry = serde_json::json!({"level": level, "msg": text, "time": time.to_string()});
            format!("{entry}\n")
        }
        Format::Text => format!("time=\"{time}\" level={level} msg={text:?}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_callers_parse_them() {
        let time = Time::from_unix(0);
        assert_eq!(
            line(Format::Json, time, "error", "a \"b\""),
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
        assert_eq!(
            line(Format::Text, time, "warning", "a"),
            "time=\"1970-01-01T00:00:00Z\" level=warning msg=\"a\"\n"
        );
    }
}
