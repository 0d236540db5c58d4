//! A process as its config has it: with the least that the schema requires, and with what the kernel gives only in part.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::host::Host;
use support::run::Outcome;
use support::suite::Suite;

use super::Oci;

pub(super) fn add(suite: &mut Suite) {
    for (name, test) in [
        ("oci a process needs a working directory and nothing else", least as fn(&Host) -> Result<()>),
        ("oci capabilities that are unknown or cannot be given are left out and told", rights),
        ("oci exec --process has the container's rights where it says nothing of them", inherited),
        ("oci exec --cap is ambient where the container's is inheritable", ambient),
        ("oci of several variables of a name the last counts", variables),
        ("oci a home that nobody names is the one in the container's passwd", home),
        ("oci a program is refused exactly when execve would refuse it", programs),
        ("oci schedulers and memory policies have the specification's names", policies),
    ] {
        suite.on_host(name, &["busybox"], test);
    }
}

fn run(oci: &Oci<'_>, args: &[&str], changes: &[(&str, Value)]) -> Result<Outcome> {
    oci.config(args, changes)?;
    oci.oci(&["run", "--bundle", &oci.bundle.to_string_lossy(), "web"])
}

/// A container that sleeps, for `exec`.
fn sleeper(oci: &Oci<'_>, changes: &[(&str, Value)]) -> Result<()> {
    oci.config(&["sleep", "1000"], changes)?;
    oci.create("")?.ok()?;
    oci.oci(&["start", "web"])?.ok().map(drop)
}

/// Runs `exec --process` with a file that says `process`.
fn exec_file(host: &Host, oci: &Oci<'_>, process: &Value) -> Result<Outcome> {
    let file = host.write("process.json", &process.to_string())?;
    oci.oci(&["exec", "--process", &file.to_string_lossy(), "web"])
}

fn end(oci: &Oci<'_>) -> Result<()> {
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.gone()
}

const SHOW: [&str; 3] = ["sh", "-c", "id -u; id -g; grep Groups /proc/self/status; echo $HOME"];
const ROOT: &str = "0\n0\nGroups:\t \n/root\n";

fn least(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    for process in [
        json!({"cwd": "/", "args": SHOW}),
        json!({"cwd": "/", "args": SHOW, "user": null, "env": null, "capabilities": null}),
        json!({"cwd": "/", "args": SHOW, "user": {"username": ""}, "env": []}),
        json!({"cwd": "/", "args": SHOW, "user": {"uid": 0, "gid": 0, "additionalGids": null}}),
    ] {
        let said = run(&oci, &["true"], &[("/process", process.clone())])?;
        ensure!(said.code() == 0 && said.stdout == ROOT, "{process}: {said}");
    }
    let namespaces = json!([{"type": "mount"}, {"type": "pid"}]);
    for (pointer, value) in [
        ("/linux", json!({"namespaces": namespaces, "cgroupsPath": format!("{}/c", host.cgroup_parent())})),
        ("/linux/resources", json!({"pids": {}, "devices": [{"allow": true}], "memory": null})),
        ("/linux/memoryPolicy", json!({})),
        ("/linux/personality", json!({})),
        ("/annotations", json!({"a": null})),
    ] {
        let changes =
            [("/hostname", json!(null)), ("/mounts", json!([{"destination": "/proc", "type": "proc"}]))];
        run(&oci, &["true"], &[&changes[..], &[(pointer, value.clone())]].concat())?
            .ok()
            .with_context(|| format!("{pointer}: {value}"))?;
    }
    let said = run(&oci, &["true"], &[("/process", json!({"cwd": "/"}))])?.fails_with(1)?;
    ensure!(said.contains("process.args: there is no command"), "{said}");
    let changes = [
        ("/linux/maskedPaths", json!(["etc/passwd"])),
        ("/linux/readonlyPaths", json!(["etc"])),
        ("/solaris", json!({})),
    ];
    let said =
        run(&oci, &["sh", "-c", "wc -c </etc/passwd; touch /etc/x 2>/dev/null || echo read-only"], &changes)?;
    ensure!(said.code() == 0 && said.stdout == "0\nread-only\n", "{said}");
    for word in ["maskedPaths: \"etc/passwd\" is relative", "readonlyPaths: \"etc\" is relative", "solaris: "]
    {
        ensure!(said.stderr.contains(word), "{word}: {said}");
    }
    let said = run(&oci, &["true"], &[("/process", json!({"args": ["true"]}))])?.fails_with(1)?;
    ensure!(said.contains("process: missing field `cwd`"), "{said}");
    sleeper(&oci, &[])?;
    let said = exec_file(host, &oci, &json!({"cwd": "/", "args": SHOW}))?;
    ensure!(said.code() == 0 && said.stdout == ROOT, "{said}");
    end(&oci)
}

/// The lines of /proc/self/status, by their names.
const STATUS: [&str; 4] = ["grep", "-E", "Cap|Groups", "/proc/self/status"];

fn rights(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let set = json!(["CAP_KILL", "CAP_BOGUS", "CAP_CHOWN"]);
    let sets = json!({"bounding": set, "effective": set, "permitted": set, "inheritable": ["CAP_BOGUS"], "ambient": set});
    let said = run(&oci, &STATUS, &[("/process/capabilities", sets)])?;
    ensure!(said.code() == 0, "{said}");
    let ambient = "process.capabilities.ambient: CAP_CHOWN, CAP_KILL is left out: it is not in permitted and inheritable";
    ensure!(said.stderr.matches("CAP_BOGUS").count() == 1 && said.stderr.contains(ambient), "{said}");
    for line in ["CapBnd:\t0000000000000021", "CapPrm:\t0000000000000021", "CapAmb:\t0000000000000000"] {
        ensure!(said.stdout.contains(line), "{line}: {said}");
    }
    // As older `runc spec`s write them: no inheritable ones.
    let kill = json!(["CAP_KILL"]);
    let older = json!({"bounding": kill, "effective": kill, "permitted": kill, "ambient": kill});
    sleeper(&oci, &[("/process/capabilities", older)])?;
    let said =
        oci.oci(&[&["exec", "--cap", "CAP_BOGUS", "--cap", "CAP_CHOWN", "web"], &STATUS[..]].concat())?;
    ensure!(said.code() == 0 && said.stderr.contains("--cap: podrun knows no capability"), "{said}");
    ensure!(said.stdout.contains("CapEff:\t0000000000000021"), "{said}");
    end(&oci)
}

fn inherited(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let set = json!(["CAP_KILL"]);
    let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}]);
    sleeper(
        &oci,
        &[
            ("/process/capabilities", json!({"bounding": set, "effective": set, "permitted": set})),
            ("/process/rlimits", limits),
            ("/process/scheduler", json!({"policy": "SCHED_BATCH"})),
            ("/process/oomScoreAdj", json!(500)),
            ("/process/user/umask", json!(0o77)),
        ],
    )?;
    let said = exec_file(
        host,
        &oci,
        &json!({"cwd": "/", "args": ["sh", "-c", "cat /proc/self/oom_score_adj; umask"]}),
    )?;
    ensure!(said.ok()? == "500\n0077\n", "as the container's own");
    let show = "grep CapEff /proc/self/status; ulimit -n; ulimit -Hn; grep policy /proc/self/sched";
    let show = ["sh", "-c", show];
    let said = exec_file(host, &oci, &json!({"cwd": "/", "args": show}))?.ok()?;
    ensure!(said.contains("CapEff:\t0000000000000020\n77\n78\n"), "{said}");
    ensure!(!said.contains("policy") || said.trim_end().ends_with('3'), "{said}");
    let none = json!({"cwd": "/", "args": show, "capabilities": {}, "scheduler": {"policy": "SCHED_OTHER"}});
    let said = exec_file(host, &oci, &none)?.ok()?;
    ensure!(said.contains("CapEff:\t0000000000000000\n"), "{said}");
    ensure!(!said.contains("policy") || said.trim_end().ends_with('0'), "{said}");
    end(&oci)
}

fn ambient(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let set = json!(["CAP_CHOWN", "CAP_KILL"]);
    let sets = json!({"bounding": set, "effective": [], "permitted": [], "inheritable": ["CAP_KILL"]});
    let user = json!({"uid": 1000, "gid": 1000, "additionalGids": [7, 7, 9]});
    sleeper(&oci, &[("/process/capabilities", sets), ("/process/user", user)])?;
    let line = [&["exec", "--cap", "CAP_KILL", "--cap", "CAP_CHOWN", "web"], &STATUS[..]].concat();
    let said = oci.oci(&line)?;
    ensure!(said.code() == 0 && said.stderr.is_empty(), "{said}");
    // A plain user's program keeps what is ambient.
    for line in ["CapAmb:\t0000000000000020", "CapEff:\t0000000000000020", "Groups:\t7 9 \n"] {
        ensure!(said.stdout.contains(line), "{line}: {said}");
    }
    end(&oci)
}

fn variables(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let root = oci.bundle.join("rootfs");
    for folder in ["one", "two"] {
        let program = root.join(folder).join("which");
        std::fs::create_dir_all(root.join(folder))?;
        std::fs::write(&program, format!("#!/bin/sh\necho {folder}\n"))?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    }
    const SHOW: [&str; 2] = ["/bin/cat", "/proc/self/environ"];
    let env = json!(["PATH=/one", "A=0", "HOME=/a", "B=b", "PATH=/two", "HOME=/h"]);
    let said = run(&oci, &SHOW, &[("/process/env", env.clone())])?.ok()?;
    ensure!(said == "A=0\0B=b\0PATH=/two\0HOME=/h\0", "{said:?}");
    ensure!(run(&oci, &["which"], &[("/process/env", env.clone())])?.ok()? == "two\n");
    sleeper(&oci, &[("/process/env", env), ("/process/args", json!(["/bin/sleep", "1000"]))])?;
    let exec = |program: &[&str]| {
        let flags = ["exec", "-e", "A=8", "-e", "PATH=/one", "-e", "A=9", "web"];
        oci.oci(&[&flags, program].concat())?.ok()
    };
    ensure!(exec(&SHOW)? == "B=b\0HOME=/h\0PATH=/one\0A=9\0", "{:?}", exec(&SHOW)?);
    ensure!(exec(&["which"])? == "one\n");
    end(&oci)
}

fn home(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let passwd = oci.bundle.join("rootfs/etc/passwd");
    std::fs::write(&passwd, "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/var/www:\nbad:x:5:5::nowhere:\n")?;
    let path = "PATH=/bin";
    let show = ["sh", "-c", "echo \"$HOME\""];
    let of = |uid: u32, env: &[&str], more: &[(&str, Value)]| -> Result<String> {
        let user = json!({"uid": uid, "gid": 0});
        let changes = [&[("/process/user", user), ("/process/env", json!(env))], more].concat();
        Ok(run(&oci, &show, &changes)?.ok()?.trim_end().to_owned())
    };
    for (uid, env, wanted) in [
        (0, &[path][..], "/root"),
        (33, &[path], "/var/www"),
        (33, &[path, "HOME="], "/var/www"),
        (33, &[path, "HOME=/own"], "/own"),
        (33, &[path, "HOME=/own", "HOME="], "/var/www"),
        (5, &[path], "/"),
        (77, &[path], "/"),
    ] {
        let found = of(uid, env, &[])?;
        ensure!(found == wanted, "{uid} {env:?}: {found}, not {wanted}");
    }
    // What is mounted over it is what the container sees.
    let own = host.write("passwd", "x:x:33:33::/mounted:\n")?;
    let mut mounts = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    let bind =
        json!({"destination": "/etc/passwd", "type": "bind", "source": own, "options": ["bind", "ro"]});
    mounts.as_array_mut().context("a list")?.push(bind);
    ensure!(of(33, &[path], &[("/mounts", mounts)])? == "/mounted");
    sleeper(&oci, &[("/process/env", json!([path]))])?;
    for (flags, wanted) in [
        (&["--user", "33"][..], "/var/www"),
        (&["--user", "33", "-e", "HOME="], "/var/www"),
        (&["--user", "78", "-e", "HOME="], "/"),
    ] {
        let said = oci.oci(&[&["exec"], flags, &["web"], &show[..]].concat())?.ok()?;
        ensure!(said.trim_end() == wanted, "{flags:?}: {said}");
    }
    end(&oci)?;
    // What is no file of the container's is not read, and nobody waits for it.
    std::fs::remove_file(&passwd)?;
    ensure!(of(33, &[path], &[])? == "/", "there is none");
    symlink(&own, &passwd)?;
    ensure!(of(33, &[path], &[])? == "/", "a file of the host's");
    std::fs::remove_file(&passwd)?;
    ensure!(Command::new("mkfifo").arg(&passwd).status()?.success());
    ensure!(of(33, &[path], &[])? == "/", "a pipe");
    Ok(())
}

fn programs(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let root = oci.bundle.join("rootfs");
    for (name, mode) in [("others", 0o744), ("nobodys", 0o600), ("owners", 0o700)] {
        std::fs::write(root.join(name), "#!/bin/sh\necho ran\n")?;
        std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode))?;
    }
    std::os::unix::fs::chown(root.join("owners"), Some(1000), Some(1000))?;
    std::fs::create_dir(root.join("closed"))?;
    std::fs::copy(root.join("others"), root.join("closed/inside"))?;
    std::fs::set_permissions(root.join("closed"), std::fs::Permissions::from_mode(0o700))?;
    symlink("loop", root.join("loop"))?;
    let over = json!(["CAP_DAC_OVERRIDE"]);
    let over =
        json!({"bounding": over, "effective": over, "permitted": over, "inheritable": over, "ambient": over});
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    // Without that call (`make test-enosys`) it is left to execve.
    let late = std::env::var("PODRUN_TESTS_WITHOUT").is_ok_and(|calls| calls.contains("faccessat2"));
    for (uid, sets, program, runs) in [
        (1000, &over, "/others", true),
        (1000, &over, "/closed/inside", true),
        (1000, &over, "/nobodys", false),
        (1000, &json!({}), "/others", false),
        (1000, &json!({}), "/closed/inside", false),
        (1000, &json!({}), "/owners", true),
        (0, &json!({}), "/owners", false),
        (0, &over, "/owners", true),
        (0, &over, "/nobodys", false),
        (0, &over, "/tmp", false),
        (0, &over, "/loop", false),
    ] {
        // With a filter and without no_new_privs it is looked for while all rights are held.
        for (seccomp, no_new_privs) in [(&Value::Null, true), (&filter, false)] {
            let changes = [
                ("/process/user", json!({"uid": uid, "gid": uid})),
                ("/process/capabilities", sets.clone()),
                ("/process/noNewPrivileges", json!(no_new_privs)),
                ("/linux/seccomp", seccomp.clone()),
            ];
            let what = format!("{uid} {sets} {program} {seccomp}");
            oci.config(&[program], &changes)?;
            let made = oci.create("")?;
            if runs {
                made.ok().with_context(|| format!("{what}: {:?}", oci.out("err")))?;
                oci.oci(&["start", "web"])?.ok().context(what)?;
                oci.wait_for("stopped")?;
                ensure!(oci.out("out")? == "ran\n", "{}", oci.out("out")?);
            } else {
                let said = match made.code() {
                    0 if late => oci.oci(&["start", "web"])?.fails_with(1)?,
                    _ => made.fails_with(1).and_then(|_| oci.out("err"))?,
                };
                ensure!(said.contains("permission denied") || said.contains("ELOOP"), "{what}: {said}");
            }
            end(&oci)?;
        }
    }
    Ok(())
}

fn policies(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    for flag in ["RESET_ON_FORK", "DL_OVERRUN", "RECLAIM"] {
        let scheduler = json!({"policy": "SCHED_OTHER", "nice": 3, "flags": [format!("SCHED_FLAG_{flag}")]});
        let stat = run(&oci, &["cat", "/proc/self/stat"], &[("/process/scheduler", scheduler)])?;
        let stat = stat.ok().context(flag)?;
        ensure!(stat.split(' ').nth(18) == Some("3"), "{flag}: {stat}");
    }
    for (policy, shown) in [
        (json!({"mode": "MPOL_DEFAULT"}), " default "),
        (json!({"mode": "MPOL_LOCAL"}), " local "),
        (json!({"mode": "MPOL_PREFERRED"}), " local "),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), " bind:0 "),
        (
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            " interleave=static:0 ",
        ),
    ] {
        let outcome =
            run(&oci, &["cat", "/proc/self/numa_maps"], &[("/linux/memoryPolicy", policy.clone())])?;
        // A kernel without NUMA has neither the call nor the file.
        if std::path::Path::new("/proc/self/numa_maps").exists() {
            let said = outcome.ok().with_context(|| policy.to_string())?;
            ensure!(said.contains(shown), "{policy}: {said}");
        }
    }
    for (policy, names) in [
        (json!({"mode": "MPOL_BIND"}), "linux.memoryPolicy.nodes: MPOL_BIND needs some"),
        (json!({"mode": "MPOL_LOCAL", "nodes": "0"}), "linux.memoryPolicy.nodes: MPOL_LOCAL has none"),
    ] {
        let said = run(&oci, &["true"], &[("/linux/memoryPolicy", policy)])?.fails_with(1)?;
        ensure!(said.contains(names), "{said}");
    }
    oci.gone()
}
