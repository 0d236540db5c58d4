//! What the verbs about images say to a person: the name that was meant, the cause, and what to do.

use anyhow::{Result, ensure};

use support::fixtures;
use support::host::Host;
use support::registry::Registry;
use support::suite::Suite;

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 4;
const IMAGE: i32 = 6;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("a load and a pull name the image as it came", &["busybox"], names_as_they_came);
    suite.on_host("what cannot be loaded or pulled does not keep the others away", &[], the_others_come);
    suite.on_host("an image that is not here is looked for under like names", &["busybox"], like_names);
    suite.on_host("what is no image's archive is refused with what to do", &["busybox"], no_archives);
    suite.on_host("images are listed and completed by the names that are shown", &["busybox"], shown_names);
}

fn archive(name: &str) -> Result<String> {
    Ok(fixtures::path(name)?.to_string_lossy().into_owned())
}

fn names_as_they_came(host: &Host) -> Result<()> {
    let name = fixtures::reference("busybox");
    host.podrun(&["tag", &name, "a:1", "z:1"])?.ok()?;
    for (flags, wanted) in
        [(&["load", "-q"][..], format!("{name}\n")), (&["load"], format!("loaded {name}\n"))]
    {
        let said = host.podrun(&[flags, &[&archive("busybox.tar")?]].concat())?.ok()?;
        ensure!(said == wanted, "the archive knows one name: {said}");
    }
    let registry = Registry::start(host)?;
    for repository in ["lab/one", "lab/two"] {
        registry.publish("busybox", repository, "1")?;
    }
    // Fetched, and known already.
    for repository in ["lab/one", "lab/two", "lab/one", "lab/two"] {
        let outcome = host.podrun(&["pull", &format!("127.0.0.1:5000/{repository}:1")])?;
        ensure!(outcome.stderr.contains(&format!("pulled 127.0.0.1:5000/{repository}@sha256:")), "{outcome}");
    }
    registry.stop()
}

fn the_others_come(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let probe = registry.publish("probe", "lab/probe", "1")?;
    let outcome =
        host.podrun(&["pull", "-q", "127.0.0.1:5000/lab/none:1", "127.0.0.1:5000/lab/probe:2", &probe])?;
    ensure!(outcome.stdout.starts_with("sha256:") && outcome.stdout.lines().count() == 1, "{outcome}");
    let said = outcome.fails_with(IMAGE)?;
    for word in ["lab/none:1: registry 127.0.0.1:5000: tag 1 not found", "lab/probe:2: registry"] {
        ensure!(said.contains(word), "{word}: {said}");
    }
    registry.stop()?;
    let outcome = host.podrun(&["load", "-q", "/nonexistent.tar", &archive("busybox.tar")?])?;
    ensure!(outcome.stdout == format!("{}\n", fixtures::reference("busybox")), "{outcome}");
    ensure!(outcome.fails_with(IMAGE)?.contains("/nonexistent.tar"), "the one that is not there");
    Ok(())
}

fn like_names(host: &Host) -> Result<()> {
    let name = fixtures::reference("busybox");
    for text in ["busybox", "busybox:9", "quay.io/a/busybox:1"] {
        for verb in [&["rmi"][..], &["image", "tree"], &["image", "history"], &["push"]] {
            let said = host.podrun(&[verb, &[text]].concat())?.fails_with(NOT_FOUND)?;
            ensure!(
                said == format!("podrun: image {text:?} not found\nhint: did you mean {name}?\n"),
                "{said}"
            );
        }
    }
    let said = host.podrun(&["rmi", "busy"])?.fails_with(NOT_FOUND)?;
    ensure!(said.contains("hint: `podrun images`"), "{said}");
    // An archive has nothing to do with it.
    let file = host.file("none.tar");
    let said = host.podrun(&["save", "busy", "-o", &file.to_string_lossy()])?.fails_with(NOT_FOUND)?;
    ensure!(said.starts_with("podrun: image \"busy\" not found\n") && !file.exists(), "{said}");
    let said = host.podrun(&["push", "--all-tags", "lab/none"])?.fails_with(NOT_FOUND)?;
    ensure!(
        said.contains("no image here has a tag of lab/none") && said.contains("podrun tag IMAGE"),
        "{said}"
    );
    // What can be no name is a line that makes no sense, whichever verb reads it; and no error is a page long.
    for verb in ["rmi", "pull", "push"] {
        let said = host.podrun(&[verb, "docker://busybox"])?.fails_with(USAGE)?;
        ensure!(said.contains("leave \"docker://\" out"), "{verb}: {said}");
        let said = host.podrun(&[verb, &"a".repeat(5000)])?.fails_with(USAGE)?;
        ensure!(said.contains("longer than 255") && said.len() < 500, "{verb}: {said}");
    }
    Ok(())
}

fn no_archives(host: &Host) -> Result<()> {
    let folder = host.file("rootfs");
    std::fs::create_dir_all(folder.join("etc"))?;
    let (folder, tar) = (folder.to_string_lossy().into_owned(), host.file("rootfs.tar"));
    host.run("tar", &["-C", &folder, "-cf", &tar.to_string_lossy(), "."])?.ok()?;
    let tar = tar.to_string_lossy();
    let said = host.podrun(&["load", &tar])?.fails_with(IMAGE)?;
    ensure!(said.contains("neither an OCI layout") && said.contains("podrun image import"), "{said}");
    let said = host.podrun(&["image", "import", &folder])?.fails_with(IMAGE)?;
    ensure!(said.contains("is a directory") && said.contains(&format!("tar -C {folder} -c .")), "{said}");
    let said = host.podrun(&["image", "import", "https://a.invalid/x.tar"])?.fails_with(IMAGE)?;
    ensure!(said.contains("curl -fsSL https://a.invalid/x.tar | podrun image import -"), "{said}");
    let packed = host.file("packed.tar.xz");
    std::fs::write(&packed, b"\xfd7zXZ\0\0\x04 and so on")?;
    let packed = packed.to_string_lossy();
    for verb in [&["load"][..], &["image", "import"]] {
        let said = host.podrun(&[verb, &[&packed]].concat())?.fails_with(IMAGE)?;
        ensure!(said.contains("compressed with xz") && said.contains("xz -dc"), "{verb:?}: {said}");
        let said = host.podrun_with_stdin(&[verb, &["-"]].concat(), b"")?.fails_with(IMAGE)?;
        ensure!(said == "podrun: standard input: is empty\n", "{verb:?}: {said}");
    }
    let name = fixtures::reference("busybox");
    let said = host.podrun(&["image", "mount", &name, "--", "none"])?.fails_with(127)?;
    ensure!(said.starts_with("podrun: none: ENOENT (no such file or directory)\n"), "{said}");
    Ok(())
}

fn shown_names(host: &Host) -> Result<()> {
    let name = fixtures::reference("busybox");
    host.podrun(&["tag", &name, "busybox:2", "lab/box"])?.ok()?;
    let listed = |name: &str| -> Result<Vec<String>> {
        let text = host.podrun(&["images", "--no-headers", name])?.ok()?;
        Ok(text.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(":")).collect())
    };
    ensure!(listed("busybox")? == ["busybox:2"], "{:?}", listed("busybox")?);
    ensure!(listed(&name)? == [name.clone()], "{:?}", listed(&name)?);
    ensure!(listed("lab/box:1")?.is_empty(), "another tag");
    let id = host.podrun(&["images", "-q", &name])?.ok()?.trim().to_owned();
    let offered = |typed: &str| -> Result<Vec<String>> {
        let script = format!(
            "_CLAP_COMPLETE_INDEX=2 PODRUN_COMPLETE=bash $podrun -- podrun rmi '{typed}' | tr '\\013' '\\n'"
        );
        Ok(host.script(&script)?.ok()?.lines().map(str::to_owned).collect())
    };
    ensure!(offered("")? == ["busybox:2", "lab/box:latest", &name], "{:?}", offered("")?);
    ensure!(offered("busy")? == ["busybox:2"], "{:?}", offered("busy")?);
    ensure!(offered("docker.io/l")? == ["docker.io/lab/box:latest", "docker.io/library/busybox:2"]);
    ensure!(offered(&id[..5])? == [id.clone()], "{:?}", offered(&id[..5])?);
    Ok(())
}
