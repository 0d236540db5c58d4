//! What is mounted where, with which attributes, and in which order: by what the kernel shows in the container's mountinfo.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::host::Host;
use support::run::Outcome;
use support::suite::Suite;

use super::Oci;

pub(super) fn add(suite: &mut Suite) {
    for (name, test) in [
        ("oci mounts on links to nothing make inside the root what they lead to", links as fn(&Host) -> _),
        ("oci a relative destination is from the root on, and said so", relative),
        ("oci a tmpfs has the mode of the directory that it covers, a new one 1777", modes),
        ("oci each mount option does what the kernel shows", options),
        ("oci a remount changes what is mounted", remounts),
        ("oci a file system of the host's folders is made of them", overlays),
        ("oci an image's links lead no bind out of the root nor to what is masked", led_astray),
        ("oci the /dev that is seen is filled whatever else is mounted there", filled_dev),
        ("oci options that cgroups do not have are refused", cgroup_options),
        ("oci a bind out of the root has what the mounts before it put there", order),
        ("oci a mount that fails tells the cause and what to do", words),
        ("oci a setting that the kernel does not take tells the cause and what to do", settings),
    ] {
        suite.on_host(name, &["busybox"], test);
    }
    suite.on_host_with_controller(
        "oci a limit that the kernel does not take tells what it may be",
        "cpuset",
        &["busybox"],
        limits,
    );
    suite.on_host_with_controller(
        "oci a limit in which no container can be made is told as that",
        "memory",
        &["busybox"],
        scarce_memory,
    );
}

fn bind(source: &impl serde::Serialize, destination: &str, options: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source,
        "options": options.split(',').collect::<Vec<_>>()})
}

fn tmpfs(destination: &str, options: &str) -> Value {
    let options: Vec<_> = options.split(',').filter(|word| !word.is_empty()).collect();
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options})
}

/// Runs a shell's line with these mounts beside those of every container.
fn run(oci: &Oci<'_>, line: &str, more: &[Value]) -> Result<Outcome> {
    run_changed(oci, line, more, &[])
}

fn run_changed(oci: &Oci<'_>, line: &str, more: &[Value], changes: &[(&str, Value)]) -> Result<Outcome> {
    let usual = json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
    ]);
    let mounts: Vec<Value> = usual.as_array().into_iter().flatten().chain(more).cloned().collect();
    let changes = [&[("/mounts", json!(mounts))], changes].concat();
    oci.config(&["sh", "-c", line], &changes)?;
    oci.oci(&["run", "--bundle", &oci.bundle.to_string_lossy(), "web"])
}

/// The options of the mount at `place`, its file system's after a space, as a mountinfo has them.
fn shown(mountinfo: &str, place: &str) -> Result<String> {
    let line = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some(place));
    let line = line.with_context(|| format!("nothing is mounted at {place}: {mountinfo}"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let own = words.get(5).context("mountinfo has options")?;
    // Some kernels are built so that a tmpfs has it.
    let file_system = words.last().context("mountinfo has options")?.replace(",inode64", "");
    Ok(format!("{own} {file_system}"))
}

/// The image's links, and binds of what the config takes for parts of the root.
fn led_astray(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let root = oci.bundle.join("rootfs");
    let folder = host.file("secret");
    std::fs::create_dir(&folder)?;
    host.write("secret/file", "of the host")?;
    for (link, target) in [("all", "/"), ("kernel", "/sys"), ("numbers", "/proc"), ("tmp/here", "/tmp/real")]
    {
        symlink(target, root.join(link))?;
    }
    symlink(&folder, root.join("escape"))?;
    std::fs::create_dir(root.join("tmp/real"))?;
    std::fs::write(root.join("tmp/real/file"), "of the image")?;
    symlink(&root, host.file("alias"))?;
    let alias = host.file("alias");
    for (source, option, at) in [
        (root.join("all"), "rbind", "/mnt"),
        (root.join("all"), "bind", "/mnt"),
        (root.join("kernel"), "bind", "/mnt"),
        (root.join("numbers"), "rbind", "/mnt"),
        (root.join("numbers"), "rbind", "/proc"),
        (root.join("escape"), "bind", "/mnt"),
        (root.join("escape/../secret"), "bind", "/mnt"),
        (alias.join("escape"), "rbind", "/mnt"),
        (root.join("../.."), "bind", "/mnt"),
        (root.join("tmp/here"), "rbind", "/mnt"),
    ] {
        let sysfs = json!({"destination": "/sys", "type": "sysfs", "source": "sysfs"});
        let said = run(&oci, "ls -a /mnt", &[sysfs, bind(&source, at, option)])?.fails_with(1)?;
        ensure!(
            said.contains("hint: ") || said.contains("only a procfs"),
            "{source:?} {option} {at}: {said}"
        );
    }
    let sysfs = json!({"destination": "/x/sys", "type": "sysfs", "source": "sysfs"});
    let said = run(&oci, "true", &[sysfs, bind(&root.join("x"), "/mnt", "rbind")])?.fails_with(1)?;
    ensure!(said.contains("the source holds /x/sys"), "{said}");
    let real = [
        bind(&alias.join("tmp/here/../real"), "/mnt", "rbind"),
        bind(&root.join("tmp/here"), "/one", "bind"),
    ];
    let seen = run(&oci, "cat /mnt/file /one/file", &real)?.ok()?;
    ensure!(seen == "of the imageof the image", "{seen}");
    let fixed =
        [tmpfs("/v", "ro"), bind(&root.join("v"), "/mnt", "bind"), bind(&root.join("v"), "/rw", "bind,rw")];
    let seen = run(&oci, "cat /proc/self/mountinfo", &fixed)?.ok()?;
    ensure!(shown(&seen, "/mnt")?.starts_with("ro,") && shown(&seen, "/rw")?.starts_with("rw,"), "{seen}");
    Ok(())
}

fn filled_dev(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let remount = |options: &[&str]| json!({"destination": "/dev", "type": "bind", "options": options});
    for more in [
        vec![remount(&["remount", "bind", "ro"])],
        vec![tmpfs("/dev", "mode=755")],
        vec![tmpfs("/dev/", "mode=755"), remount(&["remount", "nosuid"])],
    ] {
        let seen = run(&oci, "echo x >/dev/null && ls /dev", &more)?.ok()?;
        ensure!(seen.contains("null\nptmx\n"), "{more:?}: {seen}");
    }
    Ok(())
}

fn overlays(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let folder = |name: &str| -> Result<String> {
        let folder = host.file(name);
        std::fs::create_dir(&folder)?;
        Ok(folder.to_string_lossy().into_owned())
    };
    let (lower, upper, work) = (folder("lower")?, folder("upper")?, folder("work")?);
    host.write("lower/below", "of the host")?;
    // As podman writes them for `-v FOLDER:/v:O`, and with --systemd=always.
    let layers = format!("lowerdir={lower},upperdir={upper}");
    let overlay = json!({"destination": "/made/here", "type": "overlay", "source": "overlay",
        "options": [layers, format!("workdir={work}"), "private", "ro", "rw", "nosuid", ""]});
    let tmpfs = json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["", "size=8k,mode=700", ""]});
    let line = "cat /made/here/below; echo new >/made/here/new; cat /proc/self/mountinfo; stat -c %a /t";
    let seen = run(&oci, line, &[overlay, tmpfs])?.ok()?;
    ensure!(seen.starts_with("of the host") && seen.ends_with("\n700\n"), "{seen}");
    ensure!(shown(&seen, "/made/here")?.starts_with("rw,nosuid,relatime "), "{seen}");
    ensure!(shown(&seen, "/t")?.contains("size=8k"), "{seen}");
    ensure!(host.file("upper/new").is_file(), "what is written goes to the upper folder");
    let missing = json!({"destination": "/o", "type": "overlay", "source": "overlay", "options": ["lowerdir=/none/here"]});
    let said = run(&oci, "true", &[missing])?.fails_with(1)?;
    // Before Linux 6.5 an overlay says EINVAL of a layer that is not there.
    ensure!(said.contains("mount /o: fsconfig(\"overlay\""), "{said}");
    Ok(())
}

fn links(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let root = oci.bundle.join("rootfs");
    let outside = host.file("outside");
    for (link, target) in [
        ("etc/localtime", "/usr/share/zoneinfo/UTC"),
        ("folder", "../../../../made/folder"),
        ("way", "/made/way/"),
        ("chain", "climbs/on/../chain"),
        ("climbs", "made/climbs"),
    ] {
        symlink(target, root.join(link))?;
    }
    symlink(&outside, root.join("out"))?;
    let (file, folder) = (host.write("file", "of the host")?, host.file("source"));
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("within"), "of the host")?;
    let mounts = [
        bind(&file, "/etc/localtime", "bind"),
        bind(&folder, "/folder", "rbind"),
        tmpfs("/way/to/tmp", ""),
        bind(&file, "/chain", "bind"),
        bind(&file, "/out/file", "bind"),
    ];
    let seen = run(
        &oci,
        "cat /etc/localtime /usr/share/zoneinfo/UTC /made/folder/within /made/climbs/chain /out/file; stat -f -c %T /made/way/to/tmp",
        &mounts,
    )?
    .ok()?;
    ensure!(seen == format!("{}tmpfs\n", "of the host".repeat(5)), "{seen}");
    ensure!(!outside.exists(), "a link led out of the root");
    ensure!(root.join(outside.strip_prefix("/")?).join("file").is_file(), "what it leads to inside");

    symlink("b", root.join("a"))?;
    symlink("a", root.join("b"))?;
    symlink("/nothing/../c/x", root.join("c"))?;
    for circle in ["/a", "/a/below", "/c"] {
        let said = run(&oci, "true", &[tmpfs(circle, "")])?.fails_with(1)?;
        ensure!(said.contains("ELOOP") && said.contains("lead to each other"), "{said}");
    }
    // An image's procfs has a real directory or nothing.
    std::fs::remove_dir(root.join("proc"))?;
    symlink("/elsewhere", root.join("proc"))?;
    let said = run(&oci, "true", &[])?.fails_with(1)?;
    ensure!(said.contains("must have a real directory") && !root.join("elsewhere").exists(), "{said}");
    Ok(())
}

fn relative(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let file = host.write("file", "of the host")?;
    let outcome = run(
        &oci,
        "cat /srv/file; stat -f -c %T /var",
        &[tmpfs("var", ""), bind(&file, "./srv//file", "bind")],
    )?;
    ensure!(outcome.code() == 0 && outcome.stdout == "of the hosttmpfs\n", "{outcome}");
    for said in ["warning: mount /var: the destination \"var\" is relative", "warning: mount /srv/file:"] {
        ensure!(outcome.stderr.contains(said), "{outcome}");
    }
    // It is this one that is filled, whatever its spelling; and the root is no destination in any.
    let dev = json!([{"destination": "dev//", "type": "tmpfs", "source": "tmpfs"}]);
    oci.config(&["test", "-c", "/dev/null"], &[("/mounts", dev)])?;
    oci.oci(&["run", "--bundle", &oci.bundle.to_string_lossy(), "web"])?.ok()?;
    for root in ["", ".", "/", "..", "srv/.."] {
        let said = run(&oci, "true", &[tmpfs(root, "")])?.fails_with(1)?;
        ensure!(said.contains("nothing can be mounted over the root"), "{root:?}: {said}");
    }
    Ok(())
}

fn modes(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let kept = oci.bundle.join("rootfs/kept");
    std::fs::create_dir(&kept)?;
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o2751))?;
    symlink("/made", oci.bundle.join("rootfs/link"))?;
    let mounts = [
        tmpfs("/new", ""),
        tmpfs("/deep/new", ""),
        tmpfs("/link", ""),
        tmpfs("/kept", ""),
        tmpfs("/said", "mode=700"),
        tmpfs("/copied", "tmpcopyup"),
    ];
    let line = "stat -c %a /new /deep /deep/new /made /kept /said /copied";
    let seen = run(&oci, line, &mounts)?.ok()?;
    ensure!(seen == "1777\n755\n1777\n1777\n2751\n700\n1777\n", "{seen}");
    // The directories are there by now.
    let seen = run(&oci, line, &mounts)?.ok()?;
    ensure!(seen == "755\n755\n755\n755\n2751\n700\n755\n", "{seen}");
    Ok(())
}

/// Options of a new tmpfs, and what the kernel shows of it.
const NEW: [(&str, &str); 32] = [
    ("", "rw,relatime rw"),
    ("defaults,async,loud,silent,noiversion,nolazytime,nomand,symfollow", "rw,relatime rw"),
    ("ro", "ro,relatime rw"),
    ("ro,rw", "rw,relatime rw"),
    ("rro", "ro,relatime rw"),
    ("rro,rrw", "rw,relatime rw"),
    ("ro,rrw", "rw,relatime rw"),
    ("noatime,rstrictatime", "rw rw"),
    ("nosuid,nodev,noexec", "rw,nosuid,nodev,noexec,relatime rw"),
    ("nosuid,nodev,noexec,suid,dev,exec", "rw,relatime rw"),
    ("rnosuid,rnodev,rnoexec", "rw,nosuid,nodev,noexec,relatime rw"),
    ("rnosuid,rsuid,rnodev,rdev,rnoexec,rexec", "rw,relatime rw"),
    ("noatime", "rw,noatime rw"),
    ("noatime,atime", "rw,relatime rw"),
    ("strictatime", "rw rw"),
    ("strictatime,atime", "rw rw"),
    ("strictatime,norelatime", "rw rw"),
    ("strictatime,nostrictatime", "rw,relatime rw"),
    ("noatime,nostrictatime", "rw,noatime rw"),
    ("norelatime", "rw,relatime rw"),
    ("noatime,relatime", "rw,relatime rw"),
    ("rnoatime", "rw,noatime rw"),
    ("rstrictatime", "rw rw"),
    ("nodiratime", "rw,nodiratime,relatime rw"),
    ("nodiratime,diratime", "rw,relatime rw"),
    ("rnodiratime", "rw,nodiratime,relatime rw"),
    ("nosymfollow", "rw,relatime,nosymfollow rw"),
    ("nosymfollow,symfollow", "rw,relatime rw"),
    ("rnosymfollow", "rw,relatime,nosymfollow rw"),
    ("sync,dirsync,lazytime,mand", "rw,relatime rw,sync,dirsync,mand,lazytime"),
    ("sync,async,lazytime,nolazytime,mand,nomand", "rw,relatime rw"),
    ("iversion", "rw,relatime rw"),
];

/// The attributes of the mounts that are bound by [`BOUND`].
const WEAK: &str = "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow";

/// Options of a bind of such a mount, with another one in it; what the kernel shows of it, and of the one in it.
const BOUND: [(&str, &str, &str); 22] = [
    ("bind", WEAK, ""),
    ("rbind", WEAK, WEAK),
    ("rbind,rw", "rw,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow", WEAK),
    ("rbind,suid", "ro,nodev,noexec,noatime,nodiratime,nosymfollow", WEAK),
    ("rbind,dev", "ro,nosuid,noexec,noatime,nodiratime,nosymfollow", WEAK),
    ("rbind,exec", "ro,nosuid,nodev,noatime,nodiratime,nosymfollow", WEAK),
    ("rbind,atime", "ro,nosuid,nodev,noexec,nodiratime,relatime,nosymfollow", WEAK),
    ("rbind,relatime", "ro,nosuid,nodev,noexec,nodiratime,relatime,nosymfollow", WEAK),
    ("rbind,strictatime", "ro,nosuid,nodev,noexec,nodiratime,nosymfollow", WEAK),
    ("rbind,norelatime", WEAK, WEAK),
    ("rbind,diratime", "ro,nosuid,nodev,noexec,noatime,nosymfollow", WEAK),
    ("rbind,symfollow", "ro,nosuid,nodev,noexec,noatime,nodiratime", WEAK),
    ("rbind,rw,suid,dev,exec,atime,diratime,symfollow", "rw,relatime", WEAK),
    ("rbind,rrw", RW, RW),
    ("rbind,ro,rrw", RW, RW),
    ("rbind,rro,rw", WEAK, WEAK),
    (
        "rbind,rsuid,rdev",
        "ro,noexec,noatime,nodiratime,nosymfollow",
        "ro,noexec,noatime,nodiratime,nosymfollow",
    ),
    ("rbind,ratime,rdiratime", QUICK, QUICK),
    ("rbind,rrelatime,rdiratime", QUICK, QUICK),
    ("rbind,rnostrictatime,rdiratime", QUICK, QUICK),
    (
        "rbind,rstrictatime",
        "ro,nosuid,nodev,noexec,nodiratime,nosymfollow",
        "ro,nosuid,nodev,noexec,nodiratime,nosymfollow",
    ),
    ("rbind,rrw,rsuid,rdev,rexec,ratime,rdiratime,rsymfollow", "rw,relatime", "rw,relatime"),
];
const RW: &str = "rw,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow";
const QUICK: &str = "ro,nosuid,nodev,noexec,relatime,nosymfollow";

fn options(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let weak = host.file("weak");
    let (at, below) = (weak.display(), weak.join("below"));
    host.script(&format!(
        "mkdir {at}; mount -t tmpfs weak {at}; mkdir {at}/below; mount -t tmpfs weak {at}/below
        for place in {at}/below {at}; do mount -o remount,bind,{WEAK} $place; done"
    ))?
    .ok()?;
    let new = NEW.iter().enumerate().map(|(number, (words, _))| tmpfs(&format!("/new{number}"), words));
    let bound =
        BOUND.iter().enumerate().map(|(number, (words, ..))| bind(&weak, &format!("/bound{number}"), words));
    let outcome = run(&oci, "cat /proc/self/mountinfo", &new.chain(bound).collect::<Vec<_>>())?;
    host.script(&format!("umount {} {at}", below.display()))?.ok()?;
    ensure!(outcome.code() == 0, "{outcome}");
    let mut wrong = Vec::new();
    for (number, (words, expected)) in NEW.iter().enumerate() {
        let found = shown(&outcome.stdout, &format!("/new{number}"))?;
        if found != *expected {
            wrong.push(format!("{words}: {found}, not {expected}"));
        }
    }
    for (number, (words, own, inner)) in BOUND.iter().enumerate() {
        for (place, expected) in [(format!("/bound{number}"), own), (format!("/bound{number}/below"), inner)]
        {
            let found = shown(&outcome.stdout, &place).unwrap_or_default();
            if found.split(' ').next() != Some(expected) {
                wrong.push(format!("{words} at {place}: {found}, not {expected}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let said: Vec<&str> = outcome.stderr.lines().collect();
    ensure!(said.len() == 1 && outcome.stderr.contains("`iversion` changes nothing"), "{said:#?}");
    Ok(())
}

fn remounts(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let file = host.write("file", "of the host")?;
    let mounts = [
        tmpfs("/a", "nosuid,noatime,size=64k"),
        tmpfs("/a", "remount,ro,nodev,size=128k"),
        tmpfs("/b", "ro,size=64k"),
        tmpfs("/b", "remount,bind,noexec"),
        bind(&file, "/c", "bind,nosuid"),
        bind(&file, "/c", "bind,remount,ro"),
    ];
    let table = run(&oci, "cat /proc/self/mountinfo", &mounts)?.ok()?;
    ensure!(shown(&table, "/a")? == "ro,nodev,noatime rw,size=128k", "{table}");
    ensure!(shown(&table, "/b")? == "rw,noexec,relatime rw,size=64k", "{table}");
    ensure!(shown(&table, "/c")?.starts_with("ro,relatime "), "{table}");
    ensure!(table.lines().filter(|line| line.contains(" /a ")).count() == 1, "{table}");
    for (mount, says) in [
        (tmpfs("/none", "remount,ro"), "nothing is at /none"),
        (tmpfs("/etc", "remount,ro"), "nothing is at /etc"),
        (tmpfs("/etc", "remount,size=1m"), "nothing is at /etc"),
        (tmpfs("/dev", "remount,bogus"), "Unknown parameter 'bogus'"),
        (tmpfs("/dev", "remount,tmpcopyup"), "takes neither"),
    ] {
        let said = run(&oci, "true", &[mount])?.fails_with(1)?;
        ensure!(said.contains(says), "{says}: {said}");
    }
    ensure!(!oci.bundle.join("rootfs/none").exists(), "a place was made for it");
    Ok(())
}

fn cgroup_options(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    for kind in ["cgroup", "cgroup2"] {
        let mount = |options: &[&str]| {
            [json!({"destination": "/sys/fs/cgroup", "type": kind, "source": "cgroup", "options": options})]
        };
        for refused in ["bogus", "memory=all", "tmpcopyup", "size=1k"] {
            let said = run(&oci, "true", &mount(&["ro", "nosuid", refused]))?.fails_with(1)?;
            ensure!(said.contains("mount /sys/fs/cgroup: ") && said.contains(refused), "{refused}: {said}");
        }
        let outcome = run(&oci, "true", &mount(&["ro", "nosuid", "relatime", "nsdelegate"]))?;
        ensure!(
            outcome.code() == 0 && outcome.stderr.contains("`nsdelegate` is for the host's"),
            "{outcome}"
        );
    }
    Ok(())
}

fn order(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let root = oci.bundle.join("rootfs");
    let volume = host.file("volume");
    std::fs::create_dir_all(volume.join("inner"))?;
    std::fs::write(volume.join("inner/file"), "of the volume")?;
    std::fs::create_dir(root.join("under"))?;
    std::fs::write(root.join("under/file"), "of the root")?;
    symlink("/under", root.join("absolute"))?;
    symlink("/etc/passwd", root.join("leak"))?;
    std::fs::write(root.join("etc/passwd"), "of the image")?;
    // The bundle by another way.
    let link = host.file("link");
    symlink(&oci.bundle, &link)?;
    let inside = |path: &str| root.join(path);
    let mounts = [
        tmpfs("/tmp/sub", "size=64k"),
        tmpfs("/tmp/sub/d", "size=128k"),
        bind(&inside("tmp/sub/d"), "/y", "bind,ro,nosuid"),
        bind(&inside("tmp"), "/whole", "rbind"),
        bind(&inside("tmp"), "/alone", "bind"),
        bind(&inside("under/file"), "/before", "bind"),
        bind(&volume, "/under", "rbind"),
        bind(&inside("under/inner/file"), "/after", "bind,ro"),
        bind(&link.join("rootfs/absolute/inner"), "/linked", "bind"),
        bind(&"rootfs/under/inner", "/relative", "bind"),
        bind(&inside("leak"), "/passwd", "bind"),
    ];
    let line = "cat /before /after /linked/file /relative/file /passwd; cat /proc/self/mountinfo";
    let seen = run(&oci, line, &mounts)?.ok()?;
    let table = seen.strip_prefix(&format!("of the root{}of the image", "of the volume".repeat(3)));
    let table = table.with_context(|| seen.clone())?;
    ensure!(shown(table, "/y")? == "ro,nosuid,relatime rw,size=128k", "{table}");
    ensure!(shown(table, "/whole/sub/d")? == "rw,relatime rw,size=128k", "{table}");
    ensure!(shown(table, "/alone/sub").is_err(), "{table}");
    ensure!(shown(table, "/after")?.starts_with("ro,"), "{table}");

    let proc = bind(&inside("proc/sys"), "/x", "bind");
    let said = run(&oci, "true", &[proc])?.fails_with(1)?;
    ensure!(said.contains("of which nothing is mounted elsewhere"), "{said}");
    let gone = [tmpfs("/under", ""), bind(&inside("under/file"), "/x", "bind")];
    let said = run(&oci, "true", &gone)?.fails_with(1)?;
    ensure!(said.contains("ENOENT") && said.contains("after the mounts before this one"), "{said}");
    Ok(())
}

fn words(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let (file, folder) = (host.write("file", "")?, host.file("folder"));
    std::fs::create_dir(&folder)?;
    symlink("/", oci.bundle.join("rootfs/root-again"))?;
    let mount = |kind: &str| json!({"destination": "/x", "type": kind, "source": kind});
    for (mounts, cause, remedy) in [
        (
            vec![bind(&file, "/etc", "bind")],
            "EINVAL",
            "is a file and \"/etc\" is a directory in the container",
        ),
        (vec![bind(&folder, "/etc/passwd", "bind")], "ENOTDIR", "\"/etc/passwd\" is a file in the container"),
        (vec![tmpfs("/etc/passwd/below", "")], "ENOTDIR", "or a part of that path is"),
        (vec![tmpfs("/x", "size=abc")], "tmpfs: Bad value for 'size'", "does not take the option `size=abc`"),
        (vec![tmpfs("/x", "nosuid,bogus")], "tmpfs: Unknown parameter 'bogus'", "the option `bogus`"),
        (vec![mount("nofs")], "ENODEV", "this kernel has no file system `nofs`"),
        (vec![tmpfs("/root-again", "")], "EBUSY", "leads to the root itself"),
        (vec![tmpfs("/ro", ""), tmpfs("/ro", "remount,ro"), tmpfs("/ro/below", "")], "EROFS", "is missing"),
    ] {
        let said = run(&oci, "true", &mounts)?.fails_with(1)?;
        ensure!(said.contains(cause) && said.contains(remedy), "{remedy}: {said}");
    }
    // A user namespace's root mounts no disk, and its limits are the kernel's.
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let namespaces = json!([{"type": "user"}, {"type": "mount"}, {"type": "pid"}, {"type": "uts"}]);
    let user =
        [("/linux/uidMappings", map.clone()), ("/linux/gidMappings", map), ("/linux/namespaces", namespaces)];
    let said = run_changed(&oci, "true", &[mount("ext4")], &user)?.fails_with(1)?;
    ensure!(said.contains("EPERM") && said.contains("few file systems can be"), "{said}");
    Ok(())
}

fn settings(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    symlink("circle", oci.bundle.join("rootfs/circle"))?;
    for (change, cause, remedy) in [
        (("/hostname", json!("a".repeat(65))), "sethostname", "more than 64 bytes"),
        (("/linux/sysctl", json!({"net.core.somaxconn": "-1"})), "EINVAL", "does not take this value"),
        (("/process/cwd", json!("/etc/passwd")), "ENOTDIR", "is a file in the container"),
        (("/process/cwd", json!("/circle/x")), "ELOOP", "lead to each other"),
    ] {
        let said = run_changed(&oci, "true", &[], std::slice::from_ref(&change))?.fails_with(1)?;
        ensure!(said.contains(cause) && said.contains(remedy), "{}: {said}", change.0);
    }
    Ok(())
}

fn limits(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    for (resources, remedy) in [
        (json!({"cpu": {"cpus": "9999"}}), "not in cpuset.cpus of the cgroup above"),
        (json!({"cpu": {"mems": "999"}}), "not in cpuset.mems of the cgroup above"),
    ] {
        let said = run_changed(&oci, "true", &[], &[("/linux/resources", resources)])?.fails_with(1)?;
        ensure!(said.contains("write(") && said.contains(remedy), "{remedy}: {said}");
        oci.gone()?;
    }
    Ok(())
}

fn scarce_memory(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["true"], &[("/linux/resources", json!({"memory": {"limit": 100}}))])?;
    for verb in ["create", "run"] {
        let said = oci.oci(&[verb, "--bundle", &oci.bundle.to_string_lossy(), "web"])?.fails_with(1)?;
        ensure!(said.contains("limit of memory is too low"), "{verb}: {said}");
        oci.gone()?;
    }
    Ok(())
}
