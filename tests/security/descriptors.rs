//! What podrun holds open is nobody else's.

use std::os::unix::fs::symlink;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use support::deadline::wait_for;
use support::host::binary_under_test;

use super::Bench;

pub(super) fn ways_out(bench: &Bench<'_>) -> Result<()> {
    // More than podrun has open at any moment.
    for number in 3..64 {
        let fd = format!("/proc/self/fd/{number}");
        bench.refused(&["sh", "-c", "pwd; ls"], &[("/process/cwd", json!(fd))], "")?;
    }
    for number in 3..14 {
        let fd = format!("/proc/self/fd/{number}");
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
    for number in 3..64 {
        let fd = format!("/proc/self/fd/{number}");
        let said = bench.oci.oci(&["exec", "--cwd", &fd, "web", "sh", "-c", "pwd; ls"])?.fails_with(255)?;
        ensure!(said.contains("directory"), "{said}");
        ensure!(!bench.oci.oci(&["exec", "web", &fd])?.status.success(), "descriptor {number} is a program");
    }
    let shown = bench.oci.oci(&["exec", "web", "ls", "/proc/self/fd", "/proc/1/fd"])?.ok()?;
    ensure!(shown.lines().filter(|line| line.parse::<u32>().is_ok_and(|fd| fd > 3)).count() == 0, "{shown}");
    bench.oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

pub(super) fn traced(bench: &Bench<'_>) -> Result<()> {
    // Every new process's links, read from its birth on; what leads out has a name of the host's.
    const SPY: &str = "while :; do ls -l /proc/[0-9]*/root /proc/[0-9]*/cwd /proc/[0-9]*/exe /proc/[0-9]*/fd; done \
                       2>/dev/null >>/seen";
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
    // A copy, lest a test that fails spoil what the others run.
    let binary = bench.host.file("podrun");
    std::fs::copy(binary_under_test()?, &binary)?;
    let before = std::fs::read(&binary)?;
    // A program of the image's that is whoever starts it: podrun, which waits for somebody to write its manifest.
    symlink("/proc/self/exe", bench.rootfs().join("bin/itself"))?;
    // It is held open while it runs, and written to once nobody runs it any more.
    const WRITER: &str = "p=; while [ -z \"$p\" ]; do for d in /proc/[0-9]*; do \
         tr '\\0' ' ' <$d/cmdline 2>/dev/null | grep -q ^/bin/itself && p=$d; done; done; \
         exec 9<$p/exe; kill -9 ${p#/proc/}; tries=0; \
         until said=$({ echo written >>/proc/self/fd/9; } 2>&1) && said=attacked; do \
         case \"$said\" in *busy*) ;; *) break;; esac; tries=$((tries+1)); [ $tries -lt 200 ] || break; sleep 0.05; done; \
         echo \"${said:-nothing}\" >/said.new; mv /said.new /said";
    let rights = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"]);
    let sets = json!({"bounding": rights, "effective": rights, "permitted": rights});
    bench.oci.config(&["sh", "-c", "mkfifo /wait; sleep 1000"], &[("/process/capabilities", sets)])?;
    let root = bench.host.state_dir().join("oci");
    let oci = |line: &str| {
        // A container keeps the streams of who makes it.
        let line =
            format!("exec {} oci --root {} {line} >err 2>&1 </dev/null", binary.display(), root.display());
        bench
            .host
            .script(&line)?
            .ok()
            .with_context(|| std::fs::read_to_string(bench.host.file("err")).unwrap_or_default())
    };
    oci(&format!("run --detach --bundle {} web", bench.oci.bundle.display()))?;
    wait_for("the fifo", || {
        ensure!(bench.rootfs().join("wait").exists(), "not made yet");
        Ok(())
    })?;
    oci("exec --detach web /bin/itself validate /wait")?;
    std::fs::write(bench.rootfs().join("writer"), WRITER)?;
    oci("exec --detach web sh /writer")?;
    let said = wait_for("the attack's end", || Ok(std::fs::read_to_string(bench.rootfs().join("said"))?))?;
    bench.oci.oci(&["delete", "--force", "web"])?.ok()?;
    ensure!(said.contains("ead-only file system"), "the attack came to: {said}");
    ensure!(std::fs::read(&binary)? == before, "the binary has changed");
    Ok(())
}
