//! What podrun holds open is nobody else's.

use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use serde_json::json;
use support::host::binary_under_test;

use super::Bench;

pub(super) fn ways_out(bench: &Bench<'_>) -> Result<()> {
    for number in 3..14 {
        let fd = format!("/proc/self/fd/{number}");
        bench.refused(&["pwd"], &[("/process/cwd", json!(fd))], "")?;
        // By its words it is the container's own root.
        let up = format!("{fd}/../../../../../..");
        let said = bench.run(&["sh", "-c", "pwd; ls -d canary"], &[("/process/cwd", json!(up))])?;
        ensure!(said.stdout == "/\n", "{said}");
        bench.refused(&[&fd], &[], "execve").or_else(|_| bench.refused(&[&fd], &[], "faccessat"))?;
        let link = bench.rootfs().join("way");
        symlink(&fd, &link)?;
        bench.refused(&["pwd"], &[("/process/cwd", json!("/way"))], "")?;
        std::fs::remove_file(link)?;
    }
    bench.oci.config(&["sleep", "1000"], &[])?;
    bench.oci.create("")?.ok()?;
    bench.oci.oci(&["start", "web"])?.ok()?;
    for number in 3..14 {
        let fd = format!("/proc/self/fd/{number}");
        ensure!(bench.oci.oci(&["exec", "--cwd", &fd, "web", "pwd"])?.fails_with(255)?.contains("directory"));
        ensure!(!bench.oci.oci(&["exec", "web", &fd])?.status.success(), "descriptor {number} is a program");
    }
    let shown = bench.oci.oci(&["exec", "web", "ls", "/proc/self/fd", "/proc/1/fd"])?.ok()?;
    ensure!(shown.lines().filter(|line| line.parse::<u32>().is_ok_and(|fd| fd > 3)).count() == 0, "{shown}");
    bench.oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

pub(super) fn traced(bench: &Bench<'_>) -> Result<()> {
    // Every new process's links, read from its birth on; what leads out has a name of the host's.
    const SPY: &str = "while :; do for l in /proc/[0-9]*/root /proc/[0-9]*/cwd /proc/[0-9]*/exe /proc/[0-9]*/fd/*; do \
                       readlink $l; done; done 2>/dev/null >>/seen";
    let rights = json!(["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"]);
    let sets = json!({"bounding": rights, "effective": rights, "permitted": rights});
    bench.oci.config(&["sh", "-c", SPY], &[("/process/capabilities", sets)])?;
    bench.oci.create("")?.ok()?;
    bench.oci.oci(&["start", "web"])?.ok()?;
    for _ in 0..60 {
        bench.oci.oci(&["exec", "web", "true"])?.ok()?;
    }
    let seen = std::fs::read_to_string(bench.rootfs().join("seen"))?;
    ensure!(seen.contains("/bin/"), "the spy has seen nothing: {seen}");
    let state = bench.host.state_dir();
    let (state, tree) = (state.to_string_lossy(), bench.oci.bundle.to_string_lossy());
    let ways: Vec<_> = seen
        .lines()
        // Its own output goes to files that the caller has given it.
        .filter(|line| !line.ends_with("/out") && !line.ends_with("/err"))
        .filter(|line| line.contains(&*state) || line.contains(&*tree) || line.contains("cgroup"))
        .collect();
    ensure!(ways.is_empty(), "ways to the host: {ways:?}");
    bench.oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

pub(super) fn binary(bench: &Bench<'_>) -> Result<()> {
    let binary = binary_under_test()?;
    let before = std::fs::read(&binary)?;
    // Each process's program is held open, and written to once nobody runs it any more.
    const WRITER: &str = "while :; do for p in /proc/[0-9]*/exe; do { echo written >>/proc/self/fd/9; } 9<$p; done; done 2>/dev/null";
    // A program of the image's that is whoever starts it.
    symlink("/proc/self/exe", bench.rootfs().join("bin/itself"))?;
    let rights = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
    let sets = json!({"bounding": rights, "effective": rights, "permitted": rights});
    bench.oci.config(&["sh", "-c", WRITER], &[("/process/capabilities", sets)])?;
    bench.oci.create("")?.ok()?;
    bench.oci.oci(&["start", "web"])?.ok()?;
    for _ in 0..40 {
        // Itself it is podrun here, whose command line is wrong: what counts is that it ran.
        bench.oci.oci(&["exec", "web", "/bin/itself"])?;
        bench.oci.oci(&["exec", "web", "true"])?.ok()?;
    }
    bench.oci.oci(&["delete", "--force", "web"])?.ok()?;
    ensure!(std::fs::read(&binary)? == before, "the binary has changed");
    Ok(())
}
