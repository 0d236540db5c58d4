//! Hiding and replacing files of the layers below.

use super::*;

#[test]
fn odd_whiteouts_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..wh.x", "d/.wh..wh.plnk", ".wh..wh..opq/x", ".wh.d/x"] {
        Bench::refuses(Tar::default().file(name, b""), "whiteout");
    }
    Bench::refuses(Tar::default().node("x", b'3', (0, 0)), "overlayfs");
}

#[test]
fn what_aufs_left_is_passed_over_and_its_hard_links_are_whole() {
    let bench = Bench::new();
    let mut tar = Tar::default();
    for name in [".wh..wh.plnk", ".wh..wh.orph", ".wh..wh.plnk/below"] {
        tar = tar.dir(name);
    }
    for name in [".wh..wh.aufs", ".wh..wh.orph/12", ".wh..wh.x", ".wh..wh.plnk/12.3", ".wh..wh.plnk/4.5"] {
        tar = tar.file(name, b"content");
    }
    let tar = tar.dir("d").link("d/one", b'1', ".wh..wh.plnk/12.3").link("two", b'1', "/.wh..wh.plnk/12.3");
    let made = bench.run(tar.file("own", b"x")).unwrap();
    assert_eq!((bench.read("d/one"), bench.read("two")), ("content".into(), "content".into()));
    let number = |name: &str| fs::metadata(bench.path(name)).unwrap().ino();
    assert_eq!(number("d/one"), number("two"));
    let mut names: Vec<_> =
        fs::read_dir(bench.tree()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["d", "own", "two"]);
    // A file without a link to it is not taken.
    assert_eq!((made.inodes, made.bytes), (3, 8));
    Bench::refuses(Tar::default().link("x", b'1', ".wh..wh.plnk/none"), "is not there");
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    needs_root();
    let (lower, upper) = (Bench::new(), Bench::new());
    lower.run(Tar::default().dir("d").file("d/x", b"").file("f", b"").dir("o").file("o/y", b"")).unwrap();
    let tar = Tar::default()
        .file(".wh.f", b"")
        .file("own", b"mine")
        .file(".wh.own", b"")
        .file(".wh.d", b"")
        .file("d/new", b"1")
        .file("o/z", b"2")
        .file("o/.wh..wh..opq", b"");
    upper.run_on(tar, &[&lower], Limits::default()).unwrap();
    let f = fs::symlink_metadata(upper.path("f")).unwrap();
    assert!(f.file_type().is_char_device() && f.rdev() == 0);
    assert_eq!(upper.read("own"), "mine");
    for name in ["d", "o"] {
        let fd = dir::open(&upper.path(name)).unwrap();
        assert_eq!(xattr::get(&fd, OPAQUE_XATTR).unwrap().as_deref(), Some(b"y".as_slice()), "{name}");
    }
    // In the lowest layer there is nothing to hide.
    let alone = Bench::new();
    alone.run(Tar::default().file(".wh.f", b"").file("d/.wh..wh..opq", b"")).unwrap();
    assert_eq!(fs::read_dir(alone.tree()).unwrap().count(), 0);
}

#[test]
fn what_no_entry_describes_is_as_below() {
    let (lower, upper) = (Bench::new(), Bench::new());
    lower.run(Tar::default().mode("d", b'5', 0o2710).file("d/f", b"body")).unwrap();
    upper
        .run_on(Tar::default().file("d/x", b"").link("h", b'1', "d/f"), &[&lower], Limits::default())
        .unwrap();
    let d = fs::metadata(upper.path("d")).unwrap();
    assert_eq!((d.permissions().mode() & 0o7777, d.mtime()), (0o2710, 1_000_000_000));
    assert_eq!(fs::metadata(upper.path("h")).unwrap().nlink(), 2);
    assert_eq!(upper.read("d/f"), "body");
    assert_eq!(fs::metadata(lower.path("d/f")).unwrap().nlink(), 1);
}

#[test]
fn a_directory_that_is_a_link_below_is_where_the_link_points() {
    let (lower, upper) = (Bench::new(), Bench::new());
    lower
        .run(
            Tar::default()
                .mode("usr/bin", b'5', 0o711)
                .file("usr/bin/old", b"")
                .link("bin", b'2', "usr/bin")
                .link("up", b'2', "../../usr")
                .link("loop", b'2', "loop"),
        )
        .unwrap();
    // Without an entry for bin, as tools write it that make layers out of single files.
    let tar = Tar::default().file("bin/new", b"1").link("hard", b'1', "bin/old").file("up/share/doc", b"2");
    upper.run_on(tar, &[&lower], Limits::default()).unwrap();
    assert!(!upper.path("bin").exists() && upper.path("hard").exists());
    assert_eq!((upper.read("usr/bin/new"), upper.read("usr/share/doc")), ("1".into(), "2".into()));
    assert_eq!(fs::metadata(upper.path("usr/bin")).unwrap().mode() & 0o777, 0o711);
    assert_eq!(fs::metadata(upper.path("usr/bin/old")).unwrap().nlink(), 2);
    let error = Bench::new().run_on(Tar::default().file("loop/x", b""), &[&lower], Limits::default());
    assert!(error.unwrap_err().message().contains("too many symbolic links"));
}

#[test]
fn an_opaque_root_hides_all_that_is_below() {
    needs_root();
    let (lower, upper) = (Bench::new(), Bench::new());
    lower.run(Tar::default().file("f", b"").mode("d", b'5', 0o700).file("d/x", b"")).unwrap();
    let tar = Tar::default().file("own", b"").file(".wh..wh..opq", b"").file("d/y", b"");
    upper.run_on(tar, &[&lower], Limits::default()).unwrap();
    assert!(fs::symlink_metadata(upper.path("f")).unwrap().file_type().is_char_device());
    assert!(fs::metadata(upper.path("own")).unwrap().is_file());
    let d = dir::open(&upper.path("d")).unwrap();
    assert_eq!(xattr::get(&d, OPAQUE_XATTR).unwrap().as_deref(), Some(b"y".as_slice()));
    assert_eq!(dir::stat(&d).unwrap().mode, 0o755, "nothing of it is as below");
    // For the next layer there is nothing below this one's root either.
    let third = Bench::new();
    third.run_on(Tar::default().link("h", b'1', "f"), &[&upper, &lower], Limits::default()).unwrap_err();
}

#[test]
fn a_whiteout_where_nothing_is_makes_nothing() {
    needs_root();
    let (lower, upper) = (Bench::new(), Bench::new());
    lower.run(Tar::default().file("f", b"")).unwrap();
    upper.run_on(Tar::default().file("a/b/.wh.c", b""), &[&lower], Limits::default()).unwrap();
    assert_eq!(fs::read_dir(upper.tree()).unwrap().count(), 0);
}

#[test]
fn a_directory_has_the_attributes_of_its_last_entry() {
    let (lower, upper) = (Bench::new(), Bench::new());
    let own: [(&str, &[u8]); 1] = [("SCHILY.xattr.user.a", b"1")];
    lower.run(Tar::default().pax(&own).dir("./").pax(&own).dir("d").file("d/f", b"")).unwrap();
    let tar = Tar::default().dir("./").link("h", b'1', "d/f").dir("d").pax(&own).dir("e").dir("e");
    upper.run_on(tar, &[&lower], Limits::default()).unwrap();
    for name in ["", "d", "e"] {
        let names = xattr::list(dir::open(&upper.path(name)).unwrap()).unwrap();
        assert!(names.is_empty(), "{name:?} has {names:?}");
    }
    let names = xattr::list(dir::open(&lower.tree()).unwrap()).unwrap();
    assert_eq!(names, [b"user.a"]);
}

#[test]
fn what_no_entry_describes_inherits_setgid() {
    let bench = Bench::new();
    bench.run(Tar::default().mode("d", b'5', 0o2755).file("d/e/f", b"")).unwrap();
    assert_eq!(fs::metadata(bench.path("d/e")).unwrap().mode() & 0o7777, 0o2755);
}

#[test]
fn a_copy_for_a_link_goes_with_what_is_hidden() {
    needs_root();
    for hidden in ["x/.wh.a", "x/.wh..wh..opq"] {
        let (lower, upper) = (Bench::new(), Bench::new());
        lower.run(Tar::default().file("x/a", b"below")).unwrap();
        let tar = Tar::default().link("x/b", b'1', "x/a").file(hidden, b"");
        upper.run_on(tar, &[&lower], Limits::default()).unwrap();
        assert_eq!(upper.read("x/b"), "below", "{hidden}");
        let layers = [&upper, &lower].map(|bench| dir::open(&bench.tree()).unwrap());
        assert!(lower::find(&layers, b"x/a").unwrap().is_none(), "{hidden}");
    }
}
