//! Verbs and flags that people bring from kubectl, podman and docker and that podrun does not
//! have: one line each that names podrun's way.

/// The substitute for `verb`, if it is known.
pub(crate) fn verb(verb: &str) -> Option<&'static str> {
    of_pods_and_images(verb).or_else(|| of_clusters_and_machines(verb))
}

fn of_pods_and_images(verb: &str) -> Option<&'static str> {
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
        "pod" | "pods" | "po" | "container" => {
            "the verb comes first: `podrun get pods`, `podrun create FILE`"
        }
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

fn of_clusters_and_machines(verb: &str) -> Option<&'static str> {
    Some(match verb {
        "auth" => "there is no server to ask: who is root here may do all, anybody may `validate`",
        "api-resources" | "api-versions" => {
            "podrun has pods (v1) and images, and no API server; docs/fields.md lists a pod's fields"
        }
        "cluster-info" => "there is no cluster: `podrun doctor` looks at this host, which runs the pods",
        "cordon" | "uncordon" | "drain" | "taint" | "node" => {
            "this host is the only one; `podrun delete pods --all -A` ends what runs on it"
        }
        "certificate" | "plugin" | "kuberc" => "that is for a cluster; podrun works on this host alone",
        "kustomize" => "`kubectl kustomize DIR | podrun create -` creates what it prints",
        "diff" => {
            "`podrun create --dry-run=client -o yaml FILE` and `podrun get pod NAME -o yaml` print both sides for diff(1)"
        }
        "options" => "`podrun --help` lists the options that every verb takes",
        "generate" => "`podrun get pod NAME -o yaml` prints a pod's manifest",
        "unshare" => "podrun has no user namespace to enter; `podrun ns POD` gives the PIDs for nsenter",
        "umount" | "unmount" => "`podrun image mount` mounts for one program, and nothing is left to unmount",
        "network" => {
            "each pod is on podrun's bridge, or on the host's network by hostNetwork: true; docs/cli.md has its settings"
        }
        "volume" => {
            "volumes are in a manifest: emptyDir lives as long as its pod, hostPath is a folder of this host"
        }
        "secret" | "configmap" => {
            "not here yet; write values out under env, or put files in a hostPath volume"
        }
        "healthcheck" => {
            "not here yet; `podrun exec POD -- COMMAND` runs a check, `podrun get pods` shows who is ready"
        }
        "machine" | "init" | "quadlet" | "farm" | "swarm" | "service" | "stack" => {
            "podrun has no server and no virtual machine; a systemd unit may call `podrun create` and `podrun delete`"
        }
        "runp" => "`podrun create FILE` makes a pod with its containers",
        "stopp" | "rmp" => "`podrun delete NAME` ends a pod and removes it",
        "inspectp" | "statsp" => "`podrun get pod NAME -o json` prints all of a pod",
        "inspecti" | "imagei" => "`podrun image inspect IMAGE` prints all of an image",
        "imagefsinfo" => "`podrun image df` tells what images take",
        _ => return None,
    })
}

/// The substitute for `flag` of `verb`, if it is known.
pub(crate) fn flag(verb: &str, flag: &str) -> Option<&'static str> {
    let name = flag.split('=').next().unwrap_or(flag);
    of_verb(verb, name).or_else(|| of_any_verb(name))
}

fn of_verb(verb: &str, name: &str) -> Option<&'static str> {
    let of_run = if verb == "run" { of_run(name) } else { None };
    of_run.or_else(|| of_image_verb(verb, name)).or_else(|| of_pod_verb(verb, name))
}

fn of_any_verb(name: &str) -> Option<&'static str> {
    Some(match name {
        "--kubeconfig"
        | "--context"
        | "--cluster"
        | "--server"
        | "-s"
        | "--user"
        | "--token"
        | "--as"
        | "--as-group"
        | "--as-uid"
        | "--request-timeout"
        | "--insecure-skip-tls-verify"
        | "--certificate-authority"
        | "--url"
        | "--connection" => {
            "podrun has no server: it runs the pods on this host, with its state in --root and --state-dir"
        }
        "-R" | "--recursive" => "give each folder by itself",
        "-k" | "--kustomize" => {
            "`kubectl kustomize DIR` prints manifests, which every verb with -f takes as -"
        }
        "--raw" | "--chunk-size" | "--server-print" | "--subresource" | "--save-config"
        | "--field-manager" => "that is for an API server, and podrun has none",
        "--validate" => "podrun always checks the whole manifest",
        "--template" => "-o jsonpath=TEMPLATE prints what it names; podrun has no Go templates",
        "--format" => "-o jsonpath=TEMPLATE prints what it names, -o json all",
        _ => return None,
    })
}

fn of_pod_verb(verb: &str, name: &str) -> Option<&'static str> {
    Some(match (verb, name) {
        ("exec", "-u" | "--user") => {
            "a command runs as the container's user, securityContext.runAsUser in its manifest; su or setpriv changes it inside"
        }
        ("exec", "-e" | "--env") => "env sets a variable inside: podrun exec POD -- env NAME=VALUE PROGRAM",
        ("exec", "-w" | "--workdir") => {
            "sh changes it inside: podrun exec POD -- sh -c 'cd DIR && exec PROGRAM'"
        }
        ("exec", "-d" | "--detach") => {
            "podrun exec waits for its program; a container that goes on belongs into the pod"
        }
        ("exec", "--privileged") => "a command has its container's rights, securityContext in its manifest",
        ("create", "--image") => "`podrun run NAME --image=IMAGE` makes a pod without a manifest",
        ("create", "--from-literal" | "--from-file" | "--from-env-file") => {
            "there are no ConfigMaps and Secrets yet: write values out under env, or put files in a hostPath volume"
        }
        ("create", "--edit") => "edit the file, then create",
        ("delete", "--cascade") => "a pod owns nothing but itself",
        ("delete", "-i" | "--interactive" | "--dry-run") => {
            "`podrun get pods` with the same words lists what would go"
        }
        ("delete", "-o" | "--output") => "delete says what it deleted, a line a pod",
        ("delete", "-t" | "--time") => "--grace-period=SECONDS gives the containers their time",
        ("get", "--watch-only" | "--output-watch-events") => "-w prints what is there, and then each change",
        ("get", "--show-kind") => "-o name prints pod/NAME",
        ("logs", "--limit-bytes") => {
            "--tail=LINES prints the end, `podrun logs POD | head -c BYTES` the beginning"
        }
        ("logs", "--max-log-requests" | "--ignore-errors" | "--pod-running-timeout") => {
            "podrun reads the files, as many as there are"
        }
        ("logs", "--all-pods" | "--latest") => "-l chooses pods by their labels",
        ("logs", "--until") => "`podrun logs POD --timestamps` has the time of each line",
        ("attach" | "run", "--detach-keys") => "Ctrl-P Ctrl-Q leaves",
        ("exec", "--detach-keys") => "podrun exec ends with its program",
        ("exec" | "attach", "--pod-running-timeout") => {
            "`podrun wait POD --for=condition=Ready` waits before"
        }
        ("describe", "--show-events") => "describe always ends with the events",
        _ => return None,
    })
}

fn of_run(name: &str) -> Option<&'static str> {
    Some(match name {
        "-e" => "--env=NAME=VALUE sets a variable",
        "--env-file" => "--env=NAME=VALUE sets a variable; it may be given several times",
        "-d" | "--detach" => "without -i and -t, podrun run returns once the pod is started",
        "--name" => "the name comes first: podrun run NAME --image=IMAGE",
        "--entrypoint" => {
            "--command takes the program behind --: podrun run NAME --image=IMAGE --command -- PROGRAM"
        }
        "--pull" => "--image-pull-policy=Always, IfNotPresent or Never",
        "--attach" => "-i attaches to the container",
        "-p" | "--publish" | "--expose" => {
            "a port of the host is hostPort in a manifest; --dry-run=client -o yaml begins one"
        }
        "-v" | "--volume" | "--mount" => "volumes are in a manifest; --dry-run=client -o yaml begins one",
        "--replicas" => "more load means more pods: run it again under another name",
        "-u" | "--user" | "-w" | "--workdir" | "--hostname" | "-m" | "--memory" | "--cpus" | "--network"
        | "--net" | "--cap-add" | "--cap-drop" | "--read-only" | "--annotations" | "--overrides"
        | "--requests" | "--limits" | "--serviceaccount" | "--pod" => {
            "that is in a manifest; --dry-run=client -o yaml begins one"
        }
        _ => return None,
    })
}

fn of_image_verb(verb: &str, name: &str) -> Option<&'static str> {
    Some(match (verb, name) {
        ("image inspect" | "image history", "-f") => "-o jsonpath=TEMPLATE prints what it names, -o json all",
        ("images" | "image ls", "--sort") => "they are sorted by name; -o json is for other orders",
        ("image history", "-q" | "--quiet") => "-o name prints the layers alone",
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
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_verb_of_podruns_own_is_said_to_be_missing() {
        let verbs = crate::args::command();
        for own in verbs.get_subcommands() {
            assert_eq!(verb(own.get_name()), None, "{}", own.get_name());
        }
    }

    #[test]
    fn no_flag_that_a_verb_has_is_said_to_be_missing() {
        let command = crate::args::command();
        for verb in command.get_subcommands() {
            for arg in verb.get_arguments() {
                let long = arg.get_long().map(|long| format!("--{long}"));
                let short = arg.get_short().map(|short| format!("-{short}"));
                for name in long.into_iter().chain(short) {
                    assert_eq!(of_verb(verb.get_name(), &name), None, "{} {name}", verb.get_name());
                }
            }
        }
    }
}
