//! What podrun unpacks is what GNU tar and umoci make of the same layers: path, type, mode, owner, size,
//! time, device, link, attributes, content and which names are one file.

mod orders;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use runtime::sys::file::xattr;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::hostile::tar::{Layout, Tar, architecture, digest, gzip};
use support::fixtures;
use support::host::Host;
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    let tar = |host: &Host| FIXTURES.iter().try_for_each(|fixture| as_tar(host, fixture));
    suite.on_host("every fixture unpacks to the tree that GNU tar makes of it", &[], tar);
    // umoci takes no platform out of an index.
    let umoci = |host: &Host| {
        FIXTURES.iter().filter(|name| **name != "platforms").try_for_each(|fixture| as_umoci(host, fixture))
    };
    suite.on_host_with_tool("every fixture unpacks to the tree that umoci makes of it", "umoci", umoci);
    orders::add(suite);
    suite.on_host("an image of 127 layers is run with all of them", &[], many_layers);
    let tar = |host: &Host| SYSTEMS.iter().try_for_each(|fixture| as_tar(host, fixture));
    suite.on_host_with_big(
        "a big system unpacks to the tree that GNU tar makes of it",
        SYSTEMS[0],
        None,
        tar,
    );
    let umoci = |host: &Host| as_umoci(host, SYSTEMS[0]);
    let tool = Some("umoci");
    suite.on_host_with_big(
        "a big system unpacks to the tree that umoci makes of it",
        SYSTEMS[0],
        tool,
        umoci,
    );
}

/// How many layers docker allows an image, and more than overlayfs takes by the old way of one string.
const LAYERS: usize = 127;

fn many_layers(host: &Host) -> Result<()> {
    let mut layers = plain_layers("busybox")?;
    let tiny = |number: usize| Tar::default().dir("many").file(&format!("many/{number}"), b"here").end();
    layers.extend((layers.len()..LAYERS).map(tiny));
    let folder = host.file("layout");
    lay_out(&folder, &layers)?;
    let loaded = host.podrun(&["load", "-q", &folder.to_string_lossy()])?.ok()?;
    let run =
        ["run", "many", "--rm", "-i", "--image", loaded.trim(), "--", "sh", "-c", "cat /many/* | wc -c"];
    let said = host.podrun(&run)?.ok()?;
    ensure!(said.trim() == (4 * (LAYERS - 1)).to_string(), "{said}");
    host.podrun(&["rmi", loaded.trim()])?.ok()?;
    Ok(())
}

/// A Debian system of two layers and more than 30,000 files, by gzip and by zstd.
const SYSTEMS: [&str; 2] = ["system", "system.zstd"];

const FIXTURES: [&str; 8] = ["busybox", "httpd", "layers", "nginx", "platforms", "probe", "redis", "debian"];

/// A path with all that there is to say of it, in one line.
pub(crate) type Tree = BTreeMap<String, String>;

fn as_tar(host: &Host, fixture: &'static str) -> Result<()> {
    let expected = host.file("expected");
    std::fs::create_dir(&expected)?;
    for layer in plain_layers(fixture)? {
        apply(&layer, &expected)?;
    }
    let ours = merged(host, &fixtures::path(fixture)?)?;
    compare(&ours, &look(&expected)?).context(fixture)?;
    Ok(std::fs::remove_dir_all(&expected)?)
}

fn as_umoci(host: &Host, fixture: &'static str) -> Result<()> {
    // It knows no sparse files of GNU's old form, the only thing that is left out here.
    let layers: Vec<_> = plain_layers(fixture)?.iter().map(|layer| without_old_sparse(layer)).collect();
    let folder = host.file("layout");
    let expected = host.file("expected");
    lay_out(&folder, &layers)?;
    by_umoci(&folder, &expected)?;
    compare(&merged(host, &folder)?, &look(&expected)?).context(fixture)?;
    std::fs::remove_dir_all(&expected)?;
    Ok(std::fs::remove_dir_all(&folder)?)
}

/// Makes a layout of plain `layers`, compressed.
fn lay_out(folder: &Path, layers: &[Vec<u8>]) -> Result<()> {
    let stored = layers.iter().map(|layer| Ok((digest(layer), gzip(layer)?))).collect::<Result<Vec<_>>>()?;
    Layout::stored(folder, &stored, &json!({}))
}

/// Has umoci unpack the image in `layout` to `folder`.
fn by_umoci(layout: &Path, folder: &Path) -> Result<()> {
    let umoci = fixtures::tool("umoci").context("umoci")?;
    let image = format!("{}:{}", layout.display(), crate::hostile::tar::NAME);
    let output = Command::new(&umoci).args(["raw", "unpack", "--image", &image]).arg(folder).output()?;
    ensure!(output.status.success(), "umoci: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The layers of a fixture for this machine, decompressed, the lowest first.
fn plain_layers(fixture: &str) -> Result<Vec<Vec<u8>>> {
    let layout = fixtures::path(fixture)?;
    let read = |digest: &Value| -> Result<Vec<u8>> {
        let digest = digest.as_str().context("digest")?;
        Ok(std::fs::read(layout.join("blobs").join(digest.replace(':', "/")))?)
    };
    let mut document: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    while let Some(manifests) = document["manifests"].as_array() {
        let ours = manifests.iter().find(|one| one["platform"]["architecture"] == architecture());
        document = serde_json::from_slice(&read(&ours.unwrap_or(&manifests[0])["digest"])?)?;
    }
    let layers = document["layers"].as_array().context("layers")?;
    layers.iter().map(|layer| plain(&read(&layer["digest"])?)).collect()
}

fn plain(stored: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    match stored {
        [0x1f, 0x8b, ..] => {
            flate2::read::MultiGzDecoder::new(stored).read_to_end(&mut plain)?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => plain = zstd::decode_all(stored)?,
        _ => plain = stored.to_vec(),
    }
    Ok(plain)
}

/// `layer` without its entries of type `S`, whose map is in the header and whose content follows.
fn without_old_sparse(layer: &[u8]) -> Vec<u8> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at + 512 <= layer.len() {
        let header = &layer[at..at + 512];
        let octal = String::from_utf8_lossy(&header[124..135]).trim_matches(['\0', ' ']).to_owned();
        let size = usize::from_str_radix(&octal, 8).unwrap_or(0);
        let end = (at + 512 + size.next_multiple_of(512)).min(layer.len());
        if header[156] != b'S' {
            kept.extend_from_slice(&layer[at..end]);
        }
        at = end;
    }
    kept
}

/// Puts a layer on top of `folder` by GNU tar, its whiteouts first, and what becomes something else.
fn apply(layer: &[u8], folder: &Path) -> Result<()> {
    for entry in tar::Archive::new(layer).entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let is_folder = std::fs::symlink_metadata(folder.join(&path)).is_ok_and(|there| there.is_dir());
        if is_folder != entry.header().entry_type().is_dir() {
            remove(&folder.join(&path))?;
        }
        let Some(hidden) = path.file_name().and_then(|name| name.to_str()?.strip_prefix(".wh.")) else {
            continue;
        };
        let parent = folder.join(path.parent().context("a whiteout lies in a folder")?);
        if hidden == ".wh..opq" {
            if let Ok(entries) = std::fs::read_dir(&parent) {
                entries.flatten().try_for_each(|entry| remove(&entry.path()))?;
            }
        } else {
            remove(&parent.join(hidden))?;
        }
    }
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--file=-", "--preserve-permissions", "--same-owner", "--numeric-owner"]);
    tar.args([
        "--delay-directory-restore",
        "--xattrs",
        "--xattrs-include=*",
        "--exclude=.wh.*",
        "--directory",
    ]);
    let mut child = tar.arg(folder).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().context("tar")?;
    let written = child.stdin.take().context("stdin is a pipe")?.write_all(layer);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
    Ok(written?)
}

fn remove(path: &Path) -> Result<()> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let removed = if meta.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    Ok(removed?)
}

/// The tree that a container of this image has: its layers under overlayfs.
fn merged(host: &Host, layout: &Path) -> Result<Tree> {
    in_merged(host, layout, look)
}

/// What `see` makes of that tree.
fn in_merged<T>(host: &Host, layout: &Path, see: impl Fn(&Path) -> Result<T>) -> Result<T> {
    host.podrun(&["load", "-q", &layout.to_string_lossy()])?.ok()?;
    let images: Value = serde_json::from_str(&host.podrun(&["images", "-o", "json"])?.ok()?)?;
    let layers = images[0]["layers"].as_array().context("layers")?;
    let mut lower = Vec::new();
    for layer in layers.iter().rev() {
        let hex = layer.as_str().and_then(|id| id.strip_prefix("sha256:")).context("a chain id")?;
        lower.push(host.root().join("layers").join(hex).join("tree").to_string_lossy().into_owned());
    }
    // One layer alone is no overlay.
    host.script(&format!(
        "mkdir -p /run/merged /run/empty; mount -t overlay overlay -o ro,lowerdir={}:/run/empty /run/merged",
        lower.join(":")
    ))?
    .ok()?;
    let seen = see(&host.path("/run/merged"));
    host.script("umount /run/merged; rmdir /run/merged /run/empty")?.ok()?;
    host.podrun(&["rmi", "--force", images[0]["id"].as_str().context("id")?])?.ok()?;
    seen
}

/// All that is below `folder`; of the folder itself only what an image decides.
pub(crate) fn look(folder: &Path) -> Result<Tree> {
    let (mut tree, mut names) = (Tree::new(), BTreeMap::new());
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(folder.join(&below))
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
            .with_context(|| format!("`{}`", below.display()))?;
        entries.sort();
        for name in entries {
            let below = below.join(name);
            let path = folder.join(&below);
            let meta = std::fs::symlink_metadata(&path)?;
            let kind = meta.file_type();
            let mut line = format!(
                "{:o} {}:{} {}.{:09}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec()
            );
            if kind.is_char_device() || kind.is_block_device() {
                line.push_str(&format!(" device {:x}", meta.rdev()));
            }
            if kind.is_symlink() {
                line.push_str(&format!(" -> {:?}", std::fs::read_link(&path)?));
            }
            if kind.is_file() {
                let bytes = std::fs::read(&path)?;
                line.push_str(&format!(" {} bytes {:x?}", bytes.len(), &Sha256::digest(&bytes)[..8]));
            }
            if kind.is_file() || kind.is_dir() {
                line.push_str(&attributes(&path)?);
            }
            if kind.is_dir() {
                open.push(below.clone());
            } else if meta.nlink() > 1 {
                let first = names.entry((meta.dev(), meta.ino())).or_insert_with(|| below.clone());
                line.push_str(&format!(" is {}", first.display()));
            }
            tree.insert(String::from_utf8_lossy(below.as_os_str().as_bytes()).into_owned(), line);
        }
    }
    ensure!(!tree.is_empty(), "nothing in `{}`", folder.display());
    Ok(tree)
}

fn attributes(path: &Path) -> Result<String> {
    let file = File::open(path)?;
    let mut names = xattr::list(&file).map_err(|error| anyhow::anyhow!("{error}"))?;
    names.sort();
    let mut text = String::new();
    for name in names.iter().filter(|name| name.as_slice() != b"security.selinux") {
        let value = xattr::get(&file, name).map_err(|error| anyhow::anyhow!("{error}"))?;
        text.push_str(&format!(" {}={:x?}", String::from_utf8_lossy(name), value.unwrap_or_default()));
    }
    Ok(text)
}

pub(crate) fn compare(ours: &Tree, theirs: &Tree) -> Result<()> {
    let mut wrong: Vec<String> = Vec::new();
    for path in ours.keys().chain(theirs.keys().filter(|path| !ours.contains_key(*path))) {
        let nothing = "nothing".to_owned();
        let (own, other) = (ours.get(path).unwrap_or(&nothing), theirs.get(path).unwrap_or(&nothing));
        if own != other {
            wrong.push(format!("{path}\n  ours   {own}\n  theirs {other}"));
        }
    }
    if !wrong.is_empty() {
        bail!("{} of {} differ:\n{}", wrong.len(), ours.len(), wrong[..wrong.len().min(20)].join("\n"));
    }
    Ok(())
}
