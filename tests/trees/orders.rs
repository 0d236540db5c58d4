//! Every order, by twos and threes, in which the entries of an upper layer can link to, hide, and replace what is below.
//!
//! Invariant: what has to come out is worked out by a model of layer.md here, and by umoci: whiteouts take away
//! what is below, what the layer itself brings stays, and the last entry of a name counts. Each case has a folder of
//! its own in one image of two layers.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{by_umoci, in_merged, lay_out};
use crate::hostile::tar::Tar;
use support::host::Host;
use support::suite::Suite;

pub(super) fn add(suite: &mut Suite) {
    suite.on_host("links whiteouts and replacements come out the same in every order", &[], as_model);
    suite.on_host_with_tool("links whiteouts and replacements come out as umoci has them", "umoci", as_umoci);
}

/// What a layer says.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Said {
    Dir(&'static str),
    File(&'static str),
    Symlink(&'static str),
    /// A hard link to what the second one names.
    Link(&'static str, &'static str),
    Hide(&'static str),
    HideAll(&'static str),
}

use Said::{Dir, File, Hide, HideAll, Link, Symlink};

const LOWER: [Said; 6] = [Dir("x"), File("x/a"), Dir("x/d"), File("x/d/f"), Symlink("x/s"), Dir("y")];

/// In every order by twos, the first [`BY_THREES`] by threes.
const UPPER: [Said; 16] = [
    Link("x/b", "x/a"),
    Link("y/b", "x/d/f"),
    Hide("x/a"),
    Hide("x/d"),
    Hide("x/d/f"),
    HideAll("x"),
    File("x/d"),
    Dir("x/d"),
    File("x/d/new"),
    Link("y/s", "x/s"),
    Link("x/a", "x/b"),
    Hide("x"),
    Hide("x/none"),
    HideAll("x/d"),
    File("x/a"),
    Dir("x/a"),
];
const BY_THREES: usize = 9;

/// Path, what is there, and whether the layer on top brought it, or something below it.
type Model = BTreeMap<String, (String, bool)>;

/// Everything that is in a tree, with the kind or the content.
type Seen = BTreeMap<String, String>;

/// Says one thing to the model; nothing comes of what no layer can say: a link to nothing, a file in a file.
fn say(model: &mut Model, said: Said, layer: &str) -> Option<()> {
    let (path, text) = match said {
        Dir(path) => (path, "dir".to_owned()),
        File(path) => (path, format!("{layer} {path}")),
        Symlink(path) => (path, "link".to_owned()),
        Link(path, target) => (path, model.get(target).filter(|(text, _)| text != "dir")?.0.clone()),
        Hide(path) | HideAll(path) => {
            let below = format!("{path}/");
            let is_hidden = |found: &str| found.starts_with(&below) || (found == path && said == Hide(path));
            model.retain(|found, (_, own)| *own || !is_hidden(found));
            return Some(());
        }
    };
    if text != "dir" || model.get(path).is_some_and(|(there, _)| *there != text) {
        let below = format!("{path}/");
        model.retain(|found, _| !found.starts_with(&below));
    }
    model.insert(path.to_owned(), (text, true));
    let mut above = path;
    while let Some((parent, _)) = above.rsplit_once('/') {
        let there = model.entry(parent.to_owned()).or_insert_with(|| ("dir".to_owned(), true));
        if there.0 != "dir" {
            return None;
        }
        there.1 = true;
        above = parent;
    }
    Some(())
}

/// The same for a tar, in the folder of the case.
fn write(tar: Tar, case: &str, said: Said, layer: &str) -> Tar {
    let at = |path: &str| format!("{case}/{path}");
    match said {
        Dir(path) => tar.dir(&at(path)),
        File(path) => tar.file(&at(path), format!("{layer} {path}").as_bytes()),
        Symlink(path) => tar.symlink(&at(path), "link"),
        Link(path, target) => tar.hard_link(&at(path), &at(target)),
        Hide(path) => {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            tar.file(&at(&format!("{parent}/.wh.{name}")), b"")
        }
        HideAll(path) => tar.file(&at(&format!("{path}/.wh..wh..opq")), b""),
    }
}

/// The two layers of all cases, and what has to come out.
fn cases() -> Result<(Vec<Vec<u8>>, Seen)> {
    let (mut lower, mut upper, mut expected) = (Tar::default(), Tar::default(), Seen::new());
    let mut below = Model::new();
    LOWER.iter().try_for_each(|said| say(&mut below, *said, "lower")).context("the lower layer")?;
    below.values_mut().for_each(|(_, own)| *own = false);
    let mut orders: Vec<Vec<Said>> = vec![vec![]];
    let mut next = 0;
    while let Some(order) = orders.get(next).cloned() {
        next += 1;
        let mut model = below.clone();
        if order.iter().try_for_each(|said| say(&mut model, *said, "upper")).is_none() {
            continue;
        }
        let those = if order.len() < 2 { &UPPER[..] } else { &UPPER[..BY_THREES] };
        if order.len() < 3 && order.iter().all(|said| order.len() < 2 || those.contains(said)) {
            let longer = those.iter().filter(|said| !order.contains(said));
            orders.extend(longer.map(|said| [order.as_slice(), &[*said]].concat()));
        }
        let case = next.to_string();
        lower = LOWER.iter().fold(lower.dir(&case), |tar, said| write(tar, &case, *said, "lower"));
        upper = order.iter().fold(upper, |tar, said| write(tar, &case, *said, "upper"));
        let named = |path: &str| format!("{case}/{path} after {order:?}");
        expected.extend(model.into_iter().map(|(path, (text, _))| (named(&path), text)));
        expected.insert(format!("{case} after {order:?}"), "dir".to_owned());
    }
    ensure!(next > 500, "{next} cases");
    Ok((vec![lower.end(), upper.end()], expected))
}

fn as_model(host: &Host) -> Result<()> {
    let (layers, expected) = cases()?;
    let folder = host.file("layout");
    lay_out(&folder, &layers)?;
    compare(&in_merged(host, &folder, see)?, &expected)
}

fn as_umoci(host: &Host) -> Result<()> {
    let (layers, expected) = cases()?;
    let (folder, tree) = (host.file("layout"), host.file("expected"));
    lay_out(&folder, &layers)?;
    by_umoci(&folder, &tree)?;
    compare(&see(&tree)?, &expected).context("umoci itself")?;
    Ok(std::fs::remove_dir_all(&tree)?)
}

/// All that is below `folder`: a name that is listed and not there is an error.
fn see(folder: &Path) -> Result<Seen> {
    let (mut seen, mut open) = (Seen::new(), vec![String::new()]);
    while let Some(below) = open.pop() {
        for entry in std::fs::read_dir(folder.join(&below))? {
            let name = entry?.file_name().into_string().ok().context("a name of ours")?;
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let full = folder.join(&path);
            let kind = std::fs::symlink_metadata(&full)
                .with_context(|| format!("{path} is listed and not there"))?
                .file_type();
            let text = if kind.is_dir() {
                open.push(path.clone());
                "dir".to_owned()
            } else if kind.is_symlink() {
                std::fs::read_link(&full)?.display().to_string()
            } else {
                std::fs::read_to_string(&full)?
            };
            seen.insert(path, text);
        }
    }
    Ok(seen)
}

/// Compares with what is `expected`, whose keys say behind the path after which entries.
fn compare(seen: &Seen, expected: &Seen) -> Result<()> {
    let mut left = seen.clone();
    let mut wrong = Vec::new();
    for (named, text) in expected {
        let path = named.split(' ').next().unwrap_or_default();
        let there = left.remove(path);
        if there.as_ref() != Some(text) {
            wrong.push(format!("{named}: {there:?}, not {text:?}"));
        }
    }
    let orders: BTreeMap<_, _> = expected.keys().filter_map(|named| named.split_once(" after ")).collect();
    for (path, text) in left {
        let case = path.split('/').next().unwrap_or_default();
        wrong.push(format!("{path} after {:?}: {text:?}, not gone", orders.get(case)));
    }
    if !wrong.is_empty() {
        bail!("{} are wrong:\n{}", wrong.len(), wrong[..wrong.len().min(30)].join("\n"));
    }
    Ok(())
}
