//! The rules between the fields of a pod, and the warnings.

use serde_json::{Value, json};

use super::super::default;
use super::*;

/// The problems of a pod with this spec; a container called `a` is added if it has none.
fn problems(spec: Value) -> Vec<String> {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "a", "image": "b"}]);
    }
    let value = json!({"metadata": {"name": "p"}, "spec": spec});
    let mut pod: Pod = serde_json::from_value(value).unwrap();
    default(&mut pod);
    validate(&pod).first.iter().map(ToString::to_string).collect()
}

/// The problems of a pod whose only container has these fields.
fn container(fields: Value) -> Vec<String> {
    let mut container = json!({"name": "a", "image": "b"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    problems(json!({"containers": [container], "volumes": [{"name": "v"}, {"name": "w"}]}))
}

#[test]
fn good_ones_pass() {
    let none: [String; 0] = [];
    assert_eq!(problems(json!({})), none);
    for spec in [
        json!({"hostNetwork": true, "containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 80}]}]}),
        json!({"activeDeadlineSeconds": 1, "hostname": "h", "subdomain": "s"}),
        json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1", "::1"], "searches": ["a.b.", "."], "options": [{"name": "ndots", "value": "2"}]}}),
        json!({"hostAliases": [{"ip": "::1", "hostnames": ["a.b"]}]}),
        json!({"initContainers": [{"name": "i", "image": "b", "restartPolicy": "Always"}]}),
        json!({"securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}, {"name": "kernel/shm_rmid_forced", "value": "1"}]}}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
        json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi", "medium": "Memory"}}, {"name": "w", "emptyDir": {"sizeLimit": "0"}}]}),
        // The API asks of containers alone that the two ports are one.
        json!({"hostNetwork": true, "initContainers": [{"name": "i", "image": "b", "ports": [{"containerPort": 80, "hostPort": 3}]}]}),
        // Init containers run before the others, one after the other: their ports do not meet.
        json!({"hostNetwork": true,
               "initContainers": [{"name": "i", "image": "b", "ports": [{"containerPort": 80}]}, {"name": "j", "image": "b", "ports": [{"containerPort": 80}]}],
               "containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 80}]}]}),
    ] {
        assert_eq!(problems(spec.clone()), none, "{spec}");
    }
    for fields in [
        json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "b/..c"}, {"name": "v", "mountPath": "/a/b"}]}),
        json!({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 80, "hostPort": 80, "protocol": "UDP"}]}),
        json!({"ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}, {"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.2"}]}),
        json!({"securityContext": {"capabilities": {"add": ["ALL", "net_admin"]}, "runAsUser": 0}}),
        json!({"env": [{"name": "a.b-c", "value": "x"}]}),
        json!({"resources": {"limits": {"memory": "256Ki"}, "requests": {"memory": "1"}}}),
        json!({"resources": {"limits": {"memory": "0"}}}),
        // From the container's root on, as a kubelet takes them.
        json!({"volumeMounts": [{"name": "v", "mountPath": "data", "subPath": "."}, {"name": "w", "mountPath": "./x/y", "subPath": "./z"}]}),
        json!({"terminationMessagePath": "log"}),
        json!({"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"add": ["SYS_ADMIN"]}}}),
        json!({"ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "0.0.0.0"}, {"containerPort": 80, "hostPort": 80, "hostIP": "::"}]}),
        json!({"ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "0.0.0.0"}, {"containerPort": 80, "hostPort": 80, "hostIP": "fd00::1"}]}),
    ] {
        assert_eq!(container(fields.clone()), none, "{fields}");
    }
}

#[test]
fn each_rule_of_the_pod_is_held() {
    for (spec, expected) in [
        (json!({"containers": []}), "spec.containers: required"),
        (json!({"activeDeadlineSeconds": 0}), "spec.activeDeadlineSeconds: must be from 1"),
        (json!({"hostname": "a.b"}), "spec.hostname: must be a DNS label"),
        (json!({"subdomain": "A"}), "spec.subdomain: must be a DNS label"),
        (json!({"os": {}}), "spec.os.name: required"),
        (
            json!({"hostPID": true, "shareProcessNamespace": true}),
            "spec.shareProcessNamespace: cannot be true with hostPID",
        ),
        (
            json!({"hostAliases": [{"ip": "x", "hostnames": ["a"]}]}),
            "spec.hostAliases[0].ip: must be an IPv4",
        ),
        (
            json!({"hostAliases": [{"ip": "::1", "hostnames": ["A"]}]}),
            "spec.hostAliases[0].hostnames[0]: must be a DNS name",
        ),
        (
            json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]}),
            "spec.volumes[0].emptyDir.sizeLimit: not supported yet on disk",
        ),
        (
            json!({"initContainers": [{"name": "s", "image": "b", "restartPolicy": "Always", "ports": [{"containerPort": 80, "hostPort": 80}]}],
                   "containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 80, "hostPort": 80}]}]}),
            "spec.containers[0].ports[0].hostPort: spec.initContainers[0].ports[0] claims port 80",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1\n0"}]}}),
            "spec.securityContext.sysctls[0].value: must not contain control",
        ),
        (json!({"dnsPolicy": "None"}), "spec.dnsConfig.nameservers: required"),
        (
            json!({"dnsConfig": {"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]}}),
            "spec.dnsConfig.nameservers: 3 are the most",
        ),
        (json!({"dnsConfig": {"searches": vec!["a"; 33]}}), "spec.dnsConfig.searches: 32 are the most"),
        (
            json!({"dnsConfig": {"searches": vec!["a".repeat(250); 10]}}),
            "spec.dnsConfig.searches: longer than 2048",
        ),
        (json!({"dnsConfig": {"options": [{"value": "1"}]}}), "spec.dnsConfig.options[0].name: required"),
        (json!({"securityContext": {"runAsUser": -1}}), "spec.securityContext.runAsUser: must be from 0"),
        (
            json!({"securityContext": {"seccompProfile": {}}}),
            "spec.securityContext.seccompProfile.type: required",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Localhost"}}}),
            "spec.securityContext.seccompProfile.localhostProfile: required where type is Localhost",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "/a"}}}),
            "spec.securityContext.seccompProfile.localhostProfile: must be a relative path",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "a/../b"}}}),
            "spec.securityContext.seccompProfile.localhostProfile: must not contain '..'",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined", "localhostProfile": "a"}}}),
            "spec.securityContext.seccompProfile.localhostProfile: can only be set where type is Localhost",
        ),
        (
            json!({"containers": [{"name": "a", "image": "b", "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": ""}}}]}),
            "spec.containers[0].securityContext.seccompProfile.localhostProfile: required where type is Localhost",
        ),
        (
            json!({"securityContext": {"supplementalGroups": [1, 1_u64 << 31]}}),
            "spec.securityContext.supplementalGroups[1]: must be from 0",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "vm.swappiness", "value": "1"}]}}),
            "spec.securityContext.sysctls[0].name: vm.swappiness belongs to the whole host",
        ),
        (
            json!({"hostNetwork": true, "securityContext": {"sysctls": [{"name": "net/a", "value": "1"}]}}),
            "spec.securityContext.sysctls[0].name: net.a would be the host's with hostNetwork",
        ),
        (
            json!({"hostIPC": true, "securityContext": {"sysctls": [{"name": "kernel.sem", "value": "1"}]}}),
            "spec.securityContext.sysctls[0].name: kernel.sem would be the host's with hostIPC",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "net.a", "value": "1"}, {"name": "net/a", "value": "2"}]}}),
            "spec.securityContext.sysctls[1].name: net.a is set twice",
        ),
        (json!({"volumes": [{"name": ""}]}), "spec.volumes[0].name: required"),
        (json!({"volumes": [{"name": "v"}, {"name": "v"}]}), "spec.volumes[1].name: another volume"),
        (
            json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "-1"}}]}),
            "spec.volumes[0].emptyDir.sizeLimit: must not be negative",
        ),
        (json!({"volumes": [{"name": "v", "hostPath": {}}]}), "spec.volumes[0].hostPath.path: required"),
        (
            json!({"volumes": [{"name": "v", "hostPath": {"path": "x"}}]}),
            "spec.volumes[0].hostPath.path: must be an absolute path",
        ),
        (
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]}),
            "spec.volumes[0].hostPath.path: must not contain `..`",
        ),
        (
            json!({"initContainers": [{"name": "a", "image": "b"}]}),
            "spec.containers[0].name: spec.initContainers[0] is called \"a\" too",
        ),
    ] {
        let found = problems(spec.clone());
        assert!(found.len() == 1 && found[0].starts_with(expected), "{spec}: {found:?}, not {expected}");
    }
}

#[test]
fn each_rule_of_a_container_is_held() {
    for (fields, expected) in [
        (json!({"name": ""}), "name: required"),
        (json!({"name": "Web"}), "name: must be a DNS label"),
        (json!({"image": ""}), "image: required"),
        (json!({"image": " b"}), "image: must not begin or end with a space"),
        (json!({"image": "Not A Name"}), "image: image reference \"Not A Name\": "),
        (json!({"image": "busybox:"}), "image: image reference \"busybox:\": "),
        (
            json!({"resources": {"limits": {"memory": "300m"}}}),
            "resources.limits[memory]: 300m is too little for any program to start in; 256Ki are the least; did you mean 300M?",
        ),
        (json!({"resources": {"limits": {"memory": 4096}}}), "resources.limits[memory]: 4096 is too little"),
        (
            json!({"resources": {"limits": {"memory": "255Ki"}}}),
            "resources.limits[memory]: 255Ki is too little for any program to start in; 256Ki are the least",
        ),
        (json!({"restartPolicy": "Always"}), "restartPolicy: not supported yet"),
        (json!({"workingDir": "srv"}), "workingDir: must be an absolute path"),
        (json!({"terminationMessagePath": "/a/../b"}), "terminationMessagePath: must not contain `..`"),
        (json!({"terminationMessagePath": "./"}), "terminationMessagePath: must not be the container's root"),
        (json!({"args": ["a\0"]}), "args[0]: must not contain a NUL byte"),
        (json!({"env": [{"name": "A=B"}]}), "env[0].name: must be a variable's name"),
        (json!({"ports": [{}]}), "ports[0].containerPort: required"),
        (json!({"ports": [{"containerPort": 1, "name": "80"}]}), "ports[0].name: must be a port's name"),
        (json!({"ports": [{"containerPort": 1, "hostIP": "x"}]}), "ports[0].hostIP: must be an IPv4"),
        (
            json!({"ports": [{"containerPort": 1, "hostPort": 5, "hostIP": "::1"}]}),
            "ports[0].hostIP: must be one address of the host's, got \"::1\", IPv6's loopback",
        ),
        (
            json!({"ports": [{"containerPort": 1, "hostPort": 5, "hostIP": "fd00::1"}, {"containerPort": 2, "hostPort": 5, "hostIP": "fd00:0::1"}]}),
            "ports[1].hostPort: ",
        ),
        (
            json!({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}),
            "ports[1].name: another port",
        ),
        (
            json!({"ports": [{"containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5, "hostIP": "127.0.0.1"}]}),
            "ports[1].hostPort: spec.containers[0].ports[0] claims port 5 too",
        ),
        (
            json!({"ports": [{"containerPort": 1, "hostPort": 5, "hostIP": "127.0.0.1"}, {"containerPort": 2, "hostPort": 5, "hostIP": "0.0.0.0"}]}),
            "ports[1].hostPort: spec.containers[0].ports[0] claims port 5 too",
        ),
        (
            json!({"ports": [{"containerPort": 1, "hostPort": 5, "hostIP": "0:0::0"}, {"containerPort": 2, "hostPort": 5, "hostIP": "fd00::1"}]}),
            "ports[1].hostPort: spec.containers[0].ports[0] claims port 5 too",
        ),
        (
            json!({"ports": [{"containerPort": 1, "hostPort": 5, "hostIP": "::"}, {"containerPort": 2, "hostPort": 5}]}),
            "ports[1].hostPort: spec.containers[0].ports[0] claims port 5 too",
        ),
        (
            json!({"ports": [{"containerPort": 1, "hostIP": "::ffff:1.2.3.4"}]}),
            "ports[0].hostIP: must be an IPv4 or IPv6",
        ),
        (
            json!({"volumeMounts": [{"name": "x", "mountPath": "/a"}]}),
            "volumeMounts[0].name: spec.volumes has no volume",
        ),
        (json!({"volumeMounts": [{"name": "v"}]}), "volumeMounts[0].mountPath: required"),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "//"}]}),
            "volumeMounts[0].mountPath: must not be the container's root",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a/../b"}]}),
            "volumeMounts[0].mountPath: must not contain `..`",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a/"}]}),
            "volumeMounts[1].mountPath: \"/a/\" is the path of another",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a/b"}, {"name": "w", "mountPath": "a//./b"}]}),
            "volumeMounts[1].mountPath: \"a//./b\" is the path of another",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "/b"}]}),
            "volumeMounts[0].subPath: must be a path relative",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "b/../c"}]}),
            "volumeMounts[0].subPath: must not contain `..`",
        ),
        (json!({"resources": {"limits": {"cpu": "-1"}}}), "resources.limits[cpu]: must not be negative"),
        (
            json!({"resources": {"limits": {"nvidia.com/gpu": "1"}}}),
            "resources.limits[nvidia.com/gpu]: not supported yet",
        ),
        (
            json!({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1001m"}}}),
            "resources.requests[cpu]: 1001m is more than the limit, 1",
        ),
        (json!({"securityContext": {"runAsGroup": -1}}), "securityContext.runAsGroup: must be from 0"),
        (
            json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}}),
            "securityContext.allowPrivilegeEscalation: cannot be false where privileged",
        ),
        (
            json!({"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"add": ["CAP_SYS_ADMIN"]}}}),
            "securityContext.capabilities.add[0]: no capability is called \"CAP_SYS_ADMIN\"; did you mean SYS_ADMIN?",
        ),
        (
            json!({"securityContext": {"capabilities": {"add": ["NET_ADMN"]}}}),
            "securityContext.capabilities.add[0]: no capability is called \"NET_ADMN\"; did you mean NET_ADMIN?",
        ),
    ] {
        let found = container(fields.clone());
        let expected = format!("spec.containers[0].{expected}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{fields}: {found:?}, not {expected}");
    }
}

#[test]
fn metadata_is_held_to_its_rules() {
    for (metadata, expected) in [
        (json!({}), "metadata.name: required"),
        (json!({"name": "A"}), "metadata.name: must be a DNS name"),
        (json!({"generateName": "-"}), "metadata.generateName: must be the beginning of a DNS name"),
        (json!({"name": "a", "namespace": "a.b"}), "metadata.namespace: must be a DNS label"),
        (
            json!({"name": "a", "labels": {"a": "b c"}}),
            "metadata.labels[a]: must be empty or a label's value",
        ),
        (json!({"name": "a", "labels": {"a/b/c": ""}}), "metadata.labels[a/b/c]: must be a key"),
        (
            json!({"name": "a", "annotations": {"podrun.io/port-filter": "no"}}),
            "metadata.annotations[podrun.io/port-filter]: must be on or off",
        ),
        (json!({"name": "a", "annotations": {"-": ""}}), "metadata.annotations[-]: must be a key"),
        (
            json!({"name": "a", "annotations": {"x": "y".repeat(MAX_ANNOTATIONS)}}),
            "metadata.annotations: 262145 bytes",
        ),
    ] {
        let value = json!({"metadata": metadata, "spec": {"containers": [{"name": "a", "image": "b"}]}});
        let pod: Pod = serde_json::from_value(value).unwrap();
        let found: Vec<_> = validate(&pod).first.iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}, not {expected}");
    }
}

#[test]
fn likely_mistakes_are_named() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "a.b", "annotations": {"seccomp.security.alpha.kubernetes.io/pod": "docker/default", "x": "y"}},
        "spec": {
            "terminationGracePeriodSeconds": -1,
            "dnsConfig": {"nameservers": ["FD00::1", "10.0.0.1"]},
            "hostAliases": [{"ip": "fd00::1"}, {"ip": "10.0.0.1"}, {"ip": "fd00:0::1"}],
            "initContainers": [{"name": "i", "ports": [{"containerPort": 80}, {"containerPort": 80}]}],
            "containers": [
                {"name": "a", "stdinOnce": true,
                 "securityContext": {"capabilities": {"drop": ["NET_ADMN", "net_raw", "CAP_KILL", "ALL"]}},
                 "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 80, "hostPort": 1}, {"containerPort": 81, "hostIP": "10.0.0.1"}],
                 "env": [{"name": "X"}, {"name": "X"}, {"name": "X", "value": "$(X)y"}]},
                {"name": "b", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP", "name": "web"}],
                 "resources": {"limits": {"memory": "100m"}, "requests": {"memory": "50m"}}},
                {"name": "c", "ports": [{"containerPort": 9, "hostPort": 1}, {"containerPort": 9, "hostPort": 2}]},
            ],
        },
    }))
    .unwrap();
    let found = lint(&pod);
    for (warning, expected) in found.iter().zip([
        "metadata.name: the pod's hostname",
        "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: means nothing any more; set securityContext",
        "spec.terminationGracePeriodSeconds: negative",
        "spec.dnsConfig.nameservers[0]: FD00::1 is written fd00::1",
        "spec.hostAliases[2].ip: fd00:0::1 is written fd00::1",
        "spec.hostAliases[2].ip: fd00::1 has an entry",
        "spec.initContainers[0].ports[1].containerPort: 80 is declared by spec.initContainers[0].ports[0] already",
        "spec.containers[0].ports[1].containerPort: 80 is declared by spec.containers[0].ports[0] already",
        "spec.containers[0].ports[2].hostIP: means nothing without hostPort",
        "spec.containers[0].stdinOnce: means nothing",
        "spec.containers[0].securityContext.capabilities.drop[0]: no capability is called \"NET_ADMN\"; did you mean NET_ADMIN?",
        "spec.containers[0].env[1].name: X is set twice",
        "spec.containers[1].ports[0].containerPort: 80 is declared by container \"a\" too",
        "spec.containers[1].ports[1].name: spec.containers[0].ports[0] is called \"web\" too",
        "spec.containers[1].resources.limits[memory]: 100m is no whole number",
        "spec.containers[1].resources.requests[memory]: 50m is no whole number",
    ]) {
        assert!(warning.starts_with(expected), "{warning}, not {expected}");
    }
    assert_eq!(found.len(), 16, "{found:?}");
}
