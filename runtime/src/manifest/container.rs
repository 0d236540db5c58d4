//! From one container of a v1 Pod to the container that is asked for.
//!
//! Invariant: Kubernetes' rules, by the letter: the container speaks before its pod, the image's variables are not seen by
//! `$(NAME)`, and what is left open is what a kubelet with containerd makes of it.

use super::sandbox::{log_folder, pid_mode, volume_source};
use super::{
    Container, Pod, PodSpec, SeccompProfile, SeccompProfileType, TerminationMessagePolicy, TooMuch,
    expand_container, resources,
};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::pod::Facts;
use crate::pod::config::{
    ContainerConfig, MountConfig, ProcessConfig, Rights, Seccomp, TerminationPath, UserRequest,
};
use crate::pod::protocol::LogSpec;
use crate::pod::record::Role;

/// Bytes of a log file before it is rotated: a kubelet's containerLogMaxSize.
const LOG_MAX_SIZE: u64 = 10 << 20;
/// How many log files there are: a kubelet's containerLogMaxFiles.
const LOG_MAX_FILES: u32 = 5;

/// What the attempt of this number of `container`, which is one of `pod`, asks for.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    attempt: u32,
    facts: &Facts,
) -> Result<ContainerConfig> {
    let message = &container.termination_message_path;
    Ok(ContainerConfig {
        name: container.name.clone(),
        attempt,
        role: role(&pod.spec, container),
        image: container.image.clone(),
        process: process(container)?,
        user: user(pod, container)?,
        rights: rights(pod, container),
        pid: pid_mode(&pod.spec),
        mounts: mounts(&pod.spec, container)?,
        read_only_root: container.security_context.read_only_root_filesystem == Some(true),
        resources: resources::container(container, facts.unified_memory, facts.missing),
        oom_score_adj: resources::oom_score_adj(&pod.spec, container, facts.memory),
        log: Some(LogSpec {
            folder: None,
            path: format!("{}/{}/{attempt}.log", log_folder(pod), container.name),
            max_size: LOG_MAX_SIZE,
            max_files: LOG_MAX_FILES,
        }),
        termination_message: (!message.is_empty()).then(|| TerminationPath {
            path: message.clone(),
            fallback_to_logs: container.termination_message_policy
                == TerminationMessagePolicy::FallbackToLogsOnError,
        }),
    })
}

fn process(container: &Container) -> Result<ProcessConfig> {
    let expanded = expand_container(container).map_err(|TooMuch { list, index, why }| {
        let named = container.env.get(index).filter(|_| list == "env");
        let named = named.map(|variable| format!(" ({})", quoted(&variable.name))).unwrap_or_default();
        Error::new(ErrorKind::Manifest, format!("{list}[{index}]{named}: {why}"))
    })?;
    Ok(ProcessConfig {
        command: expanded.command,
        args: expanded.args,
        env: expanded.env,
        cwd: container.working_dir.clone(),
        terminal: container.tty,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
    })
}

fn user(pod: &Pod, container: &Container) -> Result<UserRequest> {
    let (own, pod) = (&container.security_context, &pod.spec.security_context);
    let given = |given: Option<i64>, field| given.map(|given| id(given, field)).transpose();
    Ok(UserRequest {
        uid: given(own.run_as_user.or(pod.run_as_user), "runAsUser")?,
        gid: given(own.run_as_group.or(pod.run_as_group), "runAsGroup")?,
        groups: pod
            .supplemental_groups
            .iter()
            .map(|group| id(*group, "supplementalGroups"))
            .collect::<Result<_>>()?,
        non_root: own.run_as_non_root.or(pod.run_as_non_root) == Some(true),
    })
}

/// An id: beyond the half of 32 bits it would be negative in the kernel's interfaces.
fn id(given: i64, field: &str) -> Result<u32> {
    u32::try_from(given).ok().filter(|id| *id <= i32::MAX.unsigned_abs()).ok_or_else(|| {
        Error::new(ErrorKind::Manifest, format!("{field} {given}: must be from 0 to 2147483647"))
    })
}

fn rights(pod: &Pod, container: &Container) -> Rights {
    let own = &container.security_context;
    let privileged = own.privileged == Some(true);
    let capabilities = own.capabilities.clone().unwrap_or_default();
    Rights {
        privileged,
        add: capabilities.add,
        drop: capabilities.drop,
        no_new_privileges: own.allow_privilege_escalation == Some(false) && !privileged,
        seccomp: seccomp(own.seccomp_profile.as_ref().or(pod.spec.security_context.seccomp_profile.as_ref())),
        masked_paths: None,
        read_only_paths: None,
    }
}

fn seccomp(profile: Option<&SeccompProfile>) -> Seccomp {
    let Some(SeccompProfile { kind: Some(kind), localhost_profile }) = profile else {
        return Seccomp::RuntimeDefault;
    };
    match kind {
        SeccompProfileType::RuntimeDefault => Seccomp::RuntimeDefault,
        SeccompProfileType::Unconfined => Seccomp::Unconfined,
        SeccompProfileType::Localhost => Seccomp::Localhost(localhost_profile.clone().unwrap_or_default()),
    }
}

fn mounts(spec: &PodSpec, container: &Container) -> Result<Vec<MountConfig>> {
    let mount = |mount: &super::VolumeMount| {
        let volume = spec.volumes.iter().find(|volume| volume.name == mount.name).ok_or_else(|| {
            Error::failed(format!("volumeMount {:?}: the pod has no such volume", mount.name))
        })?;
        Ok(MountConfig {
            volume: mount.name.clone(),
            source: volume_source(spec, volume),
            destination: mount.mount_path.clone(),
            sub_path: mount.sub_path.clone(),
            read_only: mount.read_only,
        })
    };
    container.volume_mounts.iter().map(mount).collect()
}

fn role(spec: &PodSpec, container: &Container) -> Role {
    match spec.init_containers.iter().find(|init| init.name == container.name) {
        Some(init) if init.restarts_always() => Role::Sidecar,
        Some(_) => Role::Init,
        None => Role::App,
    }
}
