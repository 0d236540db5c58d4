//! The root, what is mounted in it, and what is covered.

use super::*;

pub(super) fn what_is_masked_is_empty(bench: &Bench) {
    let seen = bench.print(&["stat", "/proc/timer_list", "/proc/keys", "/proc/kcore"], &[]);
    for line in seen.lines() {
        assert!(line.ends_with("none") || line.ends_with("20666 1:3"), "{line}");
    }
    assert_eq!(bench.print(&["ls", "/sys/firmware"], &[]), "");
    assert_eq!(bench.print(&["touch", "/proc/sys/kernel/domainname"], &[]), "refused\n");
    let own_dev = [(
        "/mounts/-",
        json!({"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}),
    )];
    let mut spec = serde_json::to_value(bench.spec(&["stat", "/proc/keys"], &own_dev)).unwrap();
    spec["mounts"].as_array_mut().unwrap().retain(|mount| {
        !(mount["destination"].as_str().unwrap().starts_with("/dev") && mount["type"] != "bind")
    });
    let (seen, _) = bench.run(&serde_json::from_value(spec).unwrap(), &[]).unwrap();
    assert!(seen.ends_with("20666 1:3\n") || seen.ends_with("none\n"), "{seen}");
}

pub(super) fn images_cannot_lead_mounts_astray(bench: &Bench) {
    let canary = bench.directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    // /dev of the image is a link to the host's directory by its host path: inside it leads to nothing, which is made there.
    std::os::unix::fs::symlink(&canary, bench.root().join("dev")).unwrap();
    assert_eq!(bench.print(&["true"], &[]), "");
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
    let inside = bench.root().join(canary.strip_prefix("/").unwrap());
    assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0, "what is mounted is empty below");
    std::fs::remove_file(bench.root().join("dev")).unwrap();
    // A link that leads up is cut at the root.
    std::os::unix::fs::symlink("../../../../../../../../tmp", bench.root().join("up")).unwrap();
    let volume = json!({"destination": "/up/volume", "type": "bind", "source": canary, "options": ["rbind"]});
    assert_eq!(bench.print(&["touch", "/tmp/volume/x"], &[("/mounts/-", volume)]), "made\n");
    assert!(canary.join("x").exists() && bench.root().join("tmp/volume").is_dir());
    // proc on a link is refused, and so is a link onto a part of proc.
    let astray = json!({"destination": "/link", "type": "tmpfs"});
    std::os::unix::fs::symlink("/proc/sys", bench.root().join("link")).unwrap();
    let error = bench.fail(&["true"], &[("/mounts/-", astray)]);
    assert!(error.message().contains("fstatfs"), "{error}");
    std::fs::remove_dir(bench.root().join("proc")).unwrap();
    std::os::unix::fs::symlink("tmp", bench.root().join("proc")).unwrap();
    let error = bench.fail(&["true"], &[]);
    assert!(error.message().contains("ELOOP"), "{error}");
}

pub(super) fn volumes_held_by_descriptor_are_shared(bench: &Bench) {
    use runtime::sys::file::mount;
    let mut held = HeldMounts::default();
    for name in ["other", "ours"] {
        let context = mount::fsopen(c"tmpfs").unwrap();
        mount::fsconfig_create(context.as_fd()).unwrap();
        held.insert(name, mount::fsmount(context.as_fd(), 0).unwrap());
    }
    // As this kernel can, and then as before Linux 6.15: both ways lead to one file system.
    let mut copies = 0;
    let mut copy = |name: &str| {
        let tree = held.get(name).unwrap().try_clone_to_owned().unwrap();
        copies += 1;
        match copies {
            1 | 2 => held.copy(name, tree.as_fd(), mount::Depth::Recursive).unwrap(),
            _ => held.copy_from_room(name, tree.as_fd(), mount::Depth::Recursive).unwrap(),
        }
    };
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/{kind}")).unwrap();
    let (namespace, folder) = (own("ns/mnt"), own("cwd"));
    copy("other");
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(
        (own("ns/mnt"), own("cwd"), own("root")),
        (namespace.clone(), folder.clone(), PathBuf::from("/"))
    );
    let mut run = |spec: &Spec| {
        let tree = copy("ours");
        bench.run(spec, &[Attached { destination: "/work", tree: tree.as_fd(), checked: false }]).unwrap().0
    };
    let entry = |options: Value| {
        ("/mounts/-", json!({"destination": "/work", "type": "bind", "source": "none", "options": options}))
    };
    let spec = bench.spec(&["touch", "/work/x"], &[entry(json!(["rbind"]))]);
    assert_eq!(run(&spec), "made\n");
    let spec = bench.spec(&["touch", "/work/y"], &[entry(json!(["rbind", "ro"]))]);
    assert_eq!(run(&spec), "refused\n");
    let spec = bench.spec(&["ls", "/work"], &[entry(json!(["rbind", "rro"]))]);
    assert_eq!(run(&spec), "x\n");
    assert_eq!((own("ns/mnt"), own("cwd"), own("root")), (namespace, folder, PathBuf::from("/")));
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
}

pub(super) fn an_overlay_is_a_root(bench: &Bench) {
    use runtime::sys::file::overlay::{self, Naming};
    let open = |name: &str| {
        let directory = bench.directory.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        OwnedFd::from(std::fs::File::open(directory).unwrap())
    };
    std::fs::create_dir_all(bench.directory.path().join("over/etc")).unwrap();
    std::fs::write(bench.directory.path().join("over/etc/over"), "").unwrap();
    let own = || std::env::current_dir().unwrap();
    let folder = own();
    // As this kernel has it, and as older ones had it.
    for (round, naming) in [None, Some(Naming::Joined)].into_iter().enumerate() {
        let (upper, work) = (open(&format!("upper{round}")), open(&format!("work{round}")));
        let (over, root) = (open("over"), open("root"));
        let lower = [over.as_fd(), root.as_fd()];
        let tree = match naming {
            None => overlay::mount(&lower, upper.as_fd(), work.as_fd()),
            Some(naming) => overlay::mount_by(naming, &lower, upper.as_fd(), work.as_fd()),
        };
        let tree = tree.unwrap();
        assert_eq!(own(), folder);
        let spec = bench.spec(&["touch", "/etc/x"], &[]);
        let inputs =
            Inputs { rootfs: Rootfs::Detached(tree.as_fd()), ..plain(&spec, &bench.cgroup, stdio(null())) };
        let plan = engine::compile(inputs).unwrap();
        drop(tree);
        let child = start(&plan).unwrap();
        assert_eq!(end(&child), Exit::Code(0));
        assert!(bench.directory.path().join(format!("upper{round}/etc/x")).exists());
        assert!(!bench.root().join("etc/x").exists());
    }
}
