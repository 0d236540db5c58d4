//! What a pod is called inside.
//!
//! Invariant: at most 63 bytes, the kernel's limit being 64, and never ending in a dash or dot.

use super::types::Pod;

/// The longest hostname Kubernetes gives.
const MAX: usize = 63;

/// The domain Kubernetes' clusters have unless told otherwise.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// The pod's hostname: what it asks for, or its name, cut.
pub fn hostname(pod: &Pod) -> &str {
    let name = if pod.spec.hostname.is_empty() { &pod.metadata.name } else { &pod.spec.hostname };
    name.get(..MAX).unwrap_or(name).trim_end_matches(['-', '.'])
}

/// The pod's domain, if it has a subdomain: `<subdomain>.<namespace>.svc.cluster.local`.
pub fn domain(pod: &Pod) -> Option<String> {
    if pod.spec.subdomain.is_empty() {
        return None;
    }
    Some(format!("{}.{}.svc.{CLUSTER_DOMAIN}", pod.spec.subdomain, pod.metadata.namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_cut_without_a_trailing_dash_or_dot() {
        let named = |name: &str| {
            let mut pod = Pod::default();
            pod.metadata.name = name.into();
            hostname(&pod).to_string()
        };
        assert_eq!(named("web"), "web");
        assert_eq!(named("web.example"), "web.example");
        assert_eq!(named(&"a".repeat(64)), "a".repeat(63));
        assert_eq!(named(&format!("{}.-bcd", "a".repeat(61))), "a".repeat(61));
        let mut pod = Pod::default();
        pod.metadata.name = "web".into();
        pod.metadata.namespace = "shop".into();
        pod.spec.hostname = "front".into();
        assert_eq!((hostname(&pod), domain(&pod)), ("front", None));
        pod.spec.subdomain = "tier".into();
        assert_eq!(domain(&pod).as_deref(), Some("tier.shop.svc.cluster.local"));
    }
}
