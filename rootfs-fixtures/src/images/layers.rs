//! `layers`: all that a layer can say, in four layers over the probe; and `platforms`: one index for
//! several platforms, nested as buildx nests it.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Kitchen, base, reference, write_single};
use crate::oci::{self, Compression, Image, Layer, Layout};
use crate::tree::{Content, Tree};

/// The layers from the lowest up. What is left at the end is listed in /expected, for a test to compare.
fn trees() -> Result<Vec<Tree>> {
    let mut first = Tree::default();
    first.program("probe", fs::read(crate::probe_program()?)?);
    first.file("removed/by-whiteout", "gone");
    first.file("removed-folder/inside", "gone");
    first.file("opaque/old", "gone");
    first.file("opaque/deep/old", "gone");
    first.file("kept/lower", "lower");
    first.file("replaced", "old");
    first.file("file-becomes-folder", "old");
    first.file("folder-becomes-file/inside", "gone");
    first.file("link-becomes-folder-target/kept", "kept");
    first.symlink("link-becomes-folder", "link-becomes-folder-target");
    first.file("linked", "one file of three names");
    first.put("setuid", 0o4755, Content::File(b"setuid".to_vec()));
    first.put("setgid-folder", 0o2775, Content::Directory);
    let owned = first.put("owned", 0o640, Content::File(b"owned".to_vec()));
    (owned.uid, owned.gid) = (1234, 5678);
    let tagged = first.file("tagged", "with xattrs");
    tagged.xattrs.push(("user.podrun".into(), b"a value\0with a nul".to_vec()));
    // cap_net_raw=ep, revision 2 of the kernel's vfs_cap_data.
    let capable = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    first
        .program("capable", "has a capability")
        .xattrs
        .push(("security.capability".into(), capable.to_vec()));
    let holes = vec![(0, b"head".repeat(128)), (1 << 20, b"middle".to_vec())];
    first.put("sparse-old", 0o644, Content::Sparse { size: 4 << 20, data: holes.clone(), pax: false });
    first.put("sparse-pax", 0o644, Content::Sparse { size: 4 << 20, data: holes, pax: true });
    first.put("fifo", 0o600, Content::Fifo);
    first.put("null", 0o666, Content::CharDevice { major: 1, minor: 3 });
    first.file(&format!("long/{}/{}", "d".repeat(120), "f".repeat(180)), "a long path");

    let mut second = Tree::default();
    second.file("removed/.wh.by-whiteout", "");
    second.file(".wh.removed-folder", "");
    second.file("opaque/.wh..wh..opq", "");
    second.file("opaque/new", "new");
    second.file("kept/upper", "upper");
    second.file("replaced", "new");
    second.file("file-becomes-folder/inside", "new");
    second.file("folder-becomes-file", "new");
    second.file("link-becomes-folder/new", "new");
    second.file("whiteout-and-again", "first");

    let mut third = Tree::default();
    third.hard_link("linked-again", "linked");
    third.hard_link("linked-third", "linked");
    third.file(".wh.whiteout-and-again", "");
    third.file("removed/again", "again");
    let uid = third.file("tagged-upper", "also");
    uid.xattrs.push(("user.podrun".into(), b"upper".to_vec()));

    let mut fourth = Tree::default();
    fourth.file("whiteout-and-again", "second");
    fourth.file("expected", EXPECTED);
    Ok(vec![first, second, third, fourth])
}

/// `path content` of every file whose content the layers decide.
const EXPECTED: &str = "\
file-becomes-folder/inside new
folder-becomes-file new
kept/lower lower
kept/upper upper
link-becomes-folder-target/kept kept
link-becomes-folder/new new
opaque/new new
removed/again again
replaced new
whiteout-and-again second
";

pub(super) fn make_layers(kitchen: &Kitchen, folder: &Path, beside: &Path) -> Result<()> {
    let trees = trees()?;
    let kinds = [Compression::Gzip, Compression::Plain, Compression::Zstd, Compression::Gzip];
    let layers = trees.iter().zip(kinds).map(|(tree, kind)| Layer::new(tree, kind)).collect::<Result<_>>()?;
    let image = Image {
        architecture: kitchen.architecture.oci.into(),
        variant: None,
        layers,
        config: json!({
            "Env": [base::PATH, "FROM_IMAGE=yes"],
            "Entrypoint": ["/probe"],
            "Cmd": ["report"],
            "User": "1234:5678",
            "WorkingDir": "/kept",
            "Volumes": { "/volume": {} },
            "StopSignal": "SIGUSR1",
        }),
    };
    fs::create_dir_all(beside)?;
    let docker = oci::docker_archive(&image, &trees.iter().collect::<Vec<_>>(), &reference("layers"))?;
    fs::write(beside.join("layers.docker.tar"), docker)?;
    write_single(folder, "layers", &image)
}

/// This machine's image stands last, behind others' and an attestation, so that taking the first is seen.
pub(super) fn make_platforms(kitchen: &Kitchen, folder: &Path, _beside: &Path) -> Result<()> {
    let layout = Layout::create(folder)?;
    let own = kitchen.architecture.oci;
    let mut manifests: Vec<Value> = Vec::new();
    for (architecture, variant) in
        [("arm64", Some("v8")), ("arm", Some("v7")), ("s390x", None), ("amd64", None)]
    {
        if architecture != own {
            manifests.push(platform(&layout, architecture, variant)?);
        }
    }
    let mut attestation = platform(&layout, "unknown", None)?;
    attestation["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
    attestation["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    manifests.push(attestation);
    manifests.push(platform(&layout, own, None)?);
    let index = json!({ "schemaVersion": 2, "mediaType": oci::INDEX, "manifests": manifests });
    let descriptor = layout.blob(oci::INDEX, index.to_string().as_bytes())?;
    layout.finish(descriptor, &reference("platforms"))
}

fn platform(layout: &Layout, architecture: &str, variant: Option<&str>) -> Result<Value> {
    let mut tree = Tree::default();
    tree.program("probe", fs::read(crate::probe_program()?)?);
    tree.file("platform", format!("linux/{architecture}\n"));
    layout.image(&Image {
        architecture: architecture.into(),
        variant: variant.map(str::to_owned),
        layers: vec![Layer::new(&tree, Compression::Gzip)?],
        config: json!({ "Env": [base::PATH, format!("PLATFORM={architecture}")], "Entrypoint": ["/probe"] }),
    })
}
