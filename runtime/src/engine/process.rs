//! The spec's `process` compiled: program, user, rights and limits.
//!
//! Invariant: nothing is guessed. A number out of range, an unknown word or a missing program is refused; a
//! value that this machine cannot grant is clamped with a warning.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::str::FromStr as _;

use oci_spec::runtime::{Capability, LinuxCapabilities, Process};

use super::inputs::{Stdio, Tie, dup};
use super::paths::{c_string, place, usage};
use super::placement;
use super::plan::Step;
use super::seccomp::Filter;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::child::creds::{self, CapabilitySets};
use crate::sys::child::exec::{self, Home, Rlimit, Strings};
use crate::sys::file::fs;
use crate::sys::kernel::seccomp::{LastCall, Pass};
use crate::sys::process::pidfd;

/// The search path of an image without a PATH, as everywhere.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables, each name once: of several the last counts, for the search of the program and for the program. Without a HOME,
/// or with an empty one, [`Step::FindHome`] gives it.
fn environment(listed: &[String]) -> (Vec<&str>, Option<Rc<Home>>) {
    let mut seen = HashSet::new();
    let name = |entry: &&str| entry.split_once('=').map_or(*entry, |(name, _)| name).to_owned();
    let last = listed.iter().rev().map(String::as_str).filter(|entry| seen.insert(name(entry)));
    let mut env: Vec<&str> = last.filter(|entry| *entry != "HOME=").collect();
    env.reverse();
    let home = (!env.iter().any(|entry| entry.starts_with("HOME="))).then(Home::new);
    (env, home)
}

/// Where a command may be: itself when it names a path, else in each directory of the environment's PATH.
pub(super) fn candidates(command: &str, env: &[&str]) -> Result<Vec<CString>> {
    if command.is_empty() {
        return Err(usage("process.args: the command is empty".into()).with_kind(ErrorKind::CommandNotFound));
    }
    if command.contains('/') {
        return Ok(vec![c_string("process.args", command)?]);
    }
    let path = env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    path.split(':')
        // A relative entry would search where the image or a volume says, as the container's user.
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| c_string("PATH", &format!("{}/{command}", directory.trim_end_matches('/'))))
        .collect()
}

/// The user ids that the kernel takes: -1 would mean "as it is".
fn id(what: &str, id: u32) -> Result<u32> {
    if id <= i32::MAX.cast_unsigned() { Ok(id) } else { Err(usage(format!("{what}: {id} is out of range"))) }
}

/// How a child's preparations end.
#[derive(Debug)]
pub(super) struct End<'a> {
    pub(super) tie: Tie<'a>,
    pub(super) preserve: &'a [BorrowedFd<'a>],
    pub(super) filter: Option<Filter>,
    /// Whether its user namespace lets it have supplementary groups.
    pub(super) groups: bool,
    /// The pass for entering a pid namespace with other processes.
    pub(super) inside: Option<Pass>,
}

/// The steps from the standard streams to execve of `program`, or of the first argument.
pub(super) fn steps(
    process: &Process,
    program: Option<&str>,
    stdio: Stdio,
    end: End<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Step>> {
    let user = process.user();
    let uid = id("process.user.uid", user.uid())?;
    let End { tie, preserve, mut filter, groups: may_have_groups, inside } = end;
    let terminal = process.terminal() == Some(true);
    let mut steps = vec![install(stdio, uid, terminal)?];
    if terminal && inside.is_none() {
        steps.push(Step::ControllingTerminal);
    }
    let cwd = process.cwd().to_str().unwrap_or_default();
    steps.push(Step::WorkingDirectory(place("process.cwd", cwd)?));
    let listed = process.env().as_deref().unwrap_or_default();
    let (env, home) = match program {
        None => environment(listed),
        // A hook has exactly the listed variables.
        Some(_) => (listed.iter().map(String::as_str).collect(), None),
    };
    steps.extend(home.clone().map(|home| Step::FindHome { uid, home }));
    steps.extend(placement::of_process(process, inside.is_some())?);
    let limits = limits(process, warnings)?;
    if !limits.is_empty() {
        steps.push(Step::Rlimits(limits));
    }
    steps.push(Step::Umask(user.umask().unwrap_or(0o022)));
    steps.push(Step::ResetSignals);
    let waits = matches!(tie, Tie::UntilStart(_));
    steps.push(close_descriptors(tie, preserve)?);
    let rights = rights(process.capabilities().as_ref(), warnings);
    steps.push(Step::BoundingSet(rights.bounding));
    steps.extend(groups(user.additional_gids().as_deref().unwrap_or_default(), may_have_groups)?);
    steps.push(Step::Gid(id("process.user.gid", user.gid())?));
    steps.push(Step::Uid(uid));
    let execve = match process.args() {
        // Made without a program, it is there to be deleted.
        None if waits => None,
        _ => Some(self::program(process, program, &env, home)?),
    };
    let mut tied = Vec::new();
    if let (true, Some(Step::Execve { paths, argv, .. })) = (waits, &execve) {
        // A missing program is reported to the creator of the container, not to its starter.
        let name = argv.as_slice().first().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        tied.push(Step::FindProgram { paths: paths.clone(), name, effective: rights.sets.effective });
    }
    if !matches!(tie, Tie::Always) {
        tied.push(Step::Outlive);
    }
    let wait = waits.then_some(Step::AwaitStart);
    let go = inside.map(|pass| go_inside(pass, terminal, filter.as_mut())).transpose()?;
    let last = Last { tied, wait, filter, go: go.unwrap_or_default() };
    push_rights(&mut steps, &rights, process.no_new_privileges() == Some(true), last);
    steps.extend(execve);
    Ok(steps)
}

/// The supplementary groups, each once, and no other: whether the primary one is among them is the caller's to say. Where
/// there may be none they are left as they are.
fn groups(additional: &[u32], may_have: bool) -> Result<Option<Step>> {
    /// The kernel's NGROUPS_MAX.
    const MOST: usize = 65_536;
    let (mut groups, mut seen) = (Vec::new(), HashSet::new());
    for group in additional {
        let group = id("process.user.additionalGids", *group)?;
        if seen.insert(group) {
            groups.push(group);
        }
    }
    if groups.len() > MOST {
        let count = groups.len();
        return Err(usage(format!("process.user.additionalGids: {count} groups; the kernel takes {MOST}")));
    }
    if !may_have && !groups.is_empty() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "process.user.additionalGids: a user namespace with no group but its maker's has no others",
        )
        .hint("map a range of /etc/subgid in linux.gidMappings"));
    }
    Ok(may_have.then_some(Step::Groups(groups)))
}

/// Keeps only the descriptors of the program, and of the remaining steps.
fn close_descriptors(tie: Tie<'_>, preserve: &[BorrowedFd<'_>]) -> Result<Step> {
    // Above the numbers that they, the wire and the listener get.
    let above = i32::try_from(preserve.len()).unwrap_or(i32::MAX).saturating_add(5);
    let dup = |fd: &BorrowedFd<'_>| {
        fs::dup_above(*fd, above).map_err(|errno| errno.during("fcntl(F_DUPFD_CLOEXEC)"))
    };
    let listener = match &tie {
        Tie::UntilStart(listener) => Some(dup(listener)?),
        Tie::Always | Tie::UntilExec => None,
    };
    Ok(Step::CloseDescriptors { preserve: preserve.iter().map(dup).collect::<Result<_, _>>()?, listener })
}

/// The way into a pid namespace with other processes, which may trace every process they see there
/// (CVE-2016-9962): inside, only calls remain that a process must make for itself there, and all rights are
/// dropped and the filter is on it. Until it has its own session it is in that of the process outside, which
/// has no other member and no terminal. It does not ask to die with the parent: that namespace is in the
/// parent's, or the process is to outlive it.
fn go_inside(pass: Pass, terminal: bool, filter: Option<&mut Filter>) -> Result<Vec<Step>> {
    let mut calls = vec![LastCall::Clone, LastCall::Setsid];
    let mut steps = vec![Step::GoInside(pass), Step::NewSession];
    if terminal {
        // A session's terminal goes with its leader.
        steps.push(Step::ControllingTerminal);
        calls.push(LastCall::Ioctl);
    }
    if let Some(filter) = filter {
        calls.extend(filter.asks().then_some(LastCall::Close));
        filter.admit(pass, &calls)?;
    }
    Ok(steps)
}

/// The steps between the last rights and execve.
struct Last {
    /// The end of the bond to the parent.
    tied: Vec<Step>,
    /// The wait for the program's start.
    wait: Option<Step>,
    filter: Option<Filter>,
    /// The way into a pid namespace in which others are.
    go: Vec<Step>,
}

/// The last rights and the filter. The author of a filter has to allow each call after it, so there are as few
/// as possible: only execve with no_new_privs; without it, where installing takes CAP_SYS_ADMIN, also the
/// capset that drops it. The filter comes before the wait for a start in two cases alone: it has an agent,
/// which the container's creator informs; or the wait is among others in a pid namespace.
fn push_rights(steps: &mut Vec<Step>, rights: &Rights, no_new_privs: bool, last: Last) {
    let Rights { sets, ambient, .. } = *rights;
    let Last { tied, mut wait, filter, go } = last;
    let late = filter.is_some() && !no_new_privs;
    steps.push(match late {
        true => Step::HoldCapabilities { inheritable: sets.inheritable, ambient },
        false => Step::Capabilities { sets, ambient: Some(ambient) },
    });
    // A change of credentials has forgotten the parent; one that only takes away does not.
    steps.push(Step::DieWithParent);
    if no_new_privs {
        steps.push(Step::NoNewPrivs);
    }
    steps.extend(tied);
    if go.is_empty() && !filter.as_ref().is_some_and(Filter::asks) {
        steps.extend(wait.take());
    }
    steps.extend(filter.map(Step::Seccomp));
    if late {
        steps.push(Step::Capabilities { sets, ambient: None });
    }
    steps.extend(go);
    steps.extend(wait);
}

fn program(process: &Process, path: Option<&str>, env: &[&str], home: Option<Rc<Home>>) -> Result<Step> {
    let args = process.args().as_deref().unwrap_or_default();
    let Some(command) = args.first() else {
        return Err(usage("process.args: there is no command".into()));
    };
    let argv: Vec<CString> = args.iter().map(|text| c_string("process.args", text)).collect::<Result<_>>()?;
    let envp: Vec<CString> = env.iter().map(|text| c_string("process.env", text)).collect::<Result<_>>()?;
    let paths = candidates(path.unwrap_or(command), env)?;
    Ok(Step::Execve { paths, argv: Strings::new(argv, None), envp: Strings::new(envp, home) })
}

/// `terminal`: they are one that was made for the process.
fn install(stdio: Stdio, uid: u32, terminal: bool) -> Result<Step> {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    let mut fds = [stdio.stdin, stdio.stdout, stdio.stderr];
    let mut give = [false; 3];
    for (fd, give) in fds.iter_mut().zip(&mut give) {
        // A stream at 0, 1 or 2 would be overwritten by its neighbour before its turn.
        if fd.as_raw_fd() < 3 {
            *fd = dup(fd.as_fd())?;
        }
        // So that a plain user can open /dev/stdout. Objects of the host stay the caller's: a device, also a
        // terminal, a directory, and a file opened for reading.
        let giveable = || fs::is_stream(fd.as_fd()).map_err(|errno| errno.during("fstat(stdio)"));
        *give = uid != 0 && (terminal || giveable()?);
    }
    Ok(Step::Stdio { fds, give, uid })
}

fn limits(process: &Process, warnings: &mut Vec<String>) -> Result<Vec<Rlimit>> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for rlimit in process.rlimits().iter().flatten() {
        let name = rlimit.typ().to_string();
        let Some(resource) = exec::rlimit_number(&name) else {
            return Err(usage(format!("process.rlimits: `{name}` is no limit")));
        };
        if limits.iter().any(|known| known.resource == resource) {
            return Err(usage(format!("process.rlimits: `{name}` stands there twice")));
        }
        let (mut soft, mut hard) = (rlimit.soft(), rlimit.hard());
        if soft > hard {
            return Err(usage(format!("process.rlimits: {name}: soft {soft} is above hard {hard}")));
        }
        let own = exec::hard_limit(resource).map_err(|errno| errno.during(format!("prlimit64({name})")))?;
        if hard > own && !creds::may_raise_limits() {
            warnings
                .push(format!("{name}: {hard} is clamped to {own}, which needs CAP_SYS_RESOURCE to raise"));
            hard = own;
            soft = soft.min(own);
        }
        limits.push(Rlimit { resource, soft, hard });
    }
    Ok(limits)
}

/// The five sets, as bits.
#[derive(Debug, PartialEq, Eq)]
struct Rights {
    bounding: u64,
    sets: CapabilitySets,
    ambient: u64,
}

/// The grantable part of the sets; the rest is reported: "Runtimes SHOULD NOT fail if the container
/// configuration requests capabilities that cannot be granted" (config.md, "Linux Process").
fn rights(wanted: Option<&LinuxCapabilities>, warnings: &mut Vec<String>) -> Rights {
    let own = creds::permitted();
    let mut lacking = 0;
    let mut bits = |get: fn(&LinuxCapabilities) -> &Option<HashSet<Capability>>| {
        let set = wanted.and_then(|wanted| get(wanted).as_ref());
        let asked = set.into_iter().flatten().fold(0, |all, one| all | bit(*one));
        lacking |= asked & !own;
        asked & own
    };
    let bounding = bits(LinuxCapabilities::bounding);
    let permitted = bits(LinuxCapabilities::permitted);
    let effective = bits(LinuxCapabilities::effective);
    let inheritable = bits(LinuxCapabilities::inheritable);
    let ambient = bits(LinuxCapabilities::ambient);
    if lacking != 0 {
        warnings.push(format!("podrun itself lacks {}, and cannot give it", named(lacking)));
    }
    // capabilities(7): no set goes beyond these.
    let mut within = |set: &str, asked: u64, most: u64, others: &str| {
        if asked & !most != 0 {
            let left_out = named(asked & !most);
            warnings
                .push(format!("process.capabilities.{set}: {left_out} is left out: it is not in {others}"));
        }
        asked & most
    };
    let effective = within("effective", effective, permitted, "permitted");
    let inheritable = within("inheritable", inheritable, bounding, "bounding");
    let ambient = within("ambient", ambient, permitted & inheritable, "permitted and inheritable");
    Rights { bounding, sets: CapabilitySets { effective, permitted, inheritable }, ambient }
}

fn bit(capability: Capability) -> u64 {
    caps::Capability::from_str(&format!("CAP_{capability}")).map_or(0, |known| known.bitmask())
}

fn named(bits: u64) -> String {
    let mut names: Vec<String> =
        caps::all().iter().filter(|known| bits & known.bitmask() != 0).map(ToString::to_string).collect();
    names.sort();
    names.join(", ")
}

/// Every capability that podrun itself has, for processes that act in its name.
pub fn all_capabilities() -> HashSet<Capability> {
    let own = creds::permitted();
    let held = caps::all().into_iter().filter(|known| own & known.bitmask() != 0);
    held.filter_map(|known| Capability::from_str(known.to_string().trim_start_matches("CAP_")).ok()).collect()
}

/// The name of every capability that podrun knows.
pub fn all_known_capabilities() -> Vec<String> {
    caps::all().into_iter().map(|known| known.to_string()).collect()
}

/// oom_score_adj, unless it equals the inherited one: never below podrun's own without CAP_SYS_RESOURCE.
pub(super) fn oom_score(process: &Process, warnings: &mut Vec<String>) -> Result<Option<Step>> {
    let Some(wanted) = process.oom_score_adj() else { return Ok(None) };
    if !(-1000..=1000).contains(&wanted) {
        return Err(usage(format!("process.oomScoreAdj: {wanted} is not from -1000 to 1000")));
    }
    let own: i32 = std::fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse().unwrap_or(0);
    let score = if wanted < own && !creds::may_raise_limits() {
        warnings.push(format!(
            "oom_score_adj: {wanted} is clamped to {own}, which needs CAP_SYS_RESOURCE to lower"
        ));
        own
    } else {
        wanted
    };
    Ok((score != own).then_some(Step::OomScore(c_string("process.oomScoreAdj", &score.to_string())?)))
}

/// Whether a pidfd's process still runs.
pub(super) fn is_running(process: std::os::fd::BorrowedFd<'_>) -> bool {
    pidfd::pidfd_send_signal(process, 0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_looked_for_in_absolute_directories_only() {
        let found = candidates("sh", &["PATH=/bin:.::relative:/usr/bin/"]).unwrap();
        assert_eq!(found, [c"/bin/sh".to_owned(), c"/usr/bin/sh".to_owned()]);
    }

    #[test]
    fn a_command_with_a_slash_is_a_path() {
        assert_eq!(candidates("./x", &["PATH=/bin"]).unwrap(), [c"./x".to_owned()]);
        assert_eq!(candidates("sh", &[]).unwrap().len(), 6);
    }

    #[test]
    fn of_several_variables_of_a_name_the_last_counts() {
        let env = ["A=0", "PATH=/one", "HOME=/h", "B=1", "A=9", "PATH=/two", "HOME=", "A", "A=b=c"];
        let env = env.map(str::to_owned);
        let (kept, home) = environment(&env);
        assert_eq!(kept, ["B=1", "PATH=/two", "A=b=c"]);
        assert!(home.is_some(), "an empty HOME is none");
        assert_eq!(candidates("sh", &kept).unwrap(), [c"/two/sh".to_owned()]);
    }

    #[test]
    fn ids_that_mean_something_else_to_the_kernel_are_refused() {
        assert!(id("uid", u32::MAX).is_err());
        assert!(id("uid", 1 << 31).is_err());
        assert_eq!(id("uid", 65534).unwrap(), 65534);
    }

    #[test]
    fn no_capabilities_means_none() {
        let rights = rights(None, &mut Vec::new());
        assert_eq!(rights, Rights { bounding: 0, sets: CapabilitySets::default(), ambient: 0 });
    }

    #[test]
    fn what_the_kernel_would_not_give_is_left_out_and_said() {
        let wanted = serde_json::json!({
            "bounding": ["CAP_KILL"], "effective": ["CAP_CHOWN"], "inheritable": ["CAP_CHOWN", "CAP_KILL"],
            "ambient": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL"],
        });
        let mut warnings = Vec::new();
        let rights = rights(Some(&serde_json::from_value(wanted).unwrap()), &mut warnings);
        if creds::permitted() & 0b10_0001 == 0b10_0001 {
            assert_eq!((rights.sets.effective, rights.sets.inheritable, rights.ambient), (0, 1 << 5, 1 << 5));
            let said =
                |set: &str| format!("process.capabilities.{set}: CAP_CHOWN is left out: it is not in ");
            for (warning, set) in warnings.iter().zip(["effective", "inheritable", "ambient"]) {
                assert!(warning.starts_with(&said(set)), "{warning}");
            }
            assert_eq!(warnings.len(), 3);
        }
    }

    #[test]
    fn sets_are_apart() {
        let wanted: LinuxCapabilities = serde_json::from_str(
            r#"{"bounding":["CAP_CHOWN","CAP_KILL"],"permitted":["CAP_KILL"],"effective":["CAP_KILL"]}"#,
        )
        .unwrap();
        let rights = rights(Some(&wanted), &mut Vec::new());
        if creds::permitted() & 0b10_0001 == 0b10_0001 {
            assert_eq!((rights.bounding, rights.sets.effective), (0b10_0001, 0b10_0000));
        }
        assert_eq!((rights.sets.inheritable, rights.ambient), (0, 0));
    }
}
