//! The types of the v1 Pod that have fields podrun honours, and the state of each field.
//!
//! Invariant: one line is one field of Kubernetes 1.36's API, in its order; a field without a mark
//! shares the state of the field that holds it, and the pod itself is done.

use super::rest::*;
use super::{NOT_OURS, Object, not_yet, not_yet_unless, objects};

objects! {
    Pod {
        apiVersion: ("v1"),
        kind: ("Pod"),
        metadata: ObjectMeta,
        spec: PodSpec,
        status: PodStatus = NOT_OURS,
    }
    List {
        apiVersion: ("v1"),
        items: [FieldsV1],
        kind: ("List" | "PodList"),
        metadata: ListMeta = NOT_OURS,
    }
    ListMeta {
        continue: string,
        remainingItemCount: i64,
        resourceVersion: string,
        selfLink: string,
        shardInfo: FieldsV1,
    }
    ObjectMeta {
        annotations: {string},
        creationTimestamp: Time = NOT_OURS,
        deletionGracePeriodSeconds: i64 = NOT_OURS,
        deletionTimestamp: Time = NOT_OURS,
        finalizers: [string] = NOT_OURS,
        generateName: string,
        generation: i64 = NOT_OURS,
        labels: {string},
        managedFields: [ManagedFieldsEntry] = NOT_OURS,
        name: string,
        namespace: string,
        ownerReferences: [OwnerReference] = NOT_OURS,
        resourceVersion: string = NOT_OURS,
        selfLink: string = NOT_OURS,
        uid: string = NOT_OURS,
    }
    PodSpec {
        activeDeadlineSeconds: i64,
        affinity: Affinity = NOT_OURS,
        automountServiceAccountToken: bool = NOT_OURS,
        containers: [Container],
        dnsConfig: PodDNSConfig,
        dnsPolicy: ("ClusterFirst" | "ClusterFirstWithHostNet" | "Default" | "None" | ""),
        enableServiceLinks: bool = NOT_OURS,
        ephemeralContainers: [EphemeralContainer] = not_yet("a pod's containers are fixed when it is made"),
        hostAliases: [HostAlias],
        hostIPC: bool,
        hostNetwork: bool,
        hostPID: bool,
        hostUsers: bool = not_yet_unless("true", "pods have the host's user namespace"),
        hostname: string,
        hostnameOverride: string = not_yet("set hostname, which may be 63 characters long"),
        imagePullSecrets: [LocalObjectReference] = NOT_OURS,
        initContainers: [Container],
        nodeName: string = NOT_OURS,
        nodeSelector: {string} = NOT_OURS,
        os: PodOS,
        overhead: {Quantity} = NOT_OURS,
        preemptionPolicy: string = NOT_OURS,
        priority: i32 = NOT_OURS,
        priorityClassName: string = NOT_OURS,
        readinessGates: [PodReadinessGate] = not_yet("nothing here would ever set their conditions"),
        resourceClaims: [PodResourceClaim] = not_yet("devices are not allocated"),
        resources: ResourceRequirements = not_yet_unless("{}", "set limits and requests on the containers"),
        restartPolicy: ("Always" | "OnFailure" | "Never" | ""),
        runtimeClassName: string = not_yet("there is one runtime, podrun itself"),
        schedulerName: string = NOT_OURS,
        schedulingGates: [PodSchedulingGate] = NOT_OURS,
        schedulingGroup: PodSchedulingGroup = not_yet("pods are not scheduled in groups"),
        securityContext: PodSecurityContext,
        serviceAccount: string = NOT_OURS,
        serviceAccountName: string = NOT_OURS,
        setHostnameAsFQDN: bool = not_yet_unless("false", "the hostname inside is the short one"),
        shareProcessNamespace: bool,
        subdomain: string,
        terminationGracePeriodSeconds: i64,
        tolerations: [Toleration] = NOT_OURS,
        topologySpreadConstraints: [TopologySpreadConstraint] = NOT_OURS,
        volumes: [Volume],
    }
    Container {
        args: [string],
        command: [string],
        env: [EnvVar],
        envFrom: [EnvFromSource] = not_yet("write the variables out under env"),
        image: string,
        imagePullPolicy: ("Always" | "IfNotPresent" | "Never" | ""),
        lifecycle: Lifecycle = not_yet_unless("{}", "hooks are not run"),
        livenessProbe: Probe = not_yet("probes are not run; restartPolicy restarts a container that ends"),
        name: string,
        ports: [ContainerPort],
        readinessProbe: Probe = not_yet("probes are not run; a container is ready when it runs"),
        resizePolicy: [ContainerResizePolicy] = NOT_OURS,
        resources: ResourceRequirements,
        restartPolicy: ("Always" | "OnFailure" | "Never"),
        restartPolicyRules: [ContainerRestartRule] = not_yet("the pod's restartPolicy decides"),
        securityContext: SecurityContext,
        startupProbe: Probe = not_yet("probes are not run; a container is started when it runs"),
        stdin: bool,
        stdinOnce: bool,
        terminationMessagePath: string,
        terminationMessagePolicy: ("File" | "FallbackToLogsOnError" | ""),
        tty: bool,
        volumeDevices: [VolumeDevice] = not_yet("mount a hostPath volume of type BlockDevice"),
        volumeMounts: [VolumeMount],
        workingDir: string,
    }
    EnvVar {
        name: string,
        value: string,
        valueFrom: EnvVarSource = not_yet("write the value out"),
    }
    ContainerPort {
        containerPort: port,
        hostIP: string,
        hostPort: port,
        name: string,
        protocol: ("TCP" | "UDP" | "SCTP" | ""),
    }
    ResourceRequirements {
        claims: [ResourceClaim] = not_yet("devices are not allocated"),
        limits: {Quantity},
        requests: {Quantity},
    }
    SecurityContext {
        allowPrivilegeEscalation: bool,
        appArmorProfile: AppArmorProfile = not_yet("AppArmor profiles are not applied"),
        capabilities: Capabilities,
        privileged: bool,
        procMount: string = not_yet_unless("Default", "/proc is always masked, unless privileged"),
        readOnlyRootFilesystem: bool,
        runAsGroup: i64,
        runAsNonRoot: bool,
        runAsUser: i64,
        seLinuxOptions: SELinuxOptions = not_yet_unless("{}", "SELinux labels are not set"),
        seccompProfile: SeccompProfile,
        windowsOptions: WindowsSecurityContextOptions = not_yet_unless("{}", "podrun runs on Linux"),
    }
    Capabilities {
        add: [string],
        drop: [string],
    }
    VolumeMount {
        mountPath: string,
        mountPropagation: string = not_yet_unless("None", "mounts do not propagate"),
        name: string,
        readOnly: bool,
        recursiveReadOnly: string = not_yet_unless("Disabled", "readOnly covers the volume itself"),
        subPath: string,
        subPathExpr: string = not_yet_unless("", "write the path out as subPath"),
    }
    Volume {
        awsElasticBlockStore: AWSElasticBlockStoreVolumeSource = not_yet("mount it on the host and use hostPath"),
        azureDisk: AzureDiskVolumeSource = not_yet("mount it on the host and use hostPath"),
        azureFile: AzureFileVolumeSource = not_yet("mount it on the host and use hostPath"),
        cephfs: CephFSVolumeSource = not_yet("mount it on the host and use hostPath"),
        cinder: CinderVolumeSource = not_yet("mount it on the host and use hostPath"),
        configMap: ConfigMapVolumeSource = not_yet("there are no ConfigMaps; put the files in a hostPath volume"),
        csi: CSIVolumeSource = not_yet("mount it on the host and use hostPath"),
        downwardAPI: DownwardAPIVolumeSource = not_yet("put the files in a hostPath volume"),
        emptyDir: EmptyDirVolumeSource,
        ephemeral: EphemeralVolumeSource = not_yet("use emptyDir"),
        fc: FCVolumeSource = not_yet("mount it on the host and use hostPath"),
        flexVolume: FlexVolumeSource = not_yet("mount it on the host and use hostPath"),
        flocker: FlockerVolumeSource = not_yet("mount it on the host and use hostPath"),
        gcePersistentDisk: GCEPersistentDiskVolumeSource = not_yet("mount it on the host and use hostPath"),
        gitRepo: GitRepoVolumeSource = not_yet("clone it into an emptyDir by an init container"),
        glusterfs: GlusterfsVolumeSource = not_yet("mount it on the host and use hostPath"),
        hostPath: HostPathVolumeSource,
        image: ImageVolumeSource = not_yet("copy the files into an emptyDir by an init container"),
        iscsi: ISCSIVolumeSource = not_yet("mount it on the host and use hostPath"),
        name: string,
        nfs: NFSVolumeSource = not_yet("mount it on the host and use hostPath"),
        persistentVolumeClaim: PersistentVolumeClaimVolumeSource = not_yet("use hostPath"),
        photonPersistentDisk: PhotonPersistentDiskVolumeSource = not_yet("mount it on the host and use hostPath"),
        portworxVolume: PortworxVolumeSource = not_yet("mount it on the host and use hostPath"),
        projected: ProjectedVolumeSource = not_yet("put the files in a hostPath volume"),
        quobyte: QuobyteVolumeSource = not_yet("mount it on the host and use hostPath"),
        rbd: RBDVolumeSource = not_yet("mount it on the host and use hostPath"),
        scaleIO: ScaleIOVolumeSource = not_yet("mount it on the host and use hostPath"),
        secret: SecretVolumeSource = not_yet("there are no Secrets; put the files in a hostPath volume"),
        storageos: StorageOSVolumeSource = not_yet("mount it on the host and use hostPath"),
        vsphereVolume: VsphereVirtualDiskVolumeSource = not_yet("mount it on the host and use hostPath"),
    }
    EmptyDirVolumeSource {
        medium: ("Memory" | ""),
        sizeLimit: Quantity,
    }
    HostPathVolumeSource {
        path: string,
        type: ("DirectoryOrCreate" | "Directory" | "FileOrCreate" | "File" | "Socket" | "CharDevice" | "BlockDevice" | ""),
    }
    PodSecurityContext {
        appArmorProfile: AppArmorProfile = not_yet("AppArmor profiles are not applied"),
        fsGroup: i64 = not_yet("set the owner of hostPath volumes on the host; an emptyDir is open to all"),
        fsGroupChangePolicy: string = not_yet("there is no fsGroup"),
        runAsGroup: i64,
        runAsNonRoot: bool,
        runAsUser: i64,
        seLinuxChangePolicy: string = not_yet("SELinux labels are not set"),
        seLinuxOptions: SELinuxOptions = not_yet_unless("{}", "SELinux labels are not set"),
        seccompProfile: SeccompProfile,
        supplementalGroups: [i64],
        supplementalGroupsPolicy: string = not_yet_unless("Merge", "the image's groups are always merged"),
        sysctls: [Sysctl],
        windowsOptions: WindowsSecurityContextOptions = not_yet_unless("{}", "podrun runs on Linux"),
    }
    SeccompProfile {
        localhostProfile: string,
        type: ("RuntimeDefault" | "Localhost" | "Unconfined"),
    }
    Sysctl {
        name: string,
        value: string,
    }
    HostAlias {
        hostnames: [string],
        ip: string,
    }
    PodDNSConfig {
        nameservers: [string],
        options: [PodDNSConfigOption],
        searches: [string],
    }
    PodDNSConfigOption {
        name: string,
        value: string,
    }
    PodOS {
        name: ("linux"),
    }
}
