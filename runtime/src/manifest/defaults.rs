//! The defaults that Kubernetes fills in for absent fields.
//!
//! Invariant: idempotent. Defaults that need no other field are the types' own ([`super::types`]); here are the
//! ones that follow from other fields of the pod.

use super::types::{Container, ImagePullPolicy, Pod};
use crate::{Error, ErrorKind, Result};

/// The namespace of a pod that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Completes a pod as Kubernetes does. The namespace is left to [`place`].
pub fn default(pod: &mut Pod) {
    // A negative grace is one second, as Kubernetes warns.
    if pod.spec.termination_grace_period_seconds < 0 {
        pod.spec.termination_grace_period_seconds = 1;
    }
    let host_network = pod.spec.host_network;
    for container in pod.spec.init_containers.iter_mut().chain(&mut pod.spec.containers) {
        default_container(container, host_network);
    }
}

/// Puts a pod into the namespace that was `asked` for, its own, or `default`.
pub fn place(pod: &mut Pod, asked: Option<&str>) -> Result<()> {
    let namespace = &mut pod.metadata.namespace;
    match asked {
        Some(asked) if namespace.is_empty() => asked.clone_into(namespace),
        None if namespace.is_empty() => DEFAULT_NAMESPACE.clone_into(namespace),
        Some(asked) if asked != namespace => {
            let message = format!("the manifest's namespace is `{namespace}`, not `{asked}`");
            return Err(
                Error::new(ErrorKind::Usage, message).hint(format!("leave -n out, or say `-n {namespace}`"))
            );
        }
        _ => {}
    }
    Ok(())
}

fn default_container(container: &mut Container, host_network: bool) {
    if container.image_pull_policy.is_none() && !container.image.is_empty() {
        container.image_pull_policy = Some(pull_policy(&container.image));
    }
    if container.termination_message_path.is_empty() {
        Container::DEFAULT_TERMINATION_MESSAGE_PATH.clone_into(&mut container.termination_message_path);
    }
    let resources = &mut container.resources;
    for quantity in resources.limits.values_mut().chain(resources.requests.values_mut()) {
        *quantity = quantity.clone().rounded_up();
    }
    for (name, limit) in &container.resources.limits {
        container.resources.requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    if host_network {
        for port in container.ports.iter_mut().filter(|port| port.host_port == 0) {
            port.host_port = port.container_port;
        }
    }
    if let Some(capabilities) = &mut container.security_context.capabilities {
        capabilities
            .add
            .iter_mut()
            .chain(&mut capabilities.drop)
            .for_each(|name| name.make_ascii_uppercase());
    }
}

/// Always for the tag `latest` and for no tag, else IfNotPresent. A digest counts as a tag.
fn pull_policy(image: &str) -> ImagePullPolicy {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    // A colon before the last slash is a registry's port.
    let last = name.rsplit('/').next().unwrap_or(name);
    match (last.split_once(':'), digest) {
        (Some((_, "latest")), _) | (None, None) => ImagePullPolicy::Always,
        _ => ImagePullPolicy::IfNotPresent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_what_may_move() {
        for (image, policy) in [
            ("nginx", ImagePullPolicy::Always),
            ("nginx:latest", ImagePullPolicy::Always),
            ("host:5000/nginx", ImagePullPolicy::Always),
            ("host:5000/nginx:1", ImagePullPolicy::IfNotPresent),
            ("nginx:1.27", ImagePullPolicy::IfNotPresent),
            ("nginx@sha256:0123", ImagePullPolicy::IfNotPresent),
            ("nginx:1@sha256:0123", ImagePullPolicy::IfNotPresent),
            ("nginx:latest@sha256:0123", ImagePullPolicy::Always),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn requests_follow_limits_and_host_ports_the_network() {
        let mut pod: Pod = serde_json::from_value(serde_json::json!({
            "spec": {"hostNetwork": true, "terminationGracePeriodSeconds": -5, "containers": [{
                "name": "a", "image": "a:1", "terminationMessagePath": "",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
                "securityContext": {"capabilities": {"add": ["net_admin"]}},
            }]},
        }))
        .unwrap();
        default(&mut pod);
        let container = &pod.spec.containers[0];
        assert_eq!(container.resources.cpu_request(), Some(500));
        assert_eq!(container.resources.memory_request(), Some(1 << 30));
        assert_eq!(container.ports[0].host_port, 80);
        assert_eq!(container.termination_message_path, "/dev/termination-log");
        assert_eq!(container.security_context.capabilities.as_ref().unwrap().add, ["NET_ADMIN"]);
        assert_eq!(pod.spec.termination_grace_period_seconds, 1);
        let once = pod.clone();
        default(&mut pod);
        assert_eq!(pod, once);
    }

    #[test]
    fn a_pod_is_placed_where_both_agree() {
        let mut pod = Pod::default();
        place(&mut pod, None).unwrap();
        assert_eq!(pod.metadata.namespace, "default");
        place(&mut pod, Some("default")).unwrap();
        assert_eq!(place(&mut pod, Some("other")).unwrap_err().kind(), ErrorKind::Usage);
        let mut pod = Pod::default();
        place(&mut pod, Some("other")).unwrap();
        assert_eq!(pod.metadata.namespace, "other");
    }
}
