//! A /dev that an image or a volume has filled.

use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Bench, CORE_PATTERN};

pub(super) fn masks(bench: &Bench<'_>) -> Result<()> {
    let dev = bench.host.file("dev");
    std::fs::create_dir_all(&dev)?;
    symlink(CORE_PATTERN, dev.join("null"))?;
    let (key, mut mounts) = bench.mounts(&[])?;
    for mount in mounts.as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/dev" {
            *mount = json!({"destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"]});
        }
    }
    let shown = bench.run(&["stat", "-c", "%F %t:%T", "/proc/interrupts"], &[(key, mounts)])?;
    ensure!(shown.stdout == "character special file 1:3\n", "{shown}");
    bench.host_is_as_before()
}

pub(super) fn console(bench: &Bench<'_>) -> Result<()> {
    let pts = bench.host.file("pts");
    std::fs::create_dir_all(&pts)?;
    for number in 0..16 {
        symlink(CORE_PATTERN, pts.join(number.to_string()))?;
    }
    let mounts = bench
        .mounts(&[json!({"destination": "/dev/pts", "type": "bind", "source": pts, "options": ["bind"]})])?;
    bench.oci.config(
        &["sh", "-c", "stat -c %t /dev/console; echo written >/dev/console"],
        &[mounts, ("/process/terminal", json!(true))],
    )?;
    let socket = bench.host.file("console.sock");
    let listener = UnixListener::bind(&socket)?;
    let (bundle, path) =
        (bench.oci.bundle.to_string_lossy().into_owned(), socket.to_string_lossy().into_owned());
    bench.oci.oci(&["create", "--bundle", &bundle, "--console-socket", &path, "web"])?.ok()?;
    let mut master = crate::oci::received(&listener)?;
    bench.oci.oci(&["start", "web"])?.ok()?;
    let mut said = Vec::new();
    // A terminal whose last peer has gone is EIO.
    let _ = std::io::Read::read_to_end(&mut master, &mut said);
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(said.starts_with("88") && said.contains("written"), "{said}");
    drop(master);
    ensure!(listener.as_fd().try_clone_to_owned().is_ok());
    bench.oci.wait_for("stopped")?;
    bench.oci.oci(&["delete", "web"])?.ok()?;
    Ok(())
}

pub(super) fn dev(bench: &Bench<'_>) -> Result<()> {
    let canary = bench.canary.to_string_lossy().into_owned();
    let place = bench.rootfs().join("dev");
    let (key, all) = bench.mounts(&[])?;
    let without: Vec<Value> = all
        .as_array()
        .into_iter()
        .flatten()
        .filter(|mount| !mount["destination"].as_str().is_some_and(|at| at.starts_with("/dev")))
        .cloned()
        .collect();
    let targets =
        [canary.clone(), format!("{}{canary}", "../".repeat(30)), "/missing".to_owned(), "/etc".to_owned()];
    for target in &targets {
        if place.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            std::fs::remove_dir(&place)?;
        }
        symlink(target, &place)?;
        for mounts in [all.clone(), json!(without)] {
            for (readonly, way) in
                [false, true].into_iter().flat_map(|readonly| Bench::ways().map(|way| (readonly, way)))
            {
                let changes = [(key, mounts.clone()), ("/root/readonly", json!(readonly)), way];
                // Inside the root the link has a target of the root's own, or none: both are fine.
                let outcome = bench.run(&["stat", "-c", "%F", "/dev/null"], &changes)?;
                ensure!(
                    !outcome.status.success() || outcome.stdout == "character special file\n",
                    "{target}, {readonly}: {outcome}"
                );
                bench.host_is_as_before()?;
            }
        }
        std::fs::remove_file(&place)?;
    }
    std::fs::write(&place, "a file")?;
    bench.refused(&["true"], &[], "\"dev\"")?;
    std::fs::remove_file(&place)?;
    Ok(())
}
