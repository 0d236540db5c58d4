//! Manifests from the command line: files, folders and standard input.
//!
//! Invariant: every document is read and checked, and what is wrong with all of them is said, before
//! anything is done with the first.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use runtime::pod::manifest::{self, Document, Pod};
use runtime::{Error, ErrorKind, Result};

use crate::output;

/// What a folder's manifests are called.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// Every pod in `sources` (`-` is standard input), in `namespace` where that is given.
pub(crate) fn read(sources: &[PathBuf], namespace: Option<&str>) -> Result<Vec<Pod>> {
    let mut pods = Vec::new();
    let mut wrong: Vec<Error> = Vec::new();
    for file in files(sources)? {
        match documents(&file) {
            Ok(documents) => pods.extend(documents),
            Err(error) => wrong.push(error),
        }
    }
    if let Some(first) = wrong.first() {
        let kind = first.kind();
        let messages: Vec<&str> = wrong.iter().map(Error::message).collect();
        return Err(Error::new(kind, messages.join("\n")));
    }
    let mut placed = Vec::with_capacity(pods.len());
    for document in pods {
        document.warnings.iter().for_each(|warning| output::note(format_args!("warning: {warning}")));
        let mut pod = document.pod;
        manifest::place(&mut pod, namespace)?;
        placed.push(pod);
    }
    refuse_twins(&placed)?;
    Ok(placed)
}

fn refuse_twins(pods: &[Pod]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for pod in pods.iter().filter(|pod| !pod.metadata.name.is_empty()) {
        if !seen.insert((&pod.metadata.namespace, &pod.metadata.name)) {
            let message = format!("two of the manifests are of the pod {:?}", pod.metadata.name);
            return Err(Error::new(ErrorKind::Manifest, message));
        }
    }
    Ok(())
}

/// The pods of one file, not placed in a namespace yet.
pub(crate) fn documents(file: &Path) -> Result<Vec<Document>> {
    manifest::parse(&name(file), &bytes(file)?)
}

/// What messages call a file.
pub(crate) fn name(file: &Path) -> String {
    if is_stdin(file) { "<stdin>".to_owned() } else { file.display().to_string() }
}

/// The files in `sources`; a folder stands for the manifests in it, by name.
pub(crate) fn files(sources: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for source in sources {
        if is_stdin(source) || !source.is_dir() {
            files.push(source.clone());
            continue;
        }
        let context = |error: std::io::Error| Error::from(error).context(source.display());
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(source).map_err(context)? {
            let path = entry.map_err(context)?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) && path.is_file() {
                inside.push(path);
            }
        }
        if inside.is_empty() {
            let message = format!("{}: no .json, .yaml or .yml file in it", source.display());
            return Err(Error::new(ErrorKind::Usage, message));
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    if is_stdin(path) {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(|error| Error::from(error).context("<stdin>"))?;
        return Ok(bytes);
    }
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::failed(format!("{}: no such file", path.display())),
        _ => Error::from(error).context(path.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_manifests_by_name() {
        let folder = std::env::temp_dir().join(format!("podrun-manifests-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("sub.json")).unwrap();
        for name in ["b.yaml", "a.json", "c.txt"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let found = files(&[folder.clone(), "-".into()]).unwrap();
        assert_eq!(found, [folder.join("a.json"), folder.join("b.yaml"), "-".into()]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
