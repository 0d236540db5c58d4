//! Verbs and flags that people bring from kubectl, podman and docker and that podrun does not
//! have: one line each that names podrun's way.

/// What to use instead of `verb`, if its name is known.
pub(crate) fn verb(verb: &str) -> Option<&'static str> {
    Some(match verb {
        "apply" => "podrun has no apply: delete the pod, then `podrun create FILE`",
        "ps" => "pods are listed by `podrun get pods`",
        "stop" | "kill" => "a pod is ended and removed by `podrun delete NAME`",
        "rm" => "a pod is removed by `podrun delete NAME`, an image by `podrun rmi IMAGE`",
        "inspect" => {
            "all of a pod is in `podrun get pod NAME -o json`, an image's in `podrun images -o json`"
        }
        "start" | "restart" => "`podrun create` starts what it creates; restartPolicy restarts it",
        "edit" | "patch" | "replace" | "set" | "label" | "annotate" | "scale" | "rollout" => {
            "a pod is not changed in place: delete it and create it again; more load means more pods"
        }
        "build" | "push" | "tag" => {
            "podrun builds no images: build them elsewhere, then `podrun pull` or `podrun load`"
        }
        "play" | "kube" => "a manifest is run by `podrun create FILE`",
        "port-forward" => "not here yet: declare a hostPort, or connect to the pod's IP from this host",
        "cp" => "not here yet: `podrun exec POD -- tar c PATH | tar x` copies out of a container",
        "debug" => "not here yet: `podrun ns POD` gives the PIDs for nsenter",
        "top" => "not here yet: `podrun ns POD` gives the PIDs for top(1)",
        "events" => "not here yet: `podrun describe pod NAME` shows a pod's events",
        "labs" | "lab" => "not here yet: `podrun ns POD` shows a pod's namespaces",
        "cri" => "not here yet: podrun has no CRI server so far",
        _ => return None,
    })
}

/// What to do without `flag`, if its name is known.
pub(crate) fn flag(flag: &str) -> Option<&'static str> {
    let name = flag.split('=').next().unwrap_or(flag);
    Some(match name {
        "--kubeconfig" | "--context" | "--cluster" | "--server" | "-s" | "--user" | "--token" => {
            "podrun has no server: it runs the pods on this host, with its state in --root and --state-dir"
        }
        _ => return None,
    })
}
