//! Hostile and odd layers, written header by header: no library stands between these bytes and the
//! unpacker.

mod below;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use super::*;

/// A tar, made of raw headers.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn header(&mut self, name: &[u8], kind: u8, mode: u32, size: usize, link: &[u8], device: (u32, u32)) {
        let mut block = [0_u8; 512];
        block[..name.len()].copy_from_slice(name);
        let mut octal = |at: usize, len: usize, value: u64| {
            let text = format!("{value:0width$o}\0", width = len - 1);
            block[at..at + len].copy_from_slice(text.as_bytes());
        };
        octal(100, 8, mode.into());
        octal(108, 8, me().uid().into());
        octal(116, 8, me().gid().into());
        octal(124, 12, size as u64);
        octal(136, 12, 1_000_000_000);
        octal(329, 8, device.0.into());
        octal(337, 8, device.1.into());
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
    }

    fn body(&mut self, content: &[u8]) {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn file(mut self, name: &str, content: &[u8]) -> Self {
        self.header(name.as_bytes(), b'0', 0o644, content.len(), b"", (0, 0));
        self.body(content);
        self
    }

    fn mode(mut self, name: &str, kind: u8, mode: u32) -> Self {
        self.header(name.as_bytes(), kind, mode, 0, b"", (0, 0));
        self
    }

    fn dir(self, name: &str) -> Self {
        self.mode(name, b'5', 0o755)
    }

    fn link(mut self, name: &str, kind: u8, target: &str) -> Self {
        self.header(name.as_bytes(), kind, 0o777, 0, target.as_bytes(), (0, 0));
        self
    }

    fn node(mut self, name: &str, kind: u8, device: (u32, u32)) -> Self {
        self.header(name.as_bytes(), kind, 0o640, 0, b"", device);
        self
    }

    /// PAX records in front of the next entry.
    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut len = rest + 1;
            while len != rest + len.to_string().len() {
                len = rest + len.to_string().len();
            }
            text.extend_from_slice(format!("{len} {key}=").as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        self.header(b"pax", b'x', 0o644, text.len(), b"", (0, 0));
        self.body(&text);
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A directory with a layer's tree, its trash, and a canary beside them.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["tree", "trash", "outside"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("outside/canary"), "alive").unwrap();
        Self { dir }
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.tree().join(name)
    }

    fn run(&self, tar: Tar) -> Result<Unpacked> {
        self.run_on(tar, &[], Limits::default())
    }

    fn run_on(&self, tar: Tar, lower: &[&Bench], limits: Limits) -> Result<Unpacked> {
        let lower: Vec<_> = lower.iter().map(|bench| dir::open(&bench.tree()).unwrap()).collect();
        self.unpack(&mut tar.end().as_slice(), &lower, limits)
    }

    fn unpack(&self, source: &mut dyn Read, lower: &[OwnedFd], limits: Limits) -> Result<Unpacked> {
        let open = |name| dir::open(&self.dir.path().join(name)).unwrap();
        let layers = || Ok(lower.iter().map(|layer| layer.try_clone().unwrap()).collect());
        unpack(source, open("tree"), open("trash"), &Lower::new(!lower.is_empty(), &layers), limits)
    }

    /// Runs an archive that must be refused with `why`, and checks that nothing outside has changed.
    fn refuses(tar: Tar, why: &str) {
        let bench = Self::new();
        let error = bench.run(tar).expect_err(why);
        assert!(error.message().contains(why), "{error} does not say {why:?}");
        bench.outside_is_untouched();
    }

    fn outside_is_untouched(&self) {
        let outside = self.dir.path().join("outside");
        let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["canary"]);
        let canary = fs::metadata(outside.join("canary")).unwrap();
        assert_eq!((canary.len(), canary.nlink(), canary.mode() & 0o777), (5, 1, 0o644));
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

/// This process, as the owner of its own entry in /proc.
fn me() -> fs::Metadata {
    fs::metadata("/proc/self").unwrap()
}

/// Only root makes whiteouts and devices: without it the test fails, and does not pass unseen.
fn needs_root() {
    assert_eq!(me().uid(), 0, "`make test` runs this as root");
}

#[test]
fn a_plain_layer_is_made_as_it_says() {
    let bench = Bench::new();
    let made = bench
        .run(
            Tar::default()
                .dir("./")
                .mode("bin/", b'5', 0o1777)
                .file("bin/sh", b"#!")
                .mode("bin/su", b'0', 0o4755)
                .link("bin/ash", b'1', "bin/sh")
                .link("sh", b'2', "/bin/sh")
                .mode("pipe", b'6', 0o600)
                .file("deep/er/file", b"x"),
        )
        .unwrap();
    assert_eq!(made, Unpacked { bytes: 3, inodes: 8 });
    assert_eq!(fs::metadata(bench.path("bin")).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::metadata(bench.path("bin/su")).unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(fs::metadata(bench.path("bin/sh")).unwrap().nlink(), 2);
    assert_eq!(fs::read_link(bench.path("sh")).unwrap(), PathBuf::from("/bin/sh"));
    assert!(fs::metadata(bench.path("pipe")).unwrap().file_type().is_fifo());
    for name in ["bin", "bin/sh", "sh", ""] {
        assert_eq!(fs::symlink_metadata(bench.path(name)).unwrap().mtime(), 1_000_000_000, "{name}");
    }
}

#[test]
fn names_that_lead_out_are_refused() {
    Bench::refuses(Tar::default().file("../outside/x", b"x"), "leads upwards");
    Bench::refuses(Tar::default().file("a/../../outside/x", b"x"), "leads upwards");
    Bench::refuses(Tar::default().link("x", b'1', "../outside/canary"), "leads upwards");
    Bench::refuses(Tar::default().pax(&[("path", b"a\0b")]).file("x", b""), "NUL");
    Bench::refuses(Tar::default().link("./", b'2', "/etc"), "only be a directory");
}

#[test]
fn an_absolute_name_is_inside() {
    let bench = Bench::new();
    bench.run(Tar::default().file("/etc/x", b"x").pax(&[("path", b"//etc/./y")]).file("z", b"y")).unwrap();
    assert_eq!((bench.read("etc/x"), bench.read("etc/y")), ("x".into(), "y".into()));
}

#[test]
fn links_are_followed_inside_the_root_only() {
    let bench = Bench::new();
    let outside = bench.dir.path().join("outside");
    let outside = outside.to_str().unwrap();
    bench
        .run(
            Tar::default()
                .link("up", b'2', "../../../outside")
                .file("up/x", b"1")
                .link("abs", b'2', outside)
                .file("abs/y", b"2")
                .dir("real")
                .link("here", b'2', "real")
                .file("here/z", b"3")
                .mode("up", b'5', 0o700),
        )
        .unwrap();
    bench.outside_is_untouched();
    assert_eq!(bench.read("real/z"), "3");
    assert!(fs::symlink_metadata(bench.path("up")).unwrap().is_dir());
    Bench::refuses(
        Tar::default().link("a", b'2', "b").link("b", b'2', "a").file("a/x", b""),
        "too many symbolic links",
    );
}

#[test]
fn a_directory_that_becomes_a_link_is_not_remembered() {
    let bench = Bench::new();
    let outside = bench.dir.path().join("outside");
    bench
        .run(
            Tar::default()
                .dir("d")
                .file("d/one", b"1")
                .link("d", b'2', outside.to_str().unwrap())
                .file("d/canary", b"overwritten"),
        )
        .unwrap();
    bench.outside_is_untouched();
}

#[test]
fn hard_links_stay_inside_the_layer() {
    let bench = Bench::new();
    let canary = bench.dir.path().join("outside/canary");
    let tar = Tar::default().link("s", b'2', canary.to_str().unwrap()).link("h", b'1', "s").link(
        "o",
        b'2',
        bench.dir.path().join("outside").to_str().unwrap(),
    );
    bench.run(tar).unwrap();
    assert!(fs::symlink_metadata(bench.path("h")).unwrap().is_symlink());
    bench.outside_is_untouched();
    Bench::refuses(Tar::default().link("h", b'1', "/etc/shadow"), "is not there");
    Bench::refuses(Tar::default().link("o", b'2', "/etc").link("h", b'1', "o/passwd"), "is not there");
    Bench::refuses(Tar::default().dir("d").link("h", b'1', "d"), "no file");
    Bench::refuses(Tar::default().link("h", b'1', "h"), "is not there");
}

#[test]
fn the_last_entry_of_a_name_counts() {
    let bench = Bench::new();
    bench
        .run(
            Tar::default()
                .file("f", b"old")
                .file("f", b"new")
                .dir("d")
                .file("d/x", b"")
                .file("d", b"file")
                .file("g", b"")
                .dir("g")
                .file("g/x", b"1")
                .link("f2", b'1', "f")
                .link("f2", b'1', "f"),
        )
        .unwrap();
    assert_eq!(
        (bench.read("f"), bench.read("d"), bench.read("g/x")),
        ("new".into(), "file".into(), "1".into())
    );
    Bench::refuses(Tar::default().file("a", b"").file("a/b", b""), "not a directory");
}

#[test]
fn sizes_that_no_file_has_are_refused() {
    let sized = |field: &[u8; 12]| {
        let mut tar = Tar::default().file("x", b"");
        tar.0[124..136].copy_from_slice(field);
        tar.0[148..156].copy_from_slice(b"        ");
        let sum: u32 = tar.0[..512].iter().map(|byte| u32::from(*byte)).sum();
        tar.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar
    };
    Bench::refuses(sized(&[0xff; 12]), "size");
    Bench::refuses(sized(&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), "size that no file has");
    Bench::refuses(sized(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]), "size that no file has");
    Bench::refuses(sized(b"00000000-10\0"), "tar archive");
    Bench::refuses(Tar::default().pax(&[("size", b"18446744073709551615")]).file("x", b""), "size");
    Bench::refuses(Tar::default().pax(&[("size", b"-1")]).file("x", b""), "tar archive");
    Bench::refuses(Tar::default().pax(&[("size", b"9223372036854775807")]).file("x", b""), "unpacks to more");
}

#[test]
fn attributes_are_chosen() {
    let bench = Bench::new();
    let capability: &[u8] = &[1, 0, 0, 2, 0x0a, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut records: Vec<(&str, &[u8])> = vec![
        ("SCHILY.xattr.user.mine", b"1"),
        ("SCHILY.xattr.user.overlay.redirect", b"/x"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/x"),
        ("SCHILY.xattr.security.selinux", b"label"),
        ("mtime", b"1000000000.25"),
    ];
    needs_root();
    records.push(("SCHILY.xattr.security.capability", capability));
    bench.run(Tar::default().pax(&records).file("f", b"")).unwrap();
    let file = fs::File::open(bench.path("f")).unwrap();
    let mut names = xattr::list(&file).unwrap();
    names.sort();
    let shown: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name)).collect();
    assert_eq!(shown, ["security.capability", "user.mine"]);
    assert_eq!(file.metadata().unwrap().mtime_nsec(), 250_000_000);
}

#[test]
fn times_and_empty_records_are_as_go_has_them() {
    let bench = Bench::new();
    let binary = |field: [u8; 12]| {
        let mut tar = Tar::default().file("binary", b"");
        tar.0[136..148].copy_from_slice(&field);
        tar.0[148..156].copy_from_slice(b"        ");
        let sum: u32 = tar.0[..512].iter().map(|byte| u32::from(*byte)).sum();
        tar.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar
    };
    let negative = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
    let empty: &[(&str, &[u8])] = &[
        ("path", b"other"),
        ("path", b""),
        ("size", b""),
        ("mtime", b""),
        ("uid", b""),
        ("SCHILY.xattr.user.a", b"1"),
        ("SCHILY.xattr.user.a", b""),
        ("SCHILY.xattr.user.b", b"2"),
    ];
    bench
        .run(
            binary(negative)
                .pax(&[("mtime", b"-1.5")])
                .file("before", b"")
                .file("after", b"")
                .pax(empty)
                .file("empty", b"four")
                .pax(&[("linkpath", b"")])
                .link("link", b'2', "empty"),
        )
        .unwrap();
    let time = |name: &str| {
        let meta = fs::metadata(bench.path(name)).unwrap();
        (meta.mtime(), meta.mtime_nsec())
    };
    assert_eq!((time("binary"), time("before")), ((-2, 0), (-2, 500_000_000)));
    assert_eq!((time("after"), time("empty")), ((1_000_000_000, 0), (1_000_000_000, 0)));
    assert_eq!(bench.read("link"), "four");
    let names = xattr::list(fs::File::open(bench.path("empty")).unwrap()).unwrap();
    assert_eq!(names, [b"user.b"]);
    Bench::refuses(binary([0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]), "time that no file has");
    Bench::refuses(binary([0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0]), "time that no file has");
    Bench::refuses(Tar::default().pax(&[("mtime", b"never")]).file("x", b""), "PAX time");
}

#[test]
fn devices_are_made_in_their_range() {
    Bench::refuses(Tar::default().node("d", b'4', (4096, 0)), "no device");
    needs_root();
    let bench = Bench::new();
    bench.run(Tar::default().node("null", b'3', (1, 3))).unwrap();
    let null = fs::metadata(bench.path("null")).unwrap();
    assert!(null.file_type().is_char_device() && null.mode() & 0o777 == 0o640);
}

#[test]
fn holes_stay_holes() {
    let bench = Bench::new();
    let map: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", b"1048579"),
    ];
    let mut content = b"2\n0\n1\n1048576\n3\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"Aend");
    bench.run(Tar::default().pax(map).file("GNUSparseFile.0/s", &content)).unwrap();
    let file = fs::read(bench.path("s")).unwrap();
    assert_eq!((file.len(), file[0], &file[1_048_576..]), (1_048_579, b'A', b"end".as_slice()));
    assert!(fs::metadata(bench.path("s")).unwrap().blocks() < 64);
    let lies: &[(&str, &[u8])] = &[("GNU.sparse.map", b"0,9000000000000000000"), ("GNU.sparse.size", b"1")];
    Bench::refuses(Tar::default().pax(lies).file("s", b"x"), "sparse map");
    // Of a directory GNU tar would read neither map nor content.
    let mut directory = Tar::default().pax(map);
    directory.header(b"GNUSparseFile.0/s", b'5', 0o755, content.len(), b"", (0, 0));
    directory.body(&content);
    Bench::refuses(directory, "is no file");
}

#[test]
fn limits_and_cuts_are_said() {
    let small = Limits { bytes: 10_000, entries: 3, names: 200, borrowed: 200 };
    let run = |tar: Tar| Bench::new().run_on(tar, &[], small).unwrap_err().message().to_owned();
    let mut promise = Tar::default();
    promise.header(b"a", b'0', 0o644, 10_001, b"", (0, 0));
    assert!(run(promise).contains("unpacks to more than 10000 bytes"));
    assert!(run(Tar::default().file("a", &[0; 9_900])).contains("is longer than 10000 bytes"));
    assert!(run(Tar::default().dir("a").dir("b").dir("c").dir("d")).contains("more than 3 entries"));
    assert!(run(Tar::default().file("a/b/c/d", b"")).contains("more than 3 inodes"));
    assert!(
        run(Tar::default().dir(&"n".repeat(90)).dir(&"m".repeat(90))).contains("take more than 200 bytes")
    );
    let whole = Tar::default().file("a", b"").end();
    let mut zeros = whole.chain(std::io::repeat(0));
    let error = Bench::new().unpack(&mut zeros, &[], Limits::default()).unwrap_err();
    assert!(error.message().contains("after its end"), "{error}");
    let whole = Tar::default().file("a", &[1; 5000]).0;
    for cut in [100, 512, 1000, 5000] {
        let error = Bench::new().unpack(&mut &whole[..cut], &[], Limits::default()).unwrap_err();
        assert!(error.message().contains("truncated"), "{cut}: {error}");
    }
    // An error between two entries names the one before.
    let error = run(Tar(Tar::default().dir("a").0.into_iter().chain([7; 512]).collect()));
    assert!(error.contains("after entry \"a\""), "{error}");
    Bench::refuses(Tar::default().mode("x", b'?', 0), "type");
    Bench::refuses(Tar::default().pax(&[("size", b"99999999999999999999999")]).file("x", b""), "tar archive");
}

#[test]
fn what_is_hidden_is_bounded_and_given_back() {
    let limits = Limits { borrowed: 300, ..Limits::default() };
    let lower = Bench::new();
    lower.run((0..9).fold(Tar::default(), |tar, number| tar.file(&format!("f{number}"), b""))).unwrap();
    let hide = |tar: Tar, number| tar.file(&format!(".wh.f{number}"), b"");
    let error = Bench::new().run_on((0..9).fold(Tar::default(), hide), &[&lower], limits).unwrap_err();
    assert!(error.message().contains("the layer hides or changes take more than 300 bytes"), "{error}");
    // A file of this layer itself hides nothing.
    let replace = |tar, number| hide(tar, number).file(&format!("f{number}"), b"own");
    let upper = Bench::new();
    upper.run_on((0..9).fold(Tar::default(), replace), &[&lower], limits).unwrap();
    assert_eq!(upper.read("f8"), "own");
}

#[test]
fn what_lies_behind_the_end_is_not_read() {
    let bench = Bench::new();
    let mut tar = Tar::default().file("a", b"own").end();
    tar.extend(Tar::default().pax(&[("mtime", b"never")]).file("b", b"").0);
    bench.unpack(&mut tar.as_slice(), &[], Limits::default()).unwrap();
    assert!(bench.read("a") == "own" && !bench.path("b").exists());
    Bench::refuses(Tar::default().pax(&[("mtime", b"never")]).file("b", b""), "PAX time");
}

#[test]
fn the_last_padding_may_lack_and_content_may_not() {
    let tar = || Tar::default().file("first", b"one").file("last", b"12345");
    let padded = tar().0.len();
    for missing in [0, 1, 507] {
        let bench = Bench::new();
        let mut cut = &tar().0[..padded - missing];
        bench.unpack(&mut cut, &[], Limits::default()).unwrap();
        assert_eq!(bench.read("last"), "12345");
    }
    let mut cut = &tar().0[..padded - 508];
    let error = Bench::new().unpack(&mut cut, &[], Limits::default()).unwrap_err();
    assert!(error.message().contains("truncated"), "{error}");
}

#[test]
fn long_and_many_names_work() {
    let bench = Bench::new();
    let long = vec!["d"; 1000].join("/");
    let mut tar = Tar::default().pax(&[("path", long.as_bytes())]).file("x", b"deep");
    for number in 0..2000 {
        tar = tar.file(&format!("many/{number}"), b"");
    }
    bench.run(tar).unwrap();
    assert_eq!(fs::read_dir(bench.path("many")).unwrap().count(), 2000);
    let parent = dir::open(bench.dir.path()).unwrap();
    dir::remove_tree(&parent, b"tree").unwrap();
    assert!(!bench.tree().exists());
    Bench::refuses(
        Tar::default().pax(&[("path", "n".repeat(300).as_bytes())]).file("x", b""),
        "ENAMETOOLONG",
    );
    Bench::refuses(
        Tar::default().pax(&[("path", "n/".repeat(3000).as_bytes())]).file("x", b""),
        "tar archive",
    );
}

#[test]
fn a_sparse_map_without_an_end_is_refused() {
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", b"16"),
    ];
    // A map of zeros has no line: the reader asked for a block more again and again, and never took one.
    Bench::refuses(Tar::default().pax(&records).file("x", &[0; 4096]), "is truncated after");
    Bench::refuses(Tar::default().pax(&records).file("x", &vec![0; 5 << 20]), "headers are larger than");
}
