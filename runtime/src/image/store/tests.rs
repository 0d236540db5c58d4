//! The store's records, names and leases, without any content.

use std::os::unix::fs::PermissionsExt;

use std::fs;

use super::*;
use crate::image::model::config::ImageConfig;

struct Bench {
    _dir: tempfile::TempDir,
    store: ImageStore,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { root: dir.path().join("root"), ..Host::default() };
        let store = ImageStore::open(&host).unwrap();
        Self { _dir: dir, store }
    }

    fn put(&self, content: &str, names: &[&str]) -> Image {
        let record = Record::new(Digest::of(content.as_bytes()), ImageConfig::default());
        let names: Vec<_> = names.iter().map(|name| name.parse::<Reference>().unwrap().to_string()).collect();
        self.store.put(record, &names).unwrap()
    }

    fn find(&self, text: &str) -> Option<Digest> {
        self.store.find(text).unwrap().map(|image| image.id)
    }
}

#[test]
fn a_name_moves_and_its_old_image_stays_without_one() {
    let bench = Bench::new();
    let old = bench.put("old", &["app:1"]);
    let new = bench.put("new", &["app:1", "app:2"]);
    assert_eq!(bench.find("app:1").as_ref(), Some(&new.id));
    let all = bench.store.list().unwrap();
    assert_eq!(all.len(), 2);
    assert!(all.iter().any(|image| image.id == old.id && image.names.is_empty()));
    assert_eq!(bench.find(old.id.short()), Some(old.id));
    assert_eq!(bench.find("app:3"), None);
}

#[test]
fn a_name_wins_over_the_beginning_of_an_id() {
    let bench = Bench::new();
    let image = bench.put("x", &[]);
    let prefix = image.id.hex()[..6].to_owned();
    assert_eq!(bench.find(&prefix), Some(image.id.clone()));
    let named = bench.put("y", &[&prefix]);
    assert_eq!(bench.find(&prefix), Some(named.id));
    assert_eq!(bench.find(&image.id.to_string()), Some(image.id));
}

#[test]
fn a_beginning_that_several_ids_have_is_refused_and_a_longer_one_is_not() {
    let bench = Bench::new();
    let mut seen = std::collections::HashMap::new();
    let (one, other) = (0..)
        .find_map(|number: u32| {
            let content = number.to_string();
            let beginning = Digest::of(content.as_bytes()).hex()[..ID_PREFIX_MIN].to_owned();
            seen.insert(beginning, content.clone()).map(|earlier| (earlier, content))
        })
        .unwrap();
    let (one, other) = (bench.put(&one, &[]), bench.put(&other, &[]));
    let error = bench.store.find(&one.id.hex()[..ID_PREFIX_MIN]).unwrap_err();
    assert!(error.kind() == ErrorKind::Usage && error.message().contains("several ids"), "{error}");
    assert_eq!(bench.find(one.id.short()), Some(one.id));
    assert_eq!(bench.find(other.id.short()), Some(other.id));
}

#[test]
fn an_image_that_is_not_here_is_looked_for_under_like_names() {
    let bench = Bench::new();
    bench.put("x", &["localhost/lab/app:1", "quay.io/other/app:2"]);
    bench.put("y", &["nginx:1"]);
    let hint = |text: &str| bench.store.known(text).unwrap_err().hint_text().unwrap_or_default().to_owned();
    assert_eq!(hint("app:2"), "did you mean quay.io/other/app:2?");
    assert_eq!(hint("app"), "did you mean localhost/lab/app:1?");
    assert_eq!(hint("registry.lan/nginx:9"), "did you mean nginx:1?");
    assert_eq!(hint("ap"), "`podrun images` lists what is here");
    assert_eq!(bench.store.known("App:1").unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn an_image_in_use_goes_only_by_force() {
    let bench = Bench::new();
    let image = bench.put("x", &["app:1"]);
    bench.store.lease("pod", &[&image]).unwrap();
    let error = bench.store.remove("app:1", false).unwrap_err();
    assert!(error.message().contains("in use by pod"), "{error}");
    bench.store.release("pod").unwrap();
    bench.store.release("pod").unwrap();
    let removal = bench.store.remove("app:1", false).unwrap();
    assert_eq!(removal.deleted, Some(image.id));
    assert_eq!(bench.store.remove("app:1", false).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_last_name_takes_the_image_along() {
    let bench = Bench::new();
    let image = bench.put("x", &["app:1", "app:2"]);
    assert!(bench.store.remove(image.id.short(), false).unwrap_err().message().contains("several names"));
    let first = bench.store.remove("app:1", false).unwrap();
    assert_eq!((first.untagged.len(), first.deleted), (1, None));
    assert_eq!(bench.store.remove("app:2", false).unwrap().deleted, Some(image.id));
    assert!(bench.store.list().unwrap().is_empty());
}

#[test]
fn a_damaged_record_is_seen_and_can_go() {
    let bench = Bench::new();
    let image = bench.put("x", &["app:1"]);
    let path = bench.store.images_dir().join(format!("{}.json", image.id.hex()));
    fs::write(&path, "{").unwrap();
    let all = bench.store.list().unwrap();
    assert!(all[0].damage.is_some() && all[0].id == image.id);
    assert_eq!(bench.store.remove(image.id.short(), false).unwrap().deleted, Some(image.id));
}

#[test]
fn what_a_crash_left_is_swept_unless_somebody_is_at_work() {
    let bench = Bench::new();
    let left = bench.store.tmp_dir().join("left/tree");
    fs::create_dir_all(&left).unwrap();
    fs::create_dir_all(bench.store.host().root.join("layers/unknown")).unwrap();
    let lock = bench.store.begin_ingest().unwrap();
    bench.put("x", &["app:1"]);
    ImageStore::open(bench.store.host()).unwrap();
    bench.store.remove("app:1", false).unwrap();
    assert!(left.exists(), "somebody may be making it");
    assert!(!bench.store.host().root.join("layers/unknown").exists(), "nobody has a lease on it");
    drop(lock);
    ImageStore::open(bench.store.host()).unwrap();
    for name in ["tmp", "trash", "layers"] {
        assert_eq!(fs::read_dir(bench.store.host().root.join(name)).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn what_a_process_holds_stays_until_it_ends() {
    let bench = Bench::new();
    let blob = Digest::of(b"blob");
    let path = bench.store.host().root.join("content/sha256").join(blob.hex());
    let mut record = Record::new(Digest::of(b"x"), ImageConfig::default());
    record.blobs = vec![blob];
    let hold = bench.store.hold_record(&record).unwrap();
    fs::write(&path, "blob").unwrap();
    bench.store.collect().unwrap();
    assert!(path.exists());
    let holders = bench.store.holders(&record.id).unwrap();
    assert_eq!(holders, [format!("process {}", std::process::id())]);
    drop(hold);
    bench.store.collect().unwrap();
    assert!(!path.exists());
    assert_eq!(fs::read_dir(bench.store.tmp_dir()).unwrap().count(), 0);
    // A killed process's hold is an unlocked file: it protects nothing, and is removed.
    fs::write(bench.store.tmp_dir().join("hold-1-2-3"), "{").unwrap();
    ImageStore::open(bench.store.host()).unwrap();
    assert_eq!(fs::read_dir(bench.store.tmp_dir()).unwrap().count(), 0);
}

#[test]
fn the_end_of_a_hold_collects_an_image_that_was_removed_meanwhile() {
    let bench = Bench::new();
    let blob = Digest::of(b"blob");
    let path = bench.store.host().root.join("content/sha256").join(blob.hex());
    let image = bench.put("x", &["app:1"]);
    let mut record = bench.store.record(&image.id).unwrap();
    record.blobs = vec![blob];
    let hold = bench.store.hold_record(&record).unwrap();
    fs::write(&path, "blob").unwrap();
    bench.store.remove("app:1", true).unwrap();
    assert!(path.exists(), "it is held");
    drop(hold);
    assert!(!path.exists(), "nothing else would collect it");
}

#[test]
fn prune_takes_what_nobody_holds_and_pretends_first() {
    let bench = Bench::new();
    let held = bench.put("held", &[]);
    bench.store.lease("pod", &[&held]).unwrap();
    let old = bench.put("old", &["app:1"]);
    let new = bench.put("new", &["app:1"]);
    let dangling = |image: &Image| image.names.is_empty();
    let pretended = bench.store.prune(true, dangling).unwrap();
    assert_eq!(bench.store.list().unwrap().len(), 3);
    let pruned = bench.store.prune(false, dangling).unwrap();
    assert_eq!(pretended, pruned);
    assert_eq!(pruned.images, [Removal { untagged: vec![], deleted: Some(old.id) }]);
    let pruned = bench.store.prune(false, |_| true).unwrap();
    assert_eq!(pruned.images[0].deleted, Some(new.id));
    assert_eq!(bench.store.list().unwrap(), [held]);
}

#[test]
fn nobody_else_looks_into_the_store() {
    let bench = Bench::new();
    let root = &bench.store.host().root;
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    ImageStore::open(bench.store.host()).unwrap();
    assert_eq!(fs::metadata(root).unwrap().permissions().mode() & 0o066, 0);
    assert_eq!(fs::metadata(root.join("layers")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_store_of_a_newer_podrun_is_refused_and_left_alone() {
    let bench = Bench::new();
    let host = bench.store.host();
    let layout = host.root.join("layout.json");
    assert_eq!(fs::read_to_string(&layout).unwrap(), r#"{"version":2}"#);
    fs::write(&layout, r#"{"version":3,"other":"things"}"#).unwrap();
    fs::create_dir(bench.store.tmp_dir().join("left")).unwrap();
    let error = ImageStore::open(host).unwrap_err();
    assert!(error.message().contains("version 3") && error.hint_text().is_some(), "{error}");
    assert!(bench.store.tmp_dir().join("left").exists(), "it was written to");
    fs::write(&layout, "{").unwrap();
    assert!(ImageStore::open(host).unwrap_err().message().contains("layout.json: cannot be read"));
}

#[test]
fn a_store_of_the_first_version_is_upgraded() {
    let bench = Bench::new();
    let image = bench.put("x", &["app:1"]);
    let root = &bench.store.host().root;
    let unfinished = bench.store.images_dir().join(format!(".{}.json.4711", image.id.hex()));
    for half_done in [false, true] {
        fs::remove_file(root.join("layout.json")).unwrap();
        if half_done {
            fs::write(root.join(".new"), "{").unwrap();
        } else {
            fs::remove_dir(root.join("partial")).unwrap();
        }
        fs::write(&unfinished, "{").unwrap();
        let store = ImageStore::open(bench.store.host()).unwrap();
        assert_eq!(store.list().unwrap(), std::slice::from_ref(&image));
        assert!(root.join("partial").is_dir() && root.join("layout.json").exists());
        assert!(!unfinished.exists() && !root.join(".new").exists());
    }
}
