//! Images that were made to do harm: every one ends in an error that names image, layer and entry, or in an
//! image that does none. Each is loaded twice, the second time beside a neighbour that swaps the store's
//! and the layout's directories for links out of them all the while.
//!
//! Invariant: after each the canary beside the store is as it was, and a refused image left nothing.

pub(crate) mod racer;
pub(crate) mod tar;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use racer::Racer;
use support::host::Host;
use support::run::Outcome;
use support::suite::Suite;
use tar::{CONFIG, INDEX, LAYER, Layout, MANIFEST, NAME, Tar, architecture, digest, gzip};

/// The exit code of an image that is not what it says.
const IMAGE: i32 = 6;
/// What podrun may have of memory that it can write, in kB: far less than any of these ask for.
const MEMORY: u32 = 300_000;

/// A hundred thousand files take their time where other tests run too.
const LONG: Duration = Duration::from_secs(300);

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("an entry that leads out of its layer is refused by name", &[], entries);
    suite.on_host("a stream that lies or never ends is refused with its limit", &[], streams);
    suite.on_host("a manifest that lies is refused before its layers", &[], manifests);
    suite.on_host("an entry that looks as if it led out stays inside", &[], insiders);
    suite.on_host("many entries deep folders and setuid files stay in the store", &[], crowds);
    suite.on_host("a hostile image changes nothing while a neighbour swaps its folders", &[], raced);
    suite.on_host("an image that steers terminals or names podrun's labels is data", &[], data);
    suite.on_host("a device in a user namespace is refused by name", &[], device_in_a_user_namespace);
}

/// An image of plain layers, and what podrun must say of it; nothing: it must take it.
struct Case {
    layers: Vec<Vec<u8>>,
    says: &'static str,
}

fn refused(says: &'static str, layer: Tar) -> Case {
    Case { layers: vec![layer.end()], says }
}

/// Every entry that must be refused. `canary` is an absolute path outside of the store.
fn hostile_entries(canary: &str) -> Vec<Case> {
    let t = Tar::default;
    let up = "leads upwards";
    let mut cases = vec![
        refused(up, t().file("../../../../files/canary/x", b"x")),
        refused(up, t().file("a/../../x", b"x")),
        refused(up, t().dir("a/..")),
        refused(up, t().symlink("../x", "y")),
        refused(up, t().hard_link("x", "../../../../files/canary/secret")),
        refused("is not there", t().hard_link("x", &format!("{canary}/secret"))),
        refused("is not there", t().symlink("out", canary).hard_link("x", "out/secret")),
        refused("is not there", t().symlink("out", canary).file("f", b"").hard_link("out/x", "none")),
        refused("is no file", t().dir("d").hard_link("x", "d")),
        refused("only be a directory", t().symlink("./", canary)),
        refused("only be a directory", t().hard_link("/", "x")),
        refused("only be a directory", t().file("", b"x")),
        refused("NUL", t().pax(&[("path", b"a\0b")]).file("x", b"")),
        refused("must say where to", t().pax(&[("linkpath", b"a\0b")]).symlink("x", "y")),
        refused("ENAMETOOLONG", t().pax(&[("path", "n".repeat(300).as_bytes())]).file("x", b"")),
        refused("path exceeds limit", t().pax(&[("path", "n/".repeat(3000).as_bytes())]).file("x", b"")),
        refused("not a directory", t().file("a", b"").file("a/b", b"")),
        refused("too many symbolic links", t().symlink("a", "b").symlink("b", "a").file("a/x", b"")),
        refused("overlayfs", t().device("x", b'3', (0, 0))),
        refused("no device", t().device("x", b'4', (4096, 0))),
        refused("owner that is no user id", t().pax(&[("uid", b"4294967295")]).file("x", b"")),
        refused("group that is no group id", t().pax(&[("gid", b"1099511627776")]).file("x", b"")),
        refused("tar archive", t().pax(&[("uid", b"-1")]).file("x", b"")),
        refused("size", t().sized("x", &[0xff; 12])),
        refused("size that no file has", t().sized("x", &[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        refused("tar archive", t().sized("x", b"-0000000010\0")),
        refused("tar archive", t().pax(&[("size", b"-1")]).file("x", b"")),
        refused("size that no file has", t().pax(&[("size", b"18446744073709551104")]).file("x", b"")),
        refused("more than 68719476736 bytes", t().pax(&[("size", b"9223372036854775807")]).file("x", b"")),
        refused("more than 68719476736 bytes", t().sized("x", &[0x80, 0, 0, 0, 0, 0, 0, 0x11, 0, 0, 0, 0])),
        refused("type", t().mode("x", b'?', 0o644)),
        refused("type", t().mode("x", b'M', 0o644)),
        refused("global header", t().global(&[("path", b"/etc/x")]).file("x", b"")),
        refused("global header", t().global(&[("size", b"0")]).file("x", b"")),
        refused(
            "sparse",
            t().pax(&[("GNU.sparse.map", b"0,9000000000000000000"), ("GNU.sparse.size", b"1")])
                .file("s", b"x"),
        ),
        refused("tar archive", t().pax(&[("path", b"p")]).pax(&[("path", b"q")]).file("x", b"")),
        refused("metadata exceeds limit", t().entry("x", b'x', 64 << 20).body(&[b'1'; 4096])),
        refused(
            "metadata exceeds limit",
            t().entry("././@LongLink", b'L', 2 << 20).body(&[b'a'; 2 << 20]).file("x", b""),
        ),
        refused(
            "larger than 65536 bytes",
            t().pax(&[("SCHILY.xattr.user.big", &[b'v'; 70_000])]).file("x", b""),
        ),
    ];
    let sparse: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", b"9000000000000000000"),
    ];
    let map = format!("1000000000\n{}", "0\n1\n".repeat(20_000));
    cases.push(refused("tar archive", t().pax(sparse).file("s", map.as_bytes())));
    cases.push(refused("more than 68719476736 bytes", t().pax(sparse).file("s", &padded(b"1\n0\n0\n"))));
    for name in
        [".wh.", ".wh..", ".wh...", "d/.wh..", "d/.wh..wh.x", ".wh..wh..opq/x", ".wh.d/x", "d/.wh..wh..opq/x"]
    {
        cases.push(refused("whiteout", t().dir("d").file(name, b"")));
    }
    // In a layer above another, where whiteouts do something.
    for name in [".wh..", ".wh...", ".wh."] {
        cases.push(Case {
            layers: vec![t().file("f", b"").end(), t().file(name, b"").end()],
            says: "whiteout",
        });
    }
    cases
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(padded.len().next_multiple_of(512), 0);
    padded
}

/// What looks hostile and is harmless inside.
fn harmless_entries(canary: &str) -> Vec<Case> {
    let taken = |layers: Vec<Tar>| Case { layers: layers.into_iter().map(Tar::end).collect(), says: "" };
    let t = Tar::default;
    let long = vec!["d"; 2000].join("/");
    vec![
        taken(vec![t().file("/etc/passwd", b"x").file("//etc/./shadow", b"y").dir("foo/.")]),
        taken(vec![t().symlink("out", canary).file("out/x", b"x").mode("out", b'5', 0o700)]),
        taken(vec![t().symlink("a", canary).hard_link("b", "a").file("b/x", b"x")]),
        taken(vec![t().symlink("up", "../../../../../files/canary").file("up/x", b"x")]),
        taken(vec![t().symlink("p", "/proc/self/root").file("p/x", b"x")]),
        taken(vec![t().dir("d").file("d/one", b"1").symlink("d", canary).file("d/secret", b"x")]),
        taken(vec![t().dir("d").file("d/x", b"1").file("d", b"2").dir("d").file("d/y", b"3")]),
        taken(vec![t().file("f", b"old").file("f", b"new").symlink("f", canary).file("f", b"last")]),
        taken(vec![t().symlink("etc", canary), t().file("etc/x", b"x").file("etc/.wh.secret", b"")]),
        taken(vec![t().dir("etc"), t().symlink("etc", canary), t().file("etc/x", b"x")]),
        taken(vec![t().file("f", b"f"), t().file(".wh..wh..opq", b"").file("g", b"")]),
        taken(vec![t().file("f", b"f"), t().hard_link("g", "f").file(".wh.f", b"")]),
        taken(vec![
            t().dir(".wh..wh.plnk").file(".wh..wh.plnk/1.2", b"x").hard_link("f", ".wh..wh.plnk/1.2"),
        ]),
        taken(vec![
            t().symlink(".wh..wh.plnk", canary).file(".wh..wh.plnk/secret", b"x").file(".wh..wh.x", b""),
        ]),
        taken(vec![t().file("line\nfeed", b"").file("\u{1b}[31mred", b"").file("-rf", b"").file("...", b"")]),
        taken(vec![t().pax(&[("path", long.as_bytes())]).file("x", b"deep")]),
        taken(vec![
            t().pax(&[("path", long.as_bytes())])
                .mode("x", b'5', 0o755)
                .pax(&[("linkpath", &long.as_bytes()[..3999])])
                .symlink("down", "x")
                .pax(&[("path", format!("down/{}", &long[..2999]).as_bytes())])
                .file("x", b"deeper"),
        ]),
        taken(vec![
            t().pax(&[
                ("SCHILY.xattr.trusted.overlay.redirect", canary.as_bytes()),
                ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                ("SCHILY.xattr.user.overlay.redirect", canary.as_bytes()),
                ("SCHILY.xattr.security.selinux", b"label"),
            ])
            .file("x", b""),
        ]),
        taken(vec![]),
        taken(vec![t()]),
    ]
}

/// What is at each path: mode, links, time and content.
type Tree = BTreeMap<PathBuf, (u32, u64, i64, Vec<u8>)>;

/// Everything in the canary, so that two looks can be compared.
fn look(folder: &Path) -> Result<Tree> {
    let mut seen = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let meta = std::fs::symlink_metadata(&path)?;
        let content = if meta.is_file() { std::fs::read(&path)? } else { Vec::new() };
        if meta.is_dir() {
            open.extend(
                std::fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?,
            );
        }
        seen.insert(path, (meta.mode(), meta.nlink(), meta.mtime(), content));
    }
    Ok(seen)
}

/// A host with something beside its store that must not change.
struct Bench<'a> {
    host: &'a Host,
    canary: PathBuf,
    before: BTreeMap<PathBuf, (u32, u64, i64, Vec<u8>)>,
    count: std::cell::Cell<u32>,
}

impl<'a> Bench<'a> {
    fn new(host: &'a Host) -> Result<Self> {
        let canary = host.file("canary");
        std::fs::create_dir_all(canary.join("folder"))?;
        std::fs::write(canary.join("secret"), "alive")?;
        std::fs::write(canary.join("folder/file"), "well")?;
        let before = look(&canary)?;
        // The store is made once, so that what is in it can be compared.
        host.podrun(&["images"])?.ok()?;
        Ok(Self { host, canary, before, count: std::cell::Cell::new(0) })
    }

    /// The folder for the next layout.
    fn folder(&self) -> PathBuf {
        self.count.set(self.count.get() + 1);
        self.host.file(&format!("layout-{}", self.count.get()))
    }

    fn canary(&self) -> String {
        self.canary.to_string_lossy().into_owned()
    }

    /// Loads with little memory to be had.
    fn load(&self, layout: &Path) -> Result<Outcome> {
        let script = format!("ulimit -d {MEMORY}; exec $podrun load -q {}", layout.display());
        self.host.start_script(&script)?.wait_within(LONG)
    }

    /// Loads what must be refused, with all these words.
    fn refuses(&self, layout: &Path, words: &[&str]) -> Result<()> {
        let said = self.load(layout)?.fails_with(IMAGE)?;
        for word in words {
            ensure!(said.contains(word), "`{word}` is not in: {said}");
        }
        ensure!(!said.contains('\u{1b}'), "it steers the terminal: {said:?}");
        self.is_empty().with_context(|| said)
    }

    fn is_empty(&self) -> Result<()> {
        self.canary_lives()?;
        for folder in ["layers", "content/sha256", "content/sha512", "tmp", "trash", "leases"] {
            let left: Vec<_> = std::fs::read_dir(self.host.root().join(folder))?.collect();
            ensure!(left.is_empty(), "left in {folder}: {left:?}");
        }
        Ok(())
    }

    fn canary_lives(&self) -> Result<()> {
        let now = look(&self.canary)?;
        ensure!(now == self.before, "the canary has changed: {now:#?}");
        Ok(())
    }

    fn remove_all(&self) -> Result<()> {
        let ids = self.host.podrun(&["images", "-q", "--no-trunc"])?.ok()?;
        for id in ids.lines() {
            self.host.start(&["rmi", "--force", id])?.wait_within(LONG)?.ok()?;
        }
        Ok(())
    }
}

fn entries(host: &Host) -> Result<()> {
    let bench = Bench::new(host)?;
    for (number, case) in hostile_entries(&bench.canary()).into_iter().enumerate() {
        let folder = bench.folder();
        Layout::image(&folder, &case.layers)?;
        let layer = digest(case.layers.last().context("a layer")?);
        let words = [NAME, &layer, "entry", case.says];
        // What stands before the first entry has none to name.
        let words =
            if case.says == "tar archive" || case.says.contains("exceeds") || case.says.contains("global") {
                vec![NAME, &layer, case.says]
            } else {
                words.to_vec()
            };
        bench.refuses(&folder, &words).with_context(|| format!("case {number}: {}", case.says))?;
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// A layer as it is stored, the digest of what it should hold, and what podrun must say.
type Stream = (&'static str, Vec<u8>, String);

fn hostile_streams() -> Result<Vec<Stream>> {
    let plain = Tar::default().file("one", &[1; 5000]).file("two", b"").end();
    let diff_id = digest(&plain);
    let zipped = gzip(&plain)?;
    let whole = zstd::encode_all(plain.as_slice(), 1)?;
    let mut flipped = zipped.clone();
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;
    // A header whose file name goes on and on.
    let mut named = b"\x1f\x8b\x08\x08\0\0\0\0\0\xff".to_vec();
    named.resize(64 << 20, b'a');
    // 10 GiB of zeros behind the archive's end, in members of 1 MiB.
    let member = gzip(&vec![0; 1 << 20])?;
    let mut bomb = zipped.clone();
    (0..10_240).for_each(|_| bomb.extend_from_slice(&member));
    let mut zstd_bomb = whole.clone();
    let frame = zstd::encode_all(vec![0; 64 << 20].as_slice(), 1)?;
    (0..160).for_each(|_| zstd_bomb.extend_from_slice(&frame));
    // A frame that asks for a window of 2 GiB, with one empty block.
    let window = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00".to_vec();
    let cut = |bytes: &[u8], len: usize| bytes[..bytes.len() - len].to_vec();
    let same = |says, bytes| (says, bytes, diff_id.clone());
    Ok(vec![
        same("truncated", plain[..5000].to_vec()),
        same("truncated", plain[..5700].to_vec()),
        same("", cut(&zipped, 4)),
        same("", cut(&zipped, zipped.len() / 2)),
        same("", cut(&whole, 3)),
        same("", [&zipped, b"garbage".as_slice()].concat()),
        same("", [&whole, b"garbage".as_slice()].concat()),
        same("", flipped),
        same("", named),
        same("goes on for more than 16777216 bytes after its end", bomb),
        same("goes on for more than 16777216 bytes after its end", zstd_bomb),
        same("134217728", window),
        same("its plain content is", gzip(&Tar::default().file("other", b"").end())?),
        same("its plain content is", [zipped.as_slice(), &gzip(&[0; 512])?].concat()),
        same("", vec![0x1f, 0x8b]),
        same(
            "tar archive",
            b"this is no archive, whatever its name says, and it is long enough to be a header. ".repeat(20),
        ),
        ("tar archive", [Tar::default().file("a", b"").cut(), vec![7; 1024]].concat(), diff_id.clone()),
    ])
}

fn streams(host: &Host) -> Result<()> {
    let bench = Bench::new(host)?;
    for (number, (says, stored, diff_id)) in hostile_streams()?.into_iter().enumerate() {
        let folder = bench.folder();
        let layer = digest(&stored);
        Layout::stored(&folder, &[(diff_id, stored)], &json!({}))?;
        bench.refuses(&folder, &[NAME, &layer, says]).with_context(|| format!("stream {number}: {says}"))?;
        std::fs::remove_dir_all(&folder)?;
    }
    // Members and frames that only some readers see the end of are read to their end.
    let plain = Tar::default().file("one", b"1").file("two", b"2").end();
    let (first, second) = plain.split_at(700);
    for stored in [
        [gzip(first)?, gzip(&[])?, gzip(second)?].concat(),
        [zstd::encode_all(first, 1)?, b"\x50\x2a\x4d\x18\x02\0\0\0xx".to_vec(), zstd::encode_all(second, 1)?]
            .concat(),
    ] {
        let folder = bench.folder();
        Layout::stored(&folder, &[(digest(&plain), stored)], &json!({}))?;
        bench.load(&folder)?.ok()?;
        bench.remove_all()?;
    }
    bench.is_empty()
}

/// Changes config, its descriptor and the layers' descriptors; another manifest's descriptor stands in for theirs.
type Spoil<'a> = dyn Fn(&Layout, &mut Value, &mut Value, &mut Vec<Value>) -> Result<Option<Value>> + 'a;

fn manifests(host: &Host) -> Result<()> {
    let bench = Bench::new(host)?;
    let plain = Tar::default().file("one", &[1; 5000]).end();
    // A layout whose parts `spoil` may change before they are put together.
    let layout = |spoil: &Spoil| -> Result<PathBuf> {
        let folder = bench.folder();
        let layout = Layout::create(&folder)?;
        let mut layers = vec![layout.blob(LAYER, &plain)?];
        let mut config = Layout::config(&[digest(&plain)], &json!({}));
        let mut described = layout.blob(CONFIG, config.to_string().as_bytes())?;
        let top = spoil(&layout, &mut config, &mut described, &mut layers)?;
        let top = top.map_or_else(|| layout.manifest(&described, &layers), Ok)?;
        layout.finish(top)?;
        Ok(folder)
    };
    let refuses = |words: &[&str], folder: PathBuf| {
        bench.refuses(&folder, &[&[NAME], words].concat()).with_context(|| format!("{words:?}"))
    };
    for (size, words) in [
        (json!(100), "bytes"),
        (json!(1 << 20), "truncated"),
        (json!(i64::MAX), ""),
        (json!(-1), "manifest"),
        (json!(1e30), "manifest"),
    ] {
        refuses(
            &[words],
            layout(&|_, _, _, layers| {
                layers[0]["size"] = size.clone();
                Ok(None)
            })?,
        )?;
        refuses(
            &[""],
            layout(&|_, _, described, _| {
                described["size"] = size.clone();
                Ok(None)
            })?,
        )?;
    }
    for digest in
        ["sha256:../../../../etc/passwd", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:", "", "../x"]
    {
        refuses(
            &["blob sha256:"],
            layout(&|_, _, _, layers| {
                layers[0]["digest"] = json!(digest);
                Ok(None)
            })?,
        )?;
    }
    for (kind, words) in [
        ("text/plain", "unknown type"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "may not be distributed"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", "may not be distributed"),
        ("\u{1b}[31m", "unknown type"),
    ] {
        refuses(
            &[words],
            layout(&|_, _, _, layers| {
                layers[0]["mediaType"] = json!(kind);
                Ok(None)
            })?,
        )?;
    }
    refuses(
        &["at most 512"],
        layout(&|_, _, _, layers| {
            *layers = vec![layers[0].clone(); 513];
            Ok(None)
        })?,
    )?;
    refuses(
        &["the config names 1 layers, the manifest 2"],
        layout(&|_, _, _, layers| {
            layers.push(layers[0].clone());
            Ok(None)
        })?,
    )?;
    let config = |text: String, words: &'static str| -> Result<()> {
        refuses(
            &[words],
            layout(&|layout, _, described, _| {
                *described = layout.blob(CONFIG, text.as_bytes())?;
                Ok(None)
            })?,
        )
    };
    config("no JSON".into(), "image config")?;
    config(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), "recursion limit")?;
    config(" ".repeat(5 << 20), "larger than 4194304 bytes")?;
    config(r#"{"os":"linux","os":"windows"}"#.into(), "twice")?;
    config(json!({ "architecture": "\u{1b}[2Jx", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [digest(&plain)] } }).to_string(), "the image is for")?;
    let top = |text: String, words: &'static str| -> Result<()> {
        refuses(&[words], layout(&|layout, _, _, _| Ok(Some(layout.blob(MANIFEST, text.as_bytes())?)))?)
    };
    top(
        json!({ "schemaVersion": 2, "layers": [], "manifests": [] }).to_string(),
        "an index and a manifest at once",
    )?;
    top(json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }).to_string(), "calls itself")?;
    top(json!({ "schemaVersion": 1, "fsLayers": [] }).to_string(), "schema 1")?;
    top(json!({ "schemaVersion": 2 }).to_string(), "neither")?;
    indexes(&bench)?;
    // A manifest whose blob is another's: what lies under a digest is hashed, whoever wrote it.
    let folder = layout(&|_, _, _, _| Ok(None))?;
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json"))?)?;
    let blob = folder
        .join("blobs")
        .join(index["manifests"][0]["digest"].as_str().context("digest")?.replace(':', "/"));
    let text = std::fs::read_to_string(&blob)?;
    std::fs::write(&blob, text.replacen("\"schemaVersion\":2", "\"schemaVersion\":3", 1))?;
    refuses(&["wrong digest"], folder)?;
    // Files of the layout that are none.
    for (name, words) in [("index.json", "is not a file"), ("index.json/x", "is neither")] {
        let folder = layout(&|_, _, _, _| Ok(None))?;
        std::fs::remove_file(folder.join("index.json"))?;
        let path = folder.join(name);
        if name == "index.json" {
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)?;
        } else {
            std::os::unix::fs::symlink(bench.canary.join("secret"), folder.join("index.json"))?;
        }
        bench.refuses(&folder, &[words])?;
    }
    Ok(())
}

/// Indexes that name themselves, each other, or an image of a name that is none.
fn indexes(bench: &Bench<'_>) -> Result<()> {
    let folder = bench.folder();
    let layout = Layout::create(&folder)?;
    // Under its own name lies an index that names it: only its digest can tell.
    let own = "a".repeat(64);
    let size = 200;
    let text = format!(
        "{:<size$}",
        json!({ "schemaVersion": 2, "manifests": [{ "mediaType": INDEX, "digest": format!("sha256:{own}"), "size": size }] }).to_string()
    );
    std::fs::write(folder.join("blobs/sha256").join(&own), &text)?;
    layout.finish(json!({ "mediaType": INDEX, "digest": format!("sha256:{own}"), "size": size }))?;
    bench.refuses(&folder, &[NAME, "wrong digest"])?;
    let folder = bench.folder();
    let layout = Layout::create(&folder)?;
    let mut top =
        layout.blob(INDEX, json!({ "schemaVersion": 2, "manifests": [] }).to_string().as_bytes())?;
    for _ in 0..4 {
        top = layout.blob(INDEX, json!({ "schemaVersion": 2, "manifests": [top] }).to_string().as_bytes())?;
    }
    layout.finish(top)?;
    bench.refuses(&folder, &[NAME, "an index lies in an index"])?;
    for name in ["../../../etc/passwd", "a/../b:1", "registry/\u{1b}[31m:1", "lower/CASE:1", &"a".repeat(300)]
    {
        let folder = bench.folder();
        let layout = Layout::create(&folder)?;
        let manifest = layout.blob(MANIFEST, b"{}")?;
        layout.finish(manifest)?;
        let index = std::fs::read_to_string(folder.join("index.json"))?;
        let escaped = json!(name).to_string();
        std::fs::write(folder.join("index.json"), index.replace(&format!("\"{NAME}\""), &escaped))?;
        bench.refuses(&folder, &["image reference"])?;
    }
    Ok(())
}

fn insiders(host: &Host) -> Result<()> {
    let bench = Bench::new(host)?;
    for (number, case) in harmless_entries(&bench.canary()).into_iter().enumerate() {
        let folder = bench.folder();
        Layout::image(&folder, &case.layers)?;
        let check = || -> Result<()> {
            bench.load(&folder)?.ok()?;
            bench.canary_lives()?;
            // What could move names or hide files is not there, whatever the archive brought.
            let root = host.root();
            let found = host.run(
                "getfattr",
                &["-R", "-h", "-m", ".*overlay.redirect|security.selinux", &root.to_string_lossy()],
            );
            if let Ok(found) = found.and_then(Outcome::ok) {
                ensure!(!found.contains("redirect") && !found.contains("selinux"), "{found}");
            }
            bench.remove_all()?;
            bench.is_empty()
        };
        check().with_context(|| format!("case {number}"))?;
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn crowds(host: &Host) -> Result<()> {
    let bench = Bench::new(host)?;
    let mut crowd = Tar::default().mode("su", b'0', 0o4755).mode("sg", b'0', 0o6755);
    for number in 0..100_000 {
        crowd = crowd.entry(&format!("d/{number}"), b'0', 0);
    }
    let folder = bench.folder();
    Layout::image(&folder, &[crowd.end()])?;
    bench.load(&folder)?.ok()?;
    // Nobody else reaches a setuid file of a stranger.
    let root = host.root();
    let root = root.to_string_lossy();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "find", &root, "-perm", "/6000"];
    let found = host.run("setpriv", &nobody)?;
    ensure!(found.stdout.is_empty() && found.stderr.contains("Permission denied"), "{found}");
    bench.remove_all()?;
    bench.is_empty()
}

fn raced(host: &Host) -> Result<()> {
    let bench = Bench::new(host)?;
    let mut many = Tar::default();
    for number in 0..1000 {
        many = many.dir(&format!("d{}", number % 7)).file(&format!("d{}/f{number}", number % 7), b"x");
        many = many
            .hard_link(&format!("d{}/h{number}", (number + 1) % 7), &format!("d{}/f{number}", number % 7));
    }
    let mut cases = hostile_entries(&bench.canary());
    cases.extend(harmless_entries(&bench.canary()));
    cases.extend((0..10).map(|_| Case { layers: vec![many.clone().end()], says: "" }));
    for (number, case) in cases.into_iter().enumerate() {
        let folder = bench.folder();
        Layout::image(&folder, &case.layers)?;
        let racers =
            [Racer::start(&host.root().join("tmp"), &bench.canary)?, Racer::start(&folder, &bench.canary)?];
        let outcome = bench.load(&folder)?;
        drop(racers);
        ensure!([0, 1, IMAGE].contains(&outcome.code()), "case {number}: {outcome}");
        bench.canary_lives().with_context(|| format!("case {number}: {outcome}"))?;
        bench.remove_all()?;
        bench.canary_lives().with_context(|| format!("case {number}: {outcome}"))?;
        std::fs::remove_dir_all(&folder)?;
    }
    // What the neighbour kept from being removed goes with the next command.
    host.podrun(&["images"])?.ok()?;
    bench.is_empty()
}

/// Nothing that an image says of itself chooses what podrun does on the host, or draws on a terminal.
fn data(host: &Host) -> Result<()> {
    let bench = Bench::new(host)?;
    let target = bench.canary.join("planted");
    let layer = Tar::default().file("f", b"").end();
    let own = json!({
        "Labels": {
            "io.podrun.root": target, "io.containerd.log.uri": format!("binary://{}", target.display()),
            "io.kubernetes.cri.log": target, "\u{1b}]0;title\u{7}": "\u{1b}[31m",
        },
        "Env": ["PODRUN_ROOT=/", "LD_PRELOAD=/f", "A=b\nc", "\u{1b}[2J=x", "no equals sign"],
        "WorkingDir": "../../..", "User": "0:0\nroot", "StopSignal": "\u{1b}", "Volumes": { "/../x": {} },
    });
    let folder = bench.folder();
    Layout::stored(&folder, &[(digest(&layer), layer)], &own)?;
    bench.load(&folder)?.ok()?;
    let listed = host.podrun(&["images", "--digests"])?;
    ensure!(
        listed.stdout.contains("localhost/hostile/image") && !listed.stdout.contains('\u{1b}'),
        "{listed}"
    );
    let all: Value = serde_json::from_str(&host.podrun(&["images", "-o", "json"])?.ok()?)?;
    ensure!(all[0]["config"]["architecture"] == architecture(), "{all}");
    bench.canary_lives()?;
    bench.remove_all()?;
    bench.is_empty()
}

fn device_in_a_user_namespace(host: &Host) -> Result<()> {
    let bench = Bench::new(host)?;
    let folder = bench.folder();
    Layout::image(&folder, &[Tar::default().file("f", b"").device("disk", b'4', (8, 0)).end()])?;
    let script = format!("exec unshare --user --map-root-user $podrun load -q {}", folder.display());
    let said = host.script(&script)?;
    ensure!(
        said.code() == IMAGE && said.stderr.contains("\"disk\"") && said.stderr.contains("EPERM"),
        "{said}"
    );
    ensure!(said.stderr.contains("hint: "), "{said}");
    bench.is_empty()
}
