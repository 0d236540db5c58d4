//! Debian packages as file trees: fetched by `apt-get download`, read by `dpkg-deb`, never installed.
//!
//! Invariant: a package that was fetched once is not fetched again, so that images made twice from
//! one folder of packages are equal and the second time needs no network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::tree::Tree;

/// A folder of .deb files.
#[derive(Debug)]
pub(crate) struct Packages {
    folder: PathBuf,
}

impl Packages {
    /// The packages in `folder`, which is made if needed.
    pub(crate) fn open(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("`{}`", folder.display()))?;
        Ok(Self { folder })
    }

    /// Fetches those of `names` that are not here yet, by one call of apt-get.
    pub(crate) fn fetch(&self, names: &[String]) -> Result<()> {
        let here = self.files()?;
        let missing: Vec<&String> = names.iter().filter(|name| !here.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let staging = tempfile::Builder::new().prefix(".fetch").tempdir_in(&self.folder)?;
        let mut apt = Command::new("apt-get");
        apt.args(["-qq", "-o", "Acquire::Retries=3"]).arg("download").args(&missing);
        if nix::unistd::geteuid().is_root() {
            // Else apt drops to a user of its own, who cannot write here, and warns of it.
            apt.args(["-o", "APT::Sandbox::User=root"]);
        }
        let status = apt.current_dir(staging.path()).stdin(Stdio::null()).status().context("apt-get")?;
        if !status.success() {
            bail!("`apt-get download` failed for {missing:?}\nhint: `sudo apt-get update`, then try again");
        }
        for entry in fs::read_dir(staging.path())? {
            let entry = entry?;
            fs::rename(entry.path(), self.folder.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// The file names of the packages `names`, sorted: what an image is made of.
    pub(crate) fn versions(&self, names: &[String]) -> Result<Vec<String>> {
        names.iter().map(|name| Ok(self.file(name)?.to_string_lossy().into_owned())).collect()
    }

    /// The files of one package.
    pub(crate) fn tree(&self, name: &str) -> Result<Tree> {
        let file = self.file(name)?;
        let mut child = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()
            .context("dpkg-deb")?;
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let tree = Tree::from_package(stdout).with_context(|| format!("`{}`", file.display()));
        let status = child.wait()?;
        let tree = tree?;
        if !status.success() {
            bail!("`dpkg-deb --fsys-tarfile {}`: {status}", file.display());
        }
        Ok(tree)
    }

    /// The control paragraph of one package.
    pub(crate) fn control(&self, name: &str) -> Result<String> {
        output(Command::new("dpkg-deb").arg("--field").arg(self.file(name)?))
    }

    fn file(&self, name: &str) -> Result<PathBuf> {
        let files = self.files()?;
        files.get(name).cloned().with_context(|| format!("package `{name}` was not fetched"))
    }

    fn files(&self) -> Result<BTreeMap<String, PathBuf>> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some((package, _)) = name.split_once('_').filter(|_| name.ends_with(".deb")) {
                files.insert(package.to_owned(), path);
            }
        }
        Ok(files)
    }
}

/// The words that differ from machine to machine.
#[derive(Debug, Clone)]
pub(crate) struct Architecture {
    /// OCI's word, `amd64`.
    pub(crate) oci: &'static str,
    /// The folder of shared libraries, `x86_64-linux-gnu`.
    pub(crate) triplet: &'static str,
    /// The program loader as an ELF file names it.
    pub(crate) loader: &'static str,
}

impl Architecture {
    /// This machine's.
    pub(crate) fn of_this_machine() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => {
                Ok(Self { oci: "amd64", triplet: "x86_64-linux-gnu", loader: "lib64/ld-linux-x86-64.so.2" })
            }
            "aarch64" => {
                Ok(Self { oci: "arm64", triplet: "aarch64-linux-gnu", loader: "lib/ld-linux-aarch64.so.1" })
            }
            other => bail!("no fixtures are made for `{other}`: only for x86_64 and aarch64"),
        }
    }
}

/// The packages that `debootstrap --variant=minbase` unpacks: the required ones, apt, and what they need.
pub(crate) fn minbase() -> Result<Vec<String>> {
    let paragraphs = output(Command::new("apt-cache").arg("dumpavail"))?;
    let known: BTreeMap<&str, Paragraph<'_>> =
        paragraphs.split("\n\n").filter_map(Paragraph::parse).map(|known| (known.name, known)).collect();
    let mut wanted: BTreeSet<&str> =
        known.values().filter(|package| package.required).map(|package| package.name).collect();
    wanted.insert("apt");
    let mut open: Vec<&str> = wanted.iter().copied().collect();
    while let Some(name) = open.pop() {
        let package = known.get(name).with_context(|| format!("apt knows no package `{name}`"))?;
        for alternatives in &package.needs {
            let met = wanted.iter().any(|have| {
                let gifts = known.get(have).map(|package| package.provides.as_slice()).unwrap_or_default();
                alternatives.contains(have) || gifts.iter().any(|gift| alternatives.contains(gift))
            });
            let first = alternatives.iter().find(|name| known.contains_key(*name));
            if let (false, Some(first)) = (met, first) {
                wanted.insert(first);
                open.push(first);
            }
        }
    }
    Ok(wanted.into_iter().map(str::to_owned).collect())
}

struct Paragraph<'a> {
    name: &'a str,
    required: bool,
    needs: Vec<Vec<&'a str>>,
    provides: Vec<&'a str>,
}

impl<'a> Paragraph<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
        };
        fn bare(word: &str) -> &str {
            word.trim().split([' ', '(', ':']).next().unwrap_or_default()
        }
        let relations = |value: &'a str| -> Vec<Vec<&'a str>> {
            let all = value.split(',').map(|one| one.split('|').map(bare).collect::<Vec<_>>());
            all.filter(|names| names.iter().any(|name| !name.is_empty())).collect()
        };
        let name = Some(field("Package")).filter(|name| !name.is_empty())?;
        let required = field("Priority") == "required" || field("Essential") == "yes";
        let mut needs = relations(field("Pre-Depends"));
        needs.extend(relations(field("Depends")));
        Some(Self { name, required, needs, provides: relations(field("Provides")).concat() })
    }
}

/// What `command` prints, or what it said when it failed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Writes `bytes` to a file in `folder` that is executable, for programs that are asked while building.
pub(crate) fn write_program(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    fs::write(&path, bytes)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_gives_its_relations_without_versions_and_architectures() {
        let text =
            "Package: a\nPriority: required\nPre-Depends: libc6 (>= 2.36), b:any | c\nProvides: awk (= 1)";
        let parsed = Paragraph::parse(text).unwrap();
        assert!(parsed.required);
        assert_eq!(parsed.needs, [vec!["libc6"], vec!["b", "c"]]);
        assert_eq!(parsed.provides, ["awk"]);
    }
}
