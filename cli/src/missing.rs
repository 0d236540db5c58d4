//! Verbs and flags that people bring from kubectl, podman and docker and that podrun does not
//! have: one line each that names podrun's way.

/// What to use instead of `verb`, if its name is known.
pub(crate) fn verb(verb: &str) -> Option<&'static str> {
    Some(match verb {
        "apply" => "delete the pod, then `podrun create FILE`",
        "ps" => "`podrun get pods` lists pods",
        "stop" | "kill" => "`podrun delete NAME` ends a pod and removes it",
        "rm" => "`podrun delete NAME` removes a pod, `podrun rmi IMAGE` an image",
        "inspect" => {
            "`podrun get pod NAME -o json` prints all of a pod, `podrun image inspect IMAGE` of an image"
        }
        "start" | "restart" | "pause" | "unpause" => {
            "`podrun create` starts what it creates, and restartPolicy restarts it"
        }
        "edit" | "patch" | "replace" | "set" | "label" | "annotate" | "scale" | "autoscale" | "rollout"
        | "rename" | "update" => {
            "a pod is not changed in place: delete it and create it again; more load means more pods"
        }
        "build" | "commit" => "podrun builds no images: `podrun pull` or `podrun load` brings them",
        "export" => "`podrun exec POD -- tar c -C / .` writes a container's files, `podrun save` an image",
        "pod" | "pods" | "container" => "the verb comes first: `podrun get pods`, `podrun create FILE`",
        "play" | "kube" | "up" | "compose" => "`podrun create FILE` runs a manifest",
        "down" => "`podrun delete -f FILE` ends a manifest's pods",
        "untag" => "`podrun rmi NAME` takes a name away from its image",
        "exists" => "`podrun image inspect -o name IMAGE` ends with 4 where there is none",
        "search" => "podrun pulls by name, and searches no registry",
        "manifest" => "podrun keeps of an image the one for a platform, and makes no lists of several",
        "info" => "`podrun doctor` tells what this host gives and lacks",
        "system" => {
            "`podrun image df` tells what images take, `podrun image prune` clears up, `podrun doctor` looks at the host"
        }
        "config" => "the settings are in /etc/podrun/config.yaml, or in the file that --config names",
        "explain" => "`podrun validate FILE` checks a manifest; docs/fields.md lists the fields",
        "port" | "expose" | "proxy" | "port-forward" => {
            "not here yet; declare a hostPort, or connect to the pod's IP from this host"
        }
        "cp" => "not here yet; `podrun exec POD -- tar c PATH | tar x` copies out of a container",
        "debug" => "not here yet; `podrun ns POD` gives the PIDs for nsenter",
        "top" | "stats" => "not here yet; `podrun ns POD` gives the PIDs for top(1)",
        "events" => "not here yet; `podrun describe pod NAME` shows a pod's events",
        "labs" | "lab" => "not here yet; `podrun ns POD` shows a pod's namespaces",
        "cri" => "not here yet; podrun has no CRI server so far",
        _ => return None,
    })
}

/// What to do without `flag` of `verb`, if its name is known.
pub(crate) fn flag(verb: &str, flag: &str) -> Option<&'static str> {
    let name = flag.split('=').next().unwrap_or(flag);
    Some(match (verb, name) {
        (_, "--kubeconfig" | "--context" | "--cluster" | "--server" | "-s" | "--user" | "--token") => {
            "podrun has no server: it runs the pods on this host, with its state in --root and --state-dir"
        }
        (_, "--field-selector") => {
            "choose by -l, or filter with -o jsonpath='{.items[?(@.status.phase==\"Running\")]…}'"
        }
        ("create", "--image") => "`podrun run NAME --image=IMAGE` makes a pod without a manifest",
        ("run", "-e") => "--env=NAME=VALUE sets a variable",
        ("run", "-d" | "--detach") => "without -i and -t, podrun run returns once the pod is started",
        ("run", "-p" | "--publish") => {
            "a port of the host is hostPort in a manifest; --dry-run=client -o yaml begins one"
        }
        ("run", "-v" | "--volume" | "--mount") => {
            "volumes are in a manifest; --dry-run=client -o yaml begins one"
        }
        ("run", "--replicas") => "more load means more pods: run it again under another name",
        ("image inspect" | "image history" | "images" | "image ls", "-f" | "--format") => {
            "-o jsonpath=TEMPLATE prints what it names, -o json all"
        }
        ("images" | "image ls", "--sort") => "they are sorted by name; -o json is for other orders",
        ("image history", "-q" | "--quiet") => "-o name prints the layers alone",
        ("load" | "image load", "-i" | "--input") => "the archive is an argument: podrun load FILE",
        ("save" | "image save", "-m" | "--multi-image-archive") => {
            "several images go into one archive as they are: podrun save A B -o FILE"
        }
        ("save" | "image save", "-q" | "--quiet") => "it shows no progress",
        ("save" | "image save", "--compress") => "an oci-archive has its layers as they came packed",
        ("pull" | "image pull" | "load" | "image load" | "image import", "--arch" | "--os" | "--variant") => {
            "--platform OS/ARCH[/VARIANT] chooses one"
        }
        (
            "push" | "image push" | "save" | "image save",
            "--platform" | "--all-platforms" | "--all" | "--multi-arch",
        ) => "podrun keeps of an image the one for a platform, and that one goes",
        ("push" | "image push", "--digestfile") => "-q prints the digest and nothing else",
        (
            "push" | "image push",
            "--format" | "-f" | "--compression-format" | "--compression-level" | "--force-compression",
        ) => "the image goes as it came, so that its digest stays",
        ("pull" | "push" | "login" | "image pull" | "image push", "--cert-dir") => {
            "certificates are in /etc/containers/certs.d/HOST[:PORT], or named in the config file"
        }
        ("image prune", "-f" | "--force") => "it asks nothing; --dry-run says what would go",
        ("logs", "--since-time") => "--since=5m goes back from now",
        _ => return None,
    })
}
