//! The words that kubectl's users have for resources: those that mean pods, and what another resource is here.
//!
//! Invariant: pure. A word is read as kubectl reads it: in any case, singular, plural or short, with or without a
//! version and a group behind it (`PODS`, `pod.v1`, `deployments.apps`).

/// What a word means where kubectl expects a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// What podrun has.
    Pods,
    /// What it does not have; the text is what to do here.
    Other(&'static str),
}

/// The resource that `word` stands for, if it is a resource's word; of several parted by commas the first that is no pod.
pub(crate) fn resource(word: &str) -> Option<Resource> {
    let mut meant = None;
    for part in word.split(',') {
        let one = one(&part.to_ascii_lowercase());
        if let Some(Resource::Other(_)) | None = one {
            return one;
        }
        meant = one;
    }
    meant
}

fn one(word: &str) -> Option<Resource> {
    let name = match word.split_once('.') {
        // A pod's name may have a dot as well.
        Some((name, rest)) if is_version_or_group(rest) => name,
        Some(_) => return None,
        None => word,
    };
    if matches!(name, "pod" | "pods" | "po") {
        return Some(Resource::Pods);
    }
    let other = OTHERS.iter().find(|(words, _)| words.split(' ').any(|word| word == name));
    other.map(|(_, instead)| Resource::Other(instead))
}

/// Whether `text` is what kubectl writes behind a resource: `v1`, `v1.`, `apps`, `v1.apps`.
fn is_version_or_group(text: &str) -> bool {
    let (first, rest) = text.split_once('.').unwrap_or((text, ""));
    if is_version(first) { rest.is_empty() || is_group(rest) } else { is_group(text) }
}

fn is_version(text: &str) -> bool {
    text.strip_prefix('v').and_then(|rest| rest.chars().next()).is_some_and(|first| first.is_ascii_digit())
}

fn is_group(text: &str) -> bool {
    matches!(text, "apps" | "batch" | "autoscaling" | "policy" | "extensions") || text.ends_with(".k8s.io")
}

/// Other resources' words, parted by spaces, each with what it would be here.
const OTHERS: &[(&str, &str)] = &[
    ("all", "all that podrun has is pods: `podrun get pods -A`"),
    (
        "deployment deployments deploy replicaset replicasets rs statefulset statefulsets sts daemonset daemonsets ds \
         replicationcontroller replicationcontrollers rc podtemplate podtemplates",
        "nothing here makes pods out of a template: each is created and deleted by its own name; see `podrun get pods`",
    ),
    (
        "job jobs cronjob cronjobs cj",
        "a job is a pod with restartPolicy: Never or OnFailure; cron or a systemd timer runs `podrun create` again",
    ),
    (
        "service services svc endpoints ep endpointslice endpointslices ingress ingresses ing ingressclass ingressclasses",
        "a pod is reached by its IP (`podrun get pods -o wide`), or by a hostPort of its container",
    ),
    (
        "networkpolicy networkpolicies netpol",
        "podrun filters nothing between pods; the host's own nftables can",
    ),
    ("node nodes no", "this host is the only one: `podrun doctor` looks at it"),
    ("namespace namespaces ns", "a namespace is there with its first pod: `podrun get pods -A` shows them"),
    (
        "configmap configmaps cm secret secrets",
        "podrun has no ConfigMaps and Secrets yet: write values out under env, or put files in a hostPath volume",
    ),
    (
        "persistentvolumeclaim persistentvolumeclaims pvc persistentvolume persistentvolumes pv storageclass storageclasses sc \
         volume volumes",
        "volumes are a pod's: a hostPath keeps its data on this host, an emptyDir as long as the pod",
    ),
    ("event events ev", "`podrun describe pod NAME` shows a pod's events"),
    ("image images", "images are listed by `podrun images`, and removed by `podrun rmi`"),
    ("container containers", "`podrun describe pod NAME` shows a pod's containers"),
    (
        "serviceaccount serviceaccounts sa role roles rolebinding rolebindings clusterrole clusterroles clusterrolebinding \
         clusterrolebindings",
        "podrun has no server to have rights at: who is root here may do all",
    ),
    (
        "horizontalpodautoscaler horizontalpodautoscalers hpa poddisruptionbudget poddisruptionbudgets pdb resourcequota \
         resourcequotas quota limitrange limitranges limits priorityclass priorityclasses pc runtimeclass runtimeclasses lease \
         leases customresourcedefinition customresourcedefinitions crd crds componentstatus componentstatuses cs",
        "that is a cluster's; a pod's own limits are its containers' resources",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_kubectl_reads_it() {
        for word in ["pod", "pods", "po", "PODS", "Pod", "pod.v1", "pods.v1", "pods.v1.", "pods,po"] {
            assert_eq!(resource(word), Some(Resource::Pods), "{word}");
        }
        for word in [
            "svc",
            "SVC",
            "Deployment",
            "deploy",
            "deployments.apps",
            "deployments.v1.apps",
            "pods,svc",
            "svc,pods",
        ] {
            assert!(matches!(resource(word), Some(Resource::Other(_))), "{word}");
        }
        assert!(matches!(resource("netpol.networking.k8s.io"), Some(Resource::Other(_))));
        for name in ["web", "job.backup", "pod.web", "svc.vx", "web,job", "", ",", "pods.", "po-1"] {
            assert_eq!(resource(name), None, "{name}");
        }
    }

    #[test]
    fn a_word_stands_for_one_resource() {
        let mut seen = std::collections::BTreeSet::new();
        for word in OTHERS.iter().flat_map(|(words, _)| words.split(' ')) {
            assert!(!word.is_empty() && seen.insert(word), "{word:?}");
        }
    }
}
