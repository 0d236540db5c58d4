//! Manifests from the command line: files, folders and standard input.
//!
//! Invariant: every document is read and checked, and what is wrong with all of them is said, before
//! anything is done with the first.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use runtime::manifest::{self, Document, Pod};
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
            Ok(documents) => pods.extend(documents.into_iter().map(|document| (name(&file), document))),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.len() == 1 {
        // Alone, it keeps its hint.
        return Err(wrong.remove(0));
    }
    if let Some(first) = wrong.first() {
        let kind = first.kind();
        let messages: Vec<&str> = wrong.iter().map(Error::message).collect();
        return Err(Error::new(kind, messages.join("\n")));
    }
    let mut placed = Vec::with_capacity(pods.len());
    let mut seen = BTreeMap::new();
    for (file, document) in pods {
        document.warnings.iter().for_each(|warning| output::note(format_args!("warning: {warning}")));
        let mut pod = document.pod;
        manifest::place(&mut pod, namespace).map_err(|error| error.context(&file))?;
        refuse_twin(&mut seen, &pod, file)?;
        placed.push(pod);
    }
    Ok(placed)
}

/// Refuses a second manifest of the same pod; `seen` has the file of each so far.
fn refuse_twin(seen: &mut BTreeMap<(String, String), String>, pod: &Pod, file: String) -> Result<()> {
    let meta = &pod.metadata;
    if meta.name.is_empty() {
        return Ok(());
    }
    match seen.entry((meta.namespace.clone(), meta.name.clone())) {
        Entry::Vacant(free) => {
            free.insert(file);
            Ok(())
        }
        Entry::Occupied(first) => {
            let message = format!("{file}: the pod {:?} is in {} already", meta.name, first.get());
            Err(Error::new(ErrorKind::Manifest, message))
        }
    }
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
    // A byte more than it may have tells that it has too many, however many come.
    let whole = |source: &mut dyn Read| {
        let mut bytes = Vec::new();
        source.take(manifest::FILE_MAX as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    };
    if is_stdin(path) {
        return whole(&mut std::io::stdin().lock()).map_err(|error| Error::from(error).context("<stdin>"));
    }
    let is_url = path.to_string_lossy().contains("://");
    File::open(path).and_then(|mut file| whole(&mut file)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound if is_url => {
            Error::failed(format!("{}: podrun reads files only", path.display()))
                .hint("fetch it: curl -sSL URL | podrun create -")
        }
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
