//! Tests on a plain directory laid out like resctrl; [`fill`] and [`empty`] stand in for the kernel's mkdir and
//! rmdir.

use std::cell::RefCell;
use std::fs;
use std::os::fd::AsFd as _;

use super::*;
use crate::sys;

/// A `mkdir` of resctrl's: a class can be monitored, a monitoring group cannot.
fn fill(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::write(path.join("tasks"), "")?;
    if path.parent().is_some_and(|parent| parent.ends_with("mon_groups")) {
        return fs::create_dir(path.join("mon_data"));
    }
    fs::write(path.join("schemata"), "")?;
    fs::create_dir(path.join("mon_groups"))
}

/// An `rmdir` of resctrl's.
fn empty(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

/// Each line that is written is refused.
fn fill_with_a_schemata_that_takes_nothing(path: &Path) -> io::Result<()> {
    fill(path)?;
    fs::remove_file(path.join("schemata"))?;
    std::os::unix::fs::symlink("/dev/full", path.join("schemata"))
}

/// The processor has no id for another monitoring group.
fn fill_classes_alone(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.ends_with("mon_groups") => Err(io::Error::from(Io::StorageFull)),
        _ => fill(path),
    }
}

struct Bench {
    resctrl: Resctrl,
    id: ContainerId,
    recorded: RefCell<Vec<Option<Group>>>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("resctrl");
        fill(&root).unwrap();
        fs::create_dir_all(root.join("info/MB")).unwrap();
        fs::write(root.join("info/last_cmd_status"), "ok\n").unwrap();
        fs::write(root.join("info/MB/bandwidth_gran"), "10\n").unwrap();
        let resctrl = Resctrl { root, megabytes: false, mkdir: fill, rmdir: empty };
        Self { resctrl, id: "web".parse().unwrap(), recorded: RefCell::default(), _folder: folder }
    }

    fn make(&self, config: Value) -> Result<Vec<OwnedFd>> {
        let asked: LinuxIntelRdt = serde_json::from_value(config).unwrap();
        self.resctrl.make(&Wanted::parse(&asked, &self.id)?, &self.id, |group| {
            self.recorded.borrow_mut().push(group);
            Ok(())
        })
    }

    /// The group as a record would have it now.
    fn group(&self) -> Option<Group> {
        self.recorded.borrow().last().cloned().flatten()
    }

    fn remove(&self, complete: bool) {
        self.resctrl.remove(&self.group().unwrap(), &self.id, complete).unwrap();
    }

    /// A class that existed before.
    fn class(&self, name: &str, schemata: &str) {
        fill(&self.resctrl.root.join(name)).unwrap();
        fs::write(self.resctrl.root.join(name).join("schemata"), schemata).unwrap();
    }

    fn has(&self, path: &str) -> bool {
        self.resctrl.root.join(path).exists()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.resctrl.root.join(path)).unwrap()
    }
}

fn wrong(config: &Value) -> String {
    let asked: LinuxIntelRdt = serde_json::from_value(config.clone()).unwrap();
    let id = "web".parse().unwrap();
    Wanted::parse(&asked, &id).map_or_else(|error| error.message().to_owned(), |_| String::new())
}

#[test]
fn the_mount_is_found_wherever_it_is() {
    let table = "22 1 0:21 / /proc rw - proc proc rw\n\
        30 1 0:40 /guaranteed /mnt/class rw - resctrl resctrl rw\n\
        31 1 0:40 / /mnt/the\\040caches rw,relatime shared:9 - resctrl resctrl rw,cdp,mba_MBps\n";
    let found = Resctrl::parse(table).unwrap();
    assert_eq!((found.root.as_path(), found.megabytes), (Path::new("/mnt/the caches"), true));
    let plain = Resctrl::parse("31 1 0:40 / /sys/fs/resctrl rw - resctrl resctrl rw\n").unwrap();
    assert!(!plain.megabytes);
    assert!(Resctrl::parse(table.split_once("31 1").unwrap().0).is_none(), "a bound group is not resctrl");
}

#[test]
fn a_name_is_one_component_and_not_resctrls_own() {
    for name in
        ["info", "mon_groups", "mon_data", "tasks", "schemata", ".", "..", "a/b", "/a", "a/", "//", "a\nb"]
    {
        assert!(wrong(&json!({"closID": name})).starts_with("linux.intelRdt.closID: "), "{name:?}");
    }
    assert!(wrong(&json!({"closID": "x".repeat(256)})).contains("255 bytes"));
    for name in ["/", "guaranteed", "x y", "..a", ""] {
        assert_eq!(wrong(&json!({"closID": name})), "", "{name:?}");
    }
    let asked = LinuxIntelRdt::default();
    let id: ContainerId = "tasks".parse().unwrap();
    assert!(Wanted::parse(&asked, &id).unwrap_err().message().starts_with("the container's id: \"tasks\""));
}

#[test]
fn a_line_is_one_line() {
    assert!(wrong(&json!({"schemata": ["L3:0=f\nL2:0=1"]})).starts_with("linux.intelRdt.schemata: "));
    assert!(wrong(&json!({"memBwSchema": "0=20"})).starts_with("linux.intelRdt.memBwSchema: "));
    assert!(wrong(&json!({"memBwSchema": "MB:0=20\nL3:0=f"})).starts_with("linux.intelRdt.memBwSchema: "));
    assert_eq!(wrong(&json!({"l3CacheSchema": "L3CODE:0=f\nL3DATA:0=f"})), "");
}

#[test]
fn a_class_of_the_containers_own_comes_and_goes_with_it() {
    let bench = Bench::new();
    let tasks = bench.make(json!({"enableMonitoring": true})).unwrap();
    assert_eq!(tasks.len(), 2);
    // As the container's process does it, first into the class.
    for (number, tasks) in tasks.iter().enumerate() {
        sys::file::fs::write_whole(tasks.as_fd(), number.to_string().as_bytes()).unwrap();
    }
    assert_eq!((bench.read("web/tasks"), bench.read("web/mon_groups/web/tasks")), ("0".into(), "1".into()));
    assert_eq!(bench.read("web/schemata"), "", "nothing is written where nothing is asked for");
    let group = Group { name: "web".into(), made: Made::Own, monitored: true };
    assert_eq!(*bench.recorded.borrow(), [Some(group)], "recorded once, before it was made");
    bench.remove(true);
    assert!(!bench.has("web") && bench.has("tasks"));
    bench.remove(true);
}

#[test]
fn a_class_of_the_containers_id_that_is_there_is_anothers() {
    let bench = Bench::new();
    bench.class("web", "");
    assert_eq!(bench.make(json!({})).unwrap_err().kind(), ErrorKind::Exists);
    assert!(bench.has("web/tasks") && bench.recorded.borrow().is_empty());
}

#[test]
fn a_class_that_is_named_and_nothing_more_has_to_be_there() {
    let bench = Bench::new();
    assert!(bench.make(json!({"closID": "guaranteed"})).unwrap_err().message().contains("no class"));
    assert!(!bench.has("guaranteed") && bench.recorded.borrow().is_empty());
    bench.class("guaranteed", "L3:0=f\n");
    assert_eq!(bench.make(json!({"closID": "guaranteed", "enableMonitoring": true})).unwrap().len(), 2);
    assert_eq!(bench.read("guaranteed/schemata"), "L3:0=f\n");
    bench.remove(true);
    assert!(bench.has("guaranteed/tasks") && !bench.has("guaranteed/mon_groups/web"));
}

#[test]
fn the_default_class_is_resctrls_root() {
    let bench = Bench::new();
    assert_eq!(bench.make(json!({"closID": "/", "enableMonitoring": true})).unwrap().len(), 2);
    assert!(bench.has("mon_groups/web/tasks"));
    bench.remove(true);
    assert!(bench.has("tasks") && bench.has("mon_groups") && !bench.has("mon_groups/web"));
    bench.make(json!({"closID": "/"})).unwrap();
    bench.remove(false);
    assert!(bench.has("tasks"));
}

#[test]
fn a_class_that_is_named_is_made_with_its_lines_in_order_and_stays() {
    let bench = Bench::new();
    let config = json!({
        "closID": "guaranteed", "schemata": ["L2:0=1", "L3:0=7"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=f",
    });
    bench.make(config).unwrap();
    assert_eq!(bench.read("guaranteed/schemata"), "L3:0=f\nMB:0=20\nL2:0=1\nL3:0=7\n");
    bench.remove(true);
    assert!(bench.has("guaranteed/tasks"), "it outlives the container");
}

#[test]
fn a_class_that_was_made_for_a_create_that_fails_goes_unless_others_joined() {
    for (joined, stays) in [("", false), ("4711\n", true)] {
        let bench = Bench::new();
        bench.make(json!({"closID": "guaranteed", "schemata": ["L3:0=f"]})).unwrap();
        fs::write(bench.resctrl.root.join("guaranteed/tasks"), joined).unwrap();
        bench.remove(false);
        assert_eq!(bench.has("guaranteed"), stays, "{joined:?}");
    }
    let bench = Bench::new();
    bench.make(json!({"closID": "guaranteed", "schemata": ["L3:0=f"]})).unwrap();
    fill(&bench.resctrl.root.join("guaranteed/mon_groups/other")).unwrap();
    bench.remove(false);
    assert!(bench.has("guaranteed/mon_groups/other"));
}

#[test]
fn a_class_that_is_there_must_have_what_the_two_schemas_say() {
    let bench = Bench::new();
    bench.class("guaranteed", "    MB:0= 20;1=100\n    L3:0=7f0;1=01f\n");
    for (config, field) in [
        (json!({"closID": "guaranteed", "l3CacheSchema": "L3:0=7f1"}), "l3CacheSchema"),
        (
            json!({"closID": "guaranteed", "l3CacheSchema": "L3:1=1f", "memBwSchema": "MB:0=30"}),
            "memBwSchema",
        ),
    ] {
        let error = bench.make(config).unwrap_err();
        assert!(error.message().starts_with(field), "{error}");
        assert!(bench.read("guaranteed/schemata").ends_with("L3:0=7f0;1=01f\n"), "nothing is written");
        assert_eq!(bench.group(), None, "and nothing is recorded");
    }
    // 15 is rounded to 20, by which a second container of the same config finds its class.
    bench
        .make(json!({"closID": "guaranteed", "l3CacheSchema": "L3:1=1F", "memBwSchema": "MB:0=15"}))
        .unwrap();
    bench.remove(true);
    assert!(bench.has("guaranteed/tasks"));
}

#[test]
fn what_cannot_be_made_whole_is_not_made() {
    let mut bench = Bench::new();
    bench.resctrl.mkdir = fill_with_a_schemata_that_takes_nothing;
    fs::write(bench.resctrl.root.join("info/last_cmd_status"), "mask f7 has non-consecutive 1-bits\n")
        .unwrap();
    for config in [json!({"schemata": ["L3:0=f7"]}), json!({"closID": "guaranteed", "schemata": ["L3:0=f7"]})]
    {
        let error = bench.make(config).unwrap_err();
        assert!(error.message().contains("ENOSPC"), "{error}");
        assert_eq!(error.hint_text(), Some("resctrl says: mask f7 has non-consecutive 1-bits"));
        assert!(!bench.has("web") && !bench.has("guaranteed"));
        assert_eq!(bench.group(), None, "the record forgets it");
    }
    bench.resctrl.mkdir = fill_classes_alone;
    let error = bench.make(json!({"enableMonitoring": true})).unwrap_err();
    assert!(error.message().starts_with("enableMonitoring: mkdir("), "{error}");
    assert!(!bench.has("web"));
    // A class that was there stays, with the schemata that it had.
    bench.class("guaranteed", "L3:0=f\n");
    let config = json!({"closID": "guaranteed", "schemata": ["L3:0=3"], "enableMonitoring": true});
    bench.make(config).unwrap_err();
    assert_eq!(bench.read("guaranteed/schemata"), "L3:0=f\n");
    assert_eq!(bench.group(), None);
}

#[test]
fn a_monitoring_group_of_the_same_id_is_anothers() {
    let bench = Bench::new();
    bench.class("guaranteed", "");
    fill(&bench.resctrl.root.join("guaranteed/mon_groups/web")).unwrap();
    let error = bench.make(json!({"closID": "guaranteed", "enableMonitoring": true})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert!(bench.has("guaranteed/mon_groups/web") && bench.recorded.borrow().is_empty());
}

#[test]
fn no_file_is_made_where_the_kernel_makes_none() {
    let mut bench = Bench::new();
    bench.resctrl.mkdir = |path| fs::create_dir(path);
    let error = bench.make(json!({"schemata": ["L3:0=f"]})).unwrap_err();
    assert!(error.message().contains("schemata") && error.message().contains("ENOENT"), "{error}");
    assert!(!bench.has("web"));
    assert!(bench.make(json!({})).unwrap_err().message().contains("tasks"));
    assert!(!bench.has("web"));
}

#[test]
fn a_record_is_kept_and_read() {
    let bench = Bench::new();
    bench.make(json!({"closID": "guaranteed", "schemata": ["L3:0=f"], "enableMonitoring": true})).unwrap();
    let text = serde_json::to_value(bench.group()).unwrap();
    assert_eq!(text, json!({"name": "guaranteed", "made": "class", "monitored": true}));
    assert_eq!(serde_json::from_value::<Option<Group>>(text).unwrap(), bench.group());
}
