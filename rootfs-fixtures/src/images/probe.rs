//! `probe`: one static program and nothing else, not even a shell.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::{Kitchen, base, write_single};
use crate::oci::{Compression, Image, Layer};
use crate::tree::{Content, Tree};

pub(super) fn make(kitchen: &Kitchen, folder: &Path, _beside: &Path) -> Result<()> {
    let mut tree = Tree::default();
    tree.program("probe", fs::read(crate::probe_program()?)?);
    tree.put("tmp", 0o1777, Content::Directory);
    tree.put("not-executable", 0o644, Content::File(b"#!/probe\n".to_vec()));
    tree.file("etc/passwd", "root:x:0:0::/:/probe\nalice:x:1000:1000::/home:/probe\n");
    tree.file("etc/group", "root:x:0:\nalice:x:1000:\nteam:x:2000:alice\n");
    let image = Image {
        architecture: kitchen.architecture.oci.into(),
        variant: None,
        layers: vec![Layer::new(&tree, Compression::Gzip)?],
        config: json!({ "Env": [base::PATH], "Entrypoint": ["/probe"] }),
    };
    write_single(folder, "probe", &image)
}

/// What containerd wants to hold a sandbox open with, for `make bench`; podrun has no need of it.
pub(super) fn make_pause(kitchen: &Kitchen, folder: &Path, _beside: &Path) -> Result<()> {
    let mut tree = Tree::default();
    tree.program("pause", fs::read(crate::probe_program()?)?);
    let image = Image {
        architecture: kitchen.architecture.oci.into(),
        variant: None,
        layers: vec![Layer::new(&tree, Compression::Gzip)?],
        config: json!({ "Env": [base::PATH], "Entrypoint": ["/pause", "sleep"] }),
    };
    write_single(folder, "pause", &image)
}
