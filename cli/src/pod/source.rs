//! The manifests a command line names: files, folders and standard input.
//!
//! Invariant: a folder stands for its .json, .yaml and .yml files in the order of their names, as
//! kubectl reads it; standard input is read once, however often `-` is given.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use runtime::pod::manifest::{self, Document};
use runtime::{Error, ErrorKind, Result};

use crate::output;

/// One manifest, not looked into yet.
#[derive(Debug)]
pub(crate) struct Source {
    /// What errors call it.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

impl Source {
    /// Its pods, each put into the namespace that was asked for.
    pub(crate) fn documents(&self, namespace: Option<&str>) -> Result<Vec<Document>> {
        let mut documents = manifest::parse(&self.name, &self.bytes)?;
        for document in &mut documents {
            manifest::place(&mut document.pod, namespace).map_err(|error| error.context(&self.name))?;
        }
        Ok(documents)
    }
}

/// Every pod of every manifest, or everything that is wrong with them. Warnings go to stderr.
#[expect(dead_code, reason = "create and delete -f read their manifests by it as soon as they are here")]
pub(crate) fn documents(paths: &[PathBuf], namespace: Option<&str>) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut refused: Option<Error> = None;
    for source in read(paths)? {
        match (source.documents(namespace), &mut refused) {
            (Ok(more), _) => documents.extend(more),
            (Err(error), Some(first)) => {
                let message = format!("{}\n{}", first.message(), error.message());
                refused = Some(Error::new(first.kind(), message));
            }
            (Err(error), None) => refused = Some(error),
        }
    }
    if let Some(error) = refused {
        return Err(error);
    }
    for warning in documents.iter().flat_map(|document: &Document| &document.warnings) {
        output::note(format_args!("warning: {warning}"));
    }
    Ok(documents)
}

/// Reads everything that `paths` name.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut stdin_read = false;
    for path in paths {
        if path.as_os_str() == "-" {
            if !std::mem::replace(&mut stdin_read, true) {
                sources.push(stdin()?);
            }
        } else if path.is_dir() {
            for file in folder(path)? {
                sources.push(self::file(&file)?);
            }
        } else {
            sources.push(self::file(path)?);
        }
    }
    Ok(sources)
}

fn stdin() -> Result<Source> {
    let mut bytes = Vec::new();
    let name = "standard input";
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| Error::from(error).context(name))?;
    Ok(Source { name: name.into(), bytes })
}

fn file(path: &Path) -> Result<Source> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::failed(format!("{name}: no such file")),
        _ => Error::from(error).context(&name),
    })?;
    Ok(Source { name, bytes })
}

/// The manifests of a folder, in the order of their names.
fn folder(path: &Path) -> Result<Vec<PathBuf>> {
    let named = |error: std::io::Error| Error::from(error).context(path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(named)? {
        let file = entry.map_err(named)?.path();
        let is_manifest =
            file.extension().is_some_and(|end| ["json", "yaml", "yml"].iter().any(|e| end == *e));
        if is_manifest && !file.is_dir() {
            files.push(file);
        }
    }
    if files.is_empty() {
        let message = format!("{}: no .json, .yaml or .yml file in it", path.display());
        return Err(Error::new(ErrorKind::Usage, message));
    }
    files.sort();
    Ok(files)
}
