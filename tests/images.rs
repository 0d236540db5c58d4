//! The fixtures themselves, and `load`, `images` and `rmi`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use support::fixtures;
use support::host::Host;
use support::registry::Registry;
use support::run::Outcome;
use support::suite::Suite;

const ALL: [&str; 8] = ["busybox", "debian", "httpd", "layers", "nginx", "platforms", "probe", "redis"];

pub(crate) fn add(suite: &mut Suite) {
    suite.plain("every blob of every fixture is what its digest says", every_blob_is_what_its_digest_says);
    suite.plain("a spoilt fixture is spoilt in one blob only", a_spoilt_fixture_is_spoilt_in_one_blob);
    suite.plain("fixtures made twice from the same packages are equal", fixtures_made_twice_are_equal);
    suite.on_host(
        "an image is loaded from a layout an archive and a docker archive as the same",
        &[],
        three_forms,
    );
    suite.on_host("a layer whose digest is wrong is refused and nothing is kept", &[], wrong_digest);
    suite.on_host("a layer that ends in the middle is refused and nothing is kept", &[], truncated);
    suite.on_host("layers are unpacked as the lowest to the highest say", &[], unpacked_layers);
    suite.on_host("this machine's platform is taken out of an index for several", &[], platforms);
    suite.on_host("an image pulled from a registry is the one that was put there", &[], pull);
    suite.on_host("a blob that the registry spoilt is refused by its digest", &[], spoilt_pull);
    suite.on_host("what the registry does not have is said by name", &[], missing_in_registry);
    suite.on_host("rmi takes an image away and says when there is none", &[], rmi);
    suite.on_host("layers shared by two images are stored once and outlive one of them", &[], shared_layers);
    suite.on_host("sixteen loads of one image at once leave one image", &[], loads_at_once);
    suite.on_host("a load killed in the middle leaves nothing that is taken for whole", &[], killed_load);
}

fn hex_digest(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("`{}`", path.display()))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The blobs of a layout whose bytes are not what their names say.
fn wrong_blobs(layout: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(layout.join("blobs/sha256"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        count += 1;
        if hex_digest(&entry.path())? != name {
            wrong.push(name);
        }
    }
    ensure!(count >= 3, "`{}` holds {count} blobs", layout.display());
    Ok(wrong)
}

fn every_blob_is_what_its_digest_says() -> Result<()> {
    for name in ALL {
        let layout = fixtures::path(name)?;
        ensure!(wrong_blobs(&layout)?.is_empty(), "{name}");
        let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
        let reference = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
        ensure!(*reference == fixtures::reference(name), "{name}: {reference}");
        fixtures::path(&format!("{name}.tar"))?;
    }
    Ok(())
}

fn a_spoilt_fixture_is_spoilt_in_one_blob() -> Result<()> {
    for name in ["busybox.wrong-digest", "busybox.truncated"] {
        let wrong = wrong_blobs(&fixtures::path(name)?)?;
        ensure!(wrong.len() == 1, "{name}: {wrong:?}");
    }
    let (wrong, right) = (fixtures::path("busybox.wrong-digest")?, fixtures::path("busybox")?);
    let blob = Path::new("blobs/sha256").join(&wrong_blobs(&wrong)?[0]);
    let length = |layout: &Path| Ok::<_, anyhow::Error>(std::fs::metadata(layout.join(&blob))?.len());
    ensure!(length(&wrong)? == length(&right)?, "a wrong digest is to be found by hashing, not by length");
    Ok(())
}

fn fixtures_made_twice_are_equal() -> Result<()> {
    let program = std::env::current_exe()?;
    let program = program.parent().and_then(Path::parent).context("a test lies in target/*/deps")?;
    let program = program.join("rootfs-fixtures");
    ensure!(program.exists(), "`{}` does not exist\nhint: `make fixtures`", program.display());
    let again = tempfile::tempdir_in(fixtures::target_folder())?;
    std::os::unix::fs::symlink(fixtures::path("packages")?, again.path().join("packages"))?;
    let names = ["busybox", "nginx"];
    let status =
        Command::new(program).arg(again.path()).args(names).stdout(std::process::Stdio::null()).status()?;
    ensure!(status.success(), "rootfs-fixtures: {status}");
    for name in names {
        let [first, second] = [fixtures::path(name)?, again.path().join(name)]
            .map(|layout| hex_digest(&layout.join("index.json")));
        ensure!(first? == second?, "{name} differs");
    }
    Ok(())
}

fn load(host: &Host, fixture: &str) -> Result<Outcome> {
    host.podrun(&["load", &fixtures::path(fixture)?.to_string_lossy()])
}

fn images(host: &Host) -> Result<Vec<Value>> {
    let text = host.podrun(&["images", "-o", "json"])?.ok()?;
    let list: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    Ok(list.as_array().context("a list of images")?.clone())
}

/// The folders of the store that hold whole layers.
fn layers(host: &Host) -> Result<Vec<std::path::PathBuf>> {
    let Ok(entries) = std::fs::read_dir(host.root().join("layers")) else { return Ok(Vec::new()) };
    let mut folders: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    folders.sort();
    Ok(folders)
}

fn three_forms(host: &Host) -> Result<()> {
    let mut ids = Vec::new();
    for form in ["layers", "layers.tar", "layers.docker.tar"] {
        let said = load(host, form)?.ok()?;
        ensure!(said.contains(&fixtures::reference("layers")), "{said}");
        let all = images(host)?;
        ensure!(
            all.len() == 1 && all[0]["names"] == serde_json::json!([fixtures::reference("layers")]),
            "{all:#?}"
        );
        ids.push(all[0]["id"].clone());
        host.podrun(&["rmi", &fixtures::reference("layers")])?.ok()?;
        ensure!(images(host)?.is_empty() && layers(host)?.is_empty(), "rmi left {:?}", layers(host)?);
    }
    ensure!(ids.windows(2).all(|pair| pair[0] == pair[1]), "one image has one id: {ids:?}");
    Ok(())
}

fn refused_load(host: &Host, fixture: &str, word: &str) -> Result<()> {
    for form in [fixture.to_owned(), format!("{fixture}.tar")] {
        let said = load(host, &form)?.fails_with(6)?;
        ensure!(said.contains(word), "`{word}` is not in: {said}");
        ensure!(images(host)?.is_empty(), "an image is left");
        ensure!(layers(host)?.is_empty(), "a layer is left: {:?}", layers(host)?);
    }
    // The same layer, whole, is taken afterwards: what was refused is not remembered as there.
    load(host, "busybox")?.ok()?;
    Ok(())
}

fn wrong_digest(host: &Host) -> Result<()> {
    refused_load(host, "busybox.wrong-digest", "sha256:")
}

fn truncated(host: &Host) -> Result<()> {
    refused_load(host, "busybox.truncated", "truncated")
}

fn unpacked_layers(host: &Host) -> Result<()> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    load(host, "layers")?.ok()?;
    // A layer's tree lies in its folder or one below, beside its commit record.
    let lowest = layers(host)?
        .into_iter()
        .flat_map(|folder| {
            let below = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            below.chain([folder.clone()]).collect::<Vec<_>>()
        })
        .find(|tree| tree.join("setuid").exists())
        .context("the lowest layer")?;
    let metadata = |name: &str| std::fs::symlink_metadata(lowest.join(name)).with_context(|| name.to_owned());
    ensure!(metadata("setuid")?.permissions().mode() & 0o7777 == 0o4755, "setuid");
    ensure!(metadata("setgid-folder")?.permissions().mode() & 0o7777 == 0o2775, "setgid");
    let owned = metadata("owned")?;
    ensure!((owned.uid(), owned.gid(), owned.mode() & 0o7777) == (1234, 5678, 0o640), "owner and mode");
    ensure!(owned.mtime() == 1_767_225_600, "the time is the archive's: {}", owned.mtime());
    ensure!(metadata("fifo")?.file_type().is_fifo(), "fifo");
    let null = metadata("null")?;
    ensure!(null.file_type().is_char_device() && null.rdev() == 0x103, "a device with its numbers");
    for name in ["sparse-old", "sparse-pax"] {
        let found = metadata(name)?;
        ensure!(found.len() == 4 << 20, "{name}: {} bytes", found.len());
        ensure!(found.blocks() * 512 < 1 << 20, "{name}: {} blocks are no holes", found.blocks());
        let bytes = std::fs::read(lowest.join(name))?;
        ensure!(&bytes[1 << 20..(1 << 20) + 6] == b"middle", "{name}");
        ensure!(
            bytes[..512] == *b"head".repeat(128) && bytes[512..1 << 20].iter().all(|byte| *byte == 0),
            "{name}"
        );
    }
    let long = format!("long/{}/{}", "d".repeat(120), "f".repeat(180));
    ensure!(std::fs::read_to_string(lowest.join(long))? == "a long path", "a long path");
    let xattr = |name: &str, key: &str| -> Result<Vec<u8>> {
        let mut value = vec![0; 256];
        let length = rustix::fs::lgetxattr(lowest.join(name), key, &mut value)
            .with_context(|| format!("{name}: {key}"))?;
        value.truncate(length);
        Ok(value)
    };
    ensure!(xattr("tagged", "user.podrun")? == b"a value\0with a nul", "user.podrun");
    let capability = xattr("capable", "security.capability")?;
    ensure!(capability[..8] == [1, 0, 0, 2, 0, 0x20, 0, 0], "security.capability: {capability:?}");
    // Hard links to a file of a lower layer: one file of three names, in the layer that links it.
    let links = layers(host)?
        .into_iter()
        .map(|folder| folder.join("tree"))
        .find(|tree| tree.join("linked-again").exists());
    let links = links.context("the layer with the links")?;
    let inode =
        |name: &str| std::fs::symlink_metadata(links.join(name)).map(|found| (found.ino(), found.nlink()));
    let first = inode("linked")?;
    ensure!(
        first.1 == 3 && inode("linked-again")? == first && inode("linked-third")? == first,
        "hard links across layers: {first:?}"
    );
    Ok(())
}

fn platforms(host: &Host) -> Result<()> {
    load(host, "platforms")?.ok()?;
    let all = images(host)?;
    ensure!(all.len() == 1, "{all:#?}");
    let wanted = if std::env::consts::ARCH == "x86_64" { "amd64" } else { "arm64" };
    let environment = all[0]["config"]["env"].as_array().context("env")?;
    ensure!(environment.iter().any(|one| *one == format!("PLATFORM={wanted}")), "{environment:?}");
    Ok(())
}

fn manifest_digest(fixture: &str) -> Result<String> {
    let index: Value = serde_json::from_slice(&std::fs::read(fixtures::path(fixture)?.join("index.json"))?)?;
    Ok(index["manifests"][0]["digest"].as_str().context("digest")?.to_owned())
}

fn layer_digests(fixture: &str) -> Result<Vec<String>> {
    let blob = fixtures::path(fixture)?.join("blobs").join(manifest_digest(fixture)?.replace(':', "/"));
    let manifest: Value = serde_json::from_slice(&std::fs::read(blob)?)?;
    let layers = manifest["layers"].as_array().context("layers")?;
    Ok(layers.iter().filter_map(|layer| layer["digest"].as_str().map(str::to_owned)).collect())
}

fn pull(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    for fixture in ["nginx", "httpd", "platforms"] {
        let name = registry.publish(fixture, &format!("library/{fixture}"), "v1")?;
        host.podrun(&["pull", &name])?.ok()?;
        let digest = manifest_digest(fixture)?;
        let by_digest = format!("127.0.0.1:5000/library/{fixture}@{digest}");
        host.podrun(&["pull", &by_digest])?.ok()?;
        let all = images(host)?;
        let found = all.iter().find(|image| {
            image["names"].as_array().is_some_and(|names| names.contains(&Value::from(name.clone())))
        });
        let found = found.with_context(|| format!("{name} is not in {all:#?}"))?;
        load(host, fixture)?.ok()?;
        let same = images(host)?;
        ensure!(same.len() == all.len(), "loaded and pulled, {fixture} is one image");
        ensure!(found["layers"].as_array().is_some_and(|layers| !layers.is_empty()), "{found:#}");
    }
    registry.stop()
}

fn spoilt_pull(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let name = registry.publish("nginx", "nginx", "v1")?;
    let layer = layer_digests("nginx")?.pop().context("a layer")?;
    let blob = registry.blob(&layer);
    let mut bytes = std::fs::read(&blob)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, &bytes)?;
    let said = host.podrun(&["pull", &name])?.fails_with(6)?;
    ensure!(said.contains(&layer[..19]) || said.contains("digest"), "{said}");
    ensure!(images(host)?.is_empty(), "an image is left");
    bytes[middle] ^= 1;
    std::fs::write(&blob, &bytes[..middle])?;
    host.podrun(&["pull", &name])?.fails_with(6)?;
    std::fs::write(&blob, &bytes)?;
    host.podrun(&["pull", &name])?.ok()?;
    ensure!(images(host)?.len() == 1, "once it is whole it is taken");
    registry.stop()
}

fn missing_in_registry(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    registry.publish("busybox", "busybox", "v1")?;
    for name in ["127.0.0.1:5000/busybox:v2", "127.0.0.1:5000/nothing:v1"] {
        let said = host.podrun(&["pull", name])?.fails_with(6)?;
        ensure!(said.contains(name), "{said}");
    }
    registry.stop()?;
    let said = host.podrun(&["pull", "127.0.0.1:5000/busybox:v1"])?.fails_with(6)?;
    ensure!(said.contains("127.0.0.1:5000"), "{said}");
    host.podrun(&["pull", "Not A Name"])?;
    Ok(())
}

fn rmi(host: &Host) -> Result<()> {
    host.podrun(&["rmi", "localhost/podrun/busybox:1"])?.fails_with(4)?;
    load(host, "busybox")?.ok()?;
    let table = host.podrun(&["images"])?.ok()?;
    ensure!(table.lines().count() == 2 && table.starts_with("REPOSITORY"), "{table}");
    let id = images(host)?[0]["id"].as_str().context("id")?.trim_start_matches("sha256:").to_owned();
    host.podrun(&["rmi", &id[..12]])?.ok()?;
    ensure!(images(host)?.is_empty() && layers(host)?.is_empty(), "by the beginning of its id");
    Ok(())
}

fn shared_layers(host: &Host) -> Result<()> {
    load(host, "busybox")?.ok()?;
    let one = layers(host)?;
    load(host, "nginx")?.ok()?;
    let both = layers(host)?;
    ensure!(one.len() == 1 && both.len() == 3, "nginx stands on busybox's layer: {both:?}");
    host.podrun(&["rmi", &fixtures::reference("busybox")])?.ok()?;
    ensure!(layers(host)? == both, "nginx still needs it");
    host.podrun(&["rmi", &fixtures::reference("nginx")])?.ok()?;
    ensure!(layers(host)?.is_empty(), "{:?}", layers(host)?);
    Ok(())
}

fn loads_at_once(host: &Host) -> Result<()> {
    let path = fixtures::path("nginx.tar")?;
    let running: Vec<_> =
        (0..16).map(|_| host.start(&["load", &path.to_string_lossy()])).collect::<Result<_>>()?;
    for one in running {
        one.wait()?.ok()?;
    }
    ensure!(images(host)?.len() == 1 && layers(host)?.len() == 3, "{:?}", layers(host)?);
    Ok(())
}

fn killed_load(host: &Host) -> Result<()> {
    let path = fixtures::path("nginx.tar")?;
    let path = path.to_string_lossy().into_owned();
    let start = std::time::Instant::now();
    host.podrun(&["load", &path])?.ok()?;
    let whole = start.elapsed();
    for number in 0..30_u32 {
        host.podrun(&["rmi", &fixtures::reference("nginx")])?.ok()?;
        let running = host.start(&["load", &path])?;
        std::thread::sleep(whole.mul_f64(f64::from(number) / 30.0));
        running.signal(nix::sys::signal::Signal::SIGKILL).ok();
        running.wait()?;
        // Whatever is there now, a load makes it whole, and every file of it is there.
        host.podrun(&["load", &path])?.ok()?;
        ensure!(
            images(host)?.len() == 1 && layers(host)?.len() == 3,
            "after kill {number}: {:?}",
            layers(host)?
        );
    }
    Ok(())
}
