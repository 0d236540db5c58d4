//! Images that leave the store and come back: `save` beside `load`, skopeo beside both, and root file systems without an image.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use support::deadline::wait_for;
use support::fixtures::{self, reference};
use support::host::Host;
use support::pods::pod;
use support::run::Outcome;
use support::suite::Suite;
use support::terminal::Terminal;

use crate::image::{images, load, remove_all};

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 4;
const IMAGE: i32 = 6;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("what podrun saves podrun loads as the same image", &[], round_trip);
    suite.on_host("save goes to a pipe and the same image makes the same bytes", &["layers"], to_a_pipe);
    suite.on_host("save refuses what is not whole and leaves no file", &[], not_whole);
    suite.on_host("image import makes an image of a root file system", &["busybox"], import);
    suite.on_host(
        "image mount shows an image to one program and leaves nothing",
        &["nginx", "busybox"],
        mount,
    );
    suite.on_host_with_tool("skopeo reads and copies what podrun saves", "skopeo", skopeo);
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn ids(host: &Host) -> Result<Vec<String>> {
    Ok(images(host)?.iter().filter_map(|image| image["id"].as_str().map(str::to_owned)).collect())
}

fn inspect(host: &Host, image: &str) -> Result<Value> {
    let all: Value = serde_json::from_str(&host.podrun(&["image", "inspect", image])?.ok()?)?;
    Ok(all[0].clone())
}

fn diff_ids(image: &Value) -> Vec<&str> {
    image["layers"].as_array().into_iter().flatten().filter_map(|layer| layer["diffId"].as_str()).collect()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file out of a tar, as GNU tar reads it.
fn member(archive: &Path, name: &str) -> Result<Vec<u8>> {
    let output = std::process::Command::new("tar").arg("-xOf").arg(archive).arg(name).output()?;
    ensure!(output.status.success(), "tar: {name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn round_trip(host: &Host) -> Result<()> {
    let archive = host.file("saved.tar");
    for fixture in ["nginx", "layers", "layers.docker.tar", "platforms"] {
        load(host, fixture)?;
        let name = reference(fixture.split('.').next().context("a name")?);
        host.podrun(&["tag", &name, "again:2"])?.ok()?;
        let before = inspect(host, &name)?;
        for format in ["oci-archive", "docker-archive"] {
            let said = host.podrun(&["save", &name, "again:2", "--format", format, "-o", &text(&archive)])?;
            ensure!(said.stdout.is_empty() && said.stderr.is_empty(), "{said}");
            said.ok()?;
            if format == "docker-archive" {
                let list: Value = serde_json::from_slice(&member(&archive, "manifest.json")?)?;
                ensure!(list[0]["RepoTags"] == json!([name, "again:2"]), "{list:#}");
                for (layer, diff_id) in
                    list[0]["Layers"].as_array().context("layers")?.iter().zip(diff_ids(&before))
                {
                    let bytes = member(&archive, layer.as_str().context("a name")?)?;
                    ensure!(diff_id == format!("sha256:{}", hash(&bytes)), "{layer} is not {diff_id}");
                }
            } else if fixture == "nginx" {
                // Its manifest is the one with which it came.
                let index: Value = serde_json::from_slice(&member(&archive, "index.json")?)?;
                let file = std::fs::read(fixtures::path(fixture)?.join("index.json"))?;
                let original: Value = serde_json::from_slice(&file)?;
                ensure!(index["manifests"][0]["digest"] == original["manifests"][0]["digest"], "{index:#}");
            }
            remove_all(host)?;
            host.podrun(&["load", "-q", &text(&archive)])?.ok()?;
            let after = inspect(host, &name)?;
            ensure!(
                after["id"] == before["id"] && after["names"] == before["names"],
                "{fixture} {format}: {after:#}"
            );
            ensure!(
                after["history"] == before["history"] && after["size"] == before["size"],
                "{fixture} {format}"
            );
            ensure!(diff_ids(&after) == diff_ids(&before), "{fixture} {format}: {after:#}");
            host.podrun(&["image", "fsck"])?.ok()?;
        }
        remove_all(host)?;
    }
    // Several images, of which two share a layer, and one by its id, which then has no name.
    for fixture in ["nginx", "busybox", "layers"] {
        load(host, fixture)?;
    }
    let id = inspect(host, &reference("layers"))?["id"].as_str().context("id")?.to_owned();
    let all = ids(host)?;
    let short = &id["sha256:".len()..][..12];
    for format in ["oci-archive", "docker-archive"] {
        let (nginx, busybox) = (reference("nginx"), reference("busybox"));
        host.podrun(&["save", &nginx, &busybox, short, "--format", format, "-o", &text(&archive)])?.ok()?;
        remove_all(host)?;
        host.podrun(&["load", "-q", &text(&archive)])?.ok()?;
        let mut loaded = ids(host)?;
        loaded.sort();
        let mut wanted = all.clone();
        wanted.sort();
        ensure!(loaded == wanted, "{format}: {loaded:?}");
        ensure!(inspect(host, &id)?["names"] == json!([]), "{format}");
    }
    remove_all(host)
}

fn to_a_pipe(host: &Host) -> Result<()> {
    let name = reference("layers");
    let id = ids(host)?;
    host.script(&format!("\"$podrun\" save {name} >one.tar; \"$podrun\" save {name} -o - >two.tar; \"$podrun\" save {name} -o three.tar"))?
        .ok()?;
    let [one, two, three] = ["one.tar", "two.tar", "three.tar"].map(|name| std::fs::read(host.file(name)));
    let one = one?;
    ensure!(one.len() > 1024 && one == two? && one == three?, "one image, one archive");
    host.script(&format!("\"$podrun\" save {name} | PODRUN_ROOT=$PWD/other \"$podrun\" load -q -"))?.ok()?;
    let other = host.script("PODRUN_ROOT=$PWD/other \"$podrun\" images -q --no-trunc")?.ok()?;
    ensure!(other.trim() == id[0], "{other}");
    // A terminal is no place for an archive.
    let terminal = Terminal::start(&host.podrun_command(&["save", &name])?)?;
    terminal.wait_until_shown("hint: -o FILE")?;
    ensure!(terminal.wait()? == USAGE, "on a terminal");
    // Whoever reads it goes away: that is no failure to shout about.
    let piped = host.script(&format!("set +o pipefail; \"$podrun\" save {name} | head -c 1 | wc -c"))?;
    ensure!(piped.stderr.is_empty() && piped.stdout.trim() == "1", "{piped}");
    std::fs::remove_dir_all(host.file("other")).ok();
    Ok(())
}

fn refused(host: &Host, outcome: Outcome, code: i32, words: &[&str]) -> Result<()> {
    let said = outcome.fails_with(code)?;
    for word in words {
        ensure!(said.contains(word), "{word:?} is not in: {said}");
    }
    let left: Vec<_> =
        std::fs::read_dir(host.file("out"))?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(left.len() == 1, "{left:?}");
    ensure!(
        std::fs::read_to_string(host.file("out/kept.tar"))? == "an archive from before",
        "it was overwritten"
    );
    Ok(())
}

fn not_whole(host: &Host) -> Result<()> {
    std::fs::create_dir(host.file("out"))?;
    let archive = text(&host.write("out/kept.tar", "an archive from before")?);
    load(host, "nginx")?;
    let name = reference("nginx");
    let save = |format: &str| host.podrun(&["save", &name, "--format", format, "-o", &archive]);
    let details = inspect(host, &name)?;
    let digest = details["layers"][1]["packed"][0]["digest"].as_str().context("digest")?;
    let blob = host.root().join("content/sha256").join(digest.trim_start_matches("sha256:"));
    let good = std::fs::read(&blob)?;
    let mut spoilt = good.clone();
    spoilt[good.len() / 2] ^= 1;
    // It may be other hosts' too, by a hard link.
    std::fs::remove_file(&blob)?;
    std::fs::write(&blob, spoilt)?;
    refused(host, save("oci-archive")?, IMAGE, &[digest, "wrong digest", "fsck --repair"])?;
    refused(host, save("docker-archive")?, IMAGE, &[digest])?;
    std::fs::remove_file(&blob)?;
    let chain = details["layers"][1]["chainId"].as_str().context("chainId")?;
    for format in ["oci-archive", "docker-archive"] {
        refused(host, save(format)?, IMAGE, &[chain, &name, "hint: pull or load"])?;
    }
    refused(host, host.podrun(&["save", "nothing:1", "-o", &archive])?, NOT_FOUND, &["nothing:1"])?;
    let squashfs = host.podrun(&["save", &name, "--format", "squashfs", "-o", &archive])?;
    refused(host, squashfs, USAGE, &["oci-archive, docker-archive"])?;
    host.podrun(&["save", &name, "-o", "/nonexistent/x.tar"])?.fails_with(1)?;
    // The layer is there, its blob is not: a load brings it.
    load(host, "nginx")?;
    save("oci-archive")?.ok()?;
    remove_all(host)
}

fn import(host: &Host) -> Result<()> {
    // A root file system as somebody has it: busybox' own, by way of the mount.
    let tar = text(&host.file("root.tar"));
    host.podrun(&["image", "mount", &reference("busybox"), "--", "tar", "-cf", &tar, "."])?.ok()?;
    host.script(
        "mkdir -p over/etc over/tmp; echo welcome >over/etc/motd; tar --append -f root.tar -C over etc/motd tmp",
    )?
    .ok()?;
    let changes = [
        r#"CMD ["cat", "/etc/motd"]"#,
        r#"ENTRYPOINT=["/bin/sh", "-c", "echo $A; pwd; exec \"$@\"", "sh"]"#,
        r#"ENV A="two words" PATH=/bin"#,
        "USER 1000:1000",
        "WORKDIR /tmp",
        "LABEL stage=test",
        "EXPOSE 80 53/udp",
    ];
    let mut line = vec!["image", "import", &tar, "lab/rootfs:1", "-m", "by hand"];
    changes.iter().for_each(|change| line.extend(["--change", change]));
    let id = host.podrun(&line)?.ok()?.trim().to_owned();
    let found = inspect(host, "lab/rootfs:1")?;
    ensure!(found["id"] == id.as_str() && found["user"] == "1000:1000", "{found:#}");
    ensure!(found["config"]["exposedPorts"] == json!(["53/udp", "80/tcp"]), "{found:#}");
    ensure!(found["config"]["labels"]["stage"] == "test", "{found:#}");
    ensure!(found["history"][0]["comment"] == "by hand", "{found:#}");
    ensure!(diff_ids(&found) == [format!("sha256:{}", hash(&std::fs::read(&tar)?))], "{found:#}");
    // It runs, as it was told to.
    let main = json!({ "name": "main", "image": "docker.io/lab/rootfs:1", "imagePullPolicy": "Never" });
    host.create(&pod("web", &json!({ "containers": [main], "restartPolicy": "Never" })))?;
    host.wait_for_pod("web", "has ended", |pod| pod["status"]["phase"] == "Succeeded")?;
    let logs = host.podrun(&["logs", "web"])?.ok()?;
    ensure!(logs == "two words\n/tmp\nwelcome\n", "{logs}");
    host.podrun(&["delete", "pod", "web"])?.ok()?;
    // From a pipe, compressed, without a name.
    let unnamed = host.script("gzip -c root.tar | \"$podrun\" image import -q -")?.ok()?.trim().to_owned();
    let zipped = inspect(host, &unnamed)?;
    ensure!(zipped["names"] == json!([]) && diff_ids(&zipped) == diff_ids(&found), "{zipped:#}");
    // It goes out and comes back as what it is.
    host.podrun(&["save", "lab/rootfs:1", "-o", &text(&host.file("saved.tar"))])?.ok()?;
    remove_all(host)?;
    host.podrun(&["load", "-q", &text(&host.file("saved.tar"))])?.ok()?;
    ensure!(ids(host)? == [id], "{:#?}", images(host)?);
    remove_all(host)?;
    // What is none is refused, and nothing stays.
    for (bytes, why) in [("", "empty"), ("this is no tar, and never was one", "tar")] {
        let file = text(&host.write("none", bytes)?);
        let said = host.podrun(&["image", "import", &file])?.fails_with(IMAGE)?;
        ensure!(said.contains(&file), "{why}: {said}");
    }
    host.podrun(&["image", "import", "/nonexistent"])?.fails_with(IMAGE)?;
    let said = host.podrun(&["image", "import", &tar, "--change", "RUN apt"])?.fails_with(USAGE)?;
    ensure!(said.contains("RUN is not among them"), "{said}");
    remove_all(host)
}

/// The writing end of a pipe that a program has opened for reading.
fn answered(fifo: &str) -> Result<std::fs::File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    wait_for("the program reads", || {
        Ok(std::fs::File::options().write(true).custom_flags(flags).open(fifo)?)
    })
}

fn mount(host: &Host) -> Result<()> {
    let (nginx, busybox) = (reference("nginx"), reference("busybox"));
    let mounts = || Ok::<_, anyhow::Error>(std::fs::read_to_string(host.proc().join("1/mountinfo"))?);
    let before = mounts()?;
    let run = |image: &str, script: &str| host.podrun(&["image", "mount", image, "--", "sh", "-c", script]);
    // It begins there; the path is in the variable and in the argument's place.
    let shown = ["image", "mount", &nginx, "--", "sh", "-c", "pwd; echo $PODRUN_MOUNT; echo $0", "{}"];
    let said = host.podrun(&shown)?.ok()?;
    let paths: Vec<&str> = said.lines().collect();
    ensure!(paths.len() == 3 && paths[0] == paths[1] && paths[1] == paths[2], "{said}");
    // All layers as one, and one layer alone.
    run(&nginx, "test -e usr/sbin/nginx && test -e bin/busybox")?.ok()?;
    run(&busybox, "test -e bin/busybox && ! test -e usr/sbin/nginx")?.ok()?;
    // Nothing can be written, and nobody else sees it.
    let said = run(&busybox, "touch x")?.fails_with(1)?;
    ensure!(said.contains("Read-only"), "{said}");
    let own = run(&nginx, "grep -c \" $PWD ro,nosuid,nodev\" /proc/self/mountinfo")?.ok()?;
    ensure!(own.trim() == "1", "{own}");
    let others = run(&nginx, "grep -c $PWD /proc/1/mountinfo")?;
    ensure!(others.stdout.trim() == "0", "{others}");
    // Its code is passed on, and podrun's own are beside it.
    run(&nginx, "exit 42")?.fails_with(42)?;
    run(&nginx, "kill -9 $$")?.fails_with(137)?;
    let said = host.podrun(&["image", "mount", &nginx, "--", "/no/such/program"])?.fails_with(127)?;
    ensure!(said.contains("/no/such/program") && said.contains("the host's"), "{said}");
    let said = host.podrun(&["image", "mount", "nothing:1", "--", "true"])?.fails_with(125)?;
    ensure!(said.contains("nothing:1"), "{said}");
    let said = host.podrun(&["image", "mount", &nginx])?;
    ensure!(said.code() == USAGE && said.stderr.contains("COMMAND"), "{said}");
    // It keeps what it shows.
    let fifo = text(&host.file("go"));
    host.run("mkfifo", &[&fifo])?.ok()?;
    let script = format!("cat {fifo} >/dev/null; test -e usr/sbin/nginx");
    let running = host.start(&["image", "mount", &nginx, "--", "sh", "-c", &script])?;
    let pipe = answered(&fifo)?;
    let said = host.podrun(&["rmi", &nginx])?.fails_with(1)?;
    ensure!(said.contains("in use by process "), "{said}");
    host.podrun(&["image", "prune", "--all"])?.ok()?;
    ensure!(ids(host)?.len() == 1, "busybox went, nginx is kept: {:#?}", images(host)?);
    drop(pipe);
    running.wait()?.ok()?;
    // Signals go on to the program; a podrun that is killed leaves what the next command clears up.
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGKILL, 137)] {
        let running = host.start(&["image", "mount", &nginx, "--", "cat", &fifo])?;
        let pipe = answered(&fifo)?;
        running.signal(signal)?;
        // Behind a killed one the program still reads, and holds its streams, until there is nothing more to read.
        if signal == Signal::SIGKILL {
            drop(pipe);
        }
        running.wait()?.fails_with(code)?;
    }
    host.podrun(&["images"])?.ok()?;
    ensure!(std::fs::read_dir(host.root().join("tmp"))?.count() == 0, "in tmp");
    ensure!(mounts()? == before, "the host's mounts");
    remove_all(host)
}

fn skopeo(host: &Host) -> Result<()> {
    let program = fixtures::tool("skopeo").context("skopeo")?;
    let skopeo = |line: &[&str]| -> Result<String> {
        let tmp = text(&host.file(""));
        let line: Vec<&str> =
            ["--insecure-policy", "--tmpdir", &tmp].into_iter().chain(line.iter().copied()).collect();
        let mut command = host.command(&program, &line);
        command.env("LD_LIBRARY_PATH", fixtures::library_path());
        let output = command.output()?;
        ensure!(output.status.success(), "skopeo {line:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    for fixture in ["nginx", "layers.docker.tar"] {
        load(host, fixture)?;
        let name = reference(fixture.split('.').next().context("a name")?);
        let before = inspect(host, &name)?;
        let (ours, theirs) = (text(&host.file("ours.tar")), text(&host.file("theirs.tar")));
        for (format, other) in [("oci-archive", "docker-archive"), ("docker-archive", "oci-archive")] {
            host.podrun(&["save", &name, "--format", format, "-o", &ours])?.ok()?;
            let config = skopeo(&["inspect", "--config", "--raw", &format!("{format}:{ours}")])?;
            ensure!(before["id"] == format!("sha256:{}", hash(config.as_bytes())), "{format}: {config}");
            for to in [format, other] {
                std::fs::remove_file(&theirs).ok();
                skopeo(&["copy", &format!("{format}:{ours}"), &format!("{to}:{theirs}:{name}")])?;
                remove_all(host)?;
                host.podrun(&["load", "-q", &theirs])?.ok()?;
                let after = inspect(host, &name)?;
                ensure!(diff_ids(&after) == diff_ids(&before), "{format} to {to}: {after:#}");
                ensure!(after["config"]["cmd"] == before["config"]["cmd"], "{format} to {to}: {after:#}");
                // In its own form the config stays byte by byte.
                ensure!(format != to || after["id"] == before["id"], "{format}: {after:#}");
            }
            remove_all(host)?;
            load(host, fixture)?;
        }
        remove_all(host)?;
    }
    Ok(())
}
