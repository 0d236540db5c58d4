//! The types of the v1 Pod below fields that podrun does not honour: only their names and shapes
//! matter, so that a typo in them is found too.
//!
//! Invariant: as in [`super::spec`].

use super::spec::{ContainerPort, EnvVar, ObjectMeta, ResourceRequirements, SecurityContext, VolumeMount};
use super::{Object, objects};

objects! {
    AWSElasticBlockStoreVolumeSource { fsType: string, partition: i32, readOnly: bool, volumeID: string }
    Affinity { nodeAffinity: NodeAffinity, podAffinity: PodAffinity, podAntiAffinity: PodAntiAffinity }
    AppArmorProfile { localhostProfile: string, type: string }
    AzureDiskVolumeSource {
        cachingMode: string, diskName: string, diskURI: string, fsType: string, kind: string, readOnly: bool,
    }
    AzureFileVolumeSource { readOnly: bool, secretName: string, shareName: string }
    CSIVolumeSource {
        driver: string, fsType: string, nodePublishSecretRef: LocalObjectReference, readOnly: bool,
        volumeAttributes: {string},
    }
    CephFSVolumeSource {
        monitors: [string], path: string, readOnly: bool, secretFile: string, secretRef: LocalObjectReference,
        user: string,
    }
    CinderVolumeSource { fsType: string, readOnly: bool, secretRef: LocalObjectReference, volumeID: string }
    ClusterTrustBundleProjection {
        labelSelector: LabelSelector, name: string, optional: bool, path: string, signerName: string,
    }
    ConfigMapEnvSource { name: string, optional: bool }
    ConfigMapKeySelector { key: string, name: string, optional: bool }
    ConfigMapProjection { items: [KeyToPath], name: string, optional: bool }
    ConfigMapVolumeSource { defaultMode: i32, items: [KeyToPath], name: string, optional: bool }
    ContainerExtendedResourceRequest { containerName: string, requestName: string, resourceName: string }
    ContainerResizePolicy { resourceName: string, restartPolicy: string }
    ContainerRestartRule { action: string, exitCodes: ContainerRestartRuleOnExitCodes }
    ContainerRestartRuleOnExitCodes { operator: string, values: [i32] }
    ContainerState {
        running: ContainerStateRunning, terminated: ContainerStateTerminated, waiting: ContainerStateWaiting,
    }
    ContainerStateRunning { startedAt: Time }
    ContainerStateTerminated {
        containerID: string, exitCode: i32, finishedAt: Time, message: string, reason: string, signal: i32,
        startedAt: Time,
    }
    ContainerStateWaiting { message: string, reason: string }
    ContainerStatus {
        allocatedResources: {Quantity}, allocatedResourcesStatus: [ResourceStatus], containerID: string,
        image: string, imageID: string, lastState: ContainerState, name: string, ready: bool,
        resources: ResourceRequirements, restartCount: i32, started: bool, state: ContainerState,
        stopSignal: string, user: ContainerUser, volumeMounts: [VolumeMountStatus],
    }
    ContainerUser { linux: LinuxContainerUser }
    DownwardAPIProjection { items: [DownwardAPIVolumeFile] }
    DownwardAPIVolumeFile {
        fieldRef: ObjectFieldSelector, mode: i32, path: string, resourceFieldRef: ResourceFieldSelector,
    }
    DownwardAPIVolumeSource { defaultMode: i32, items: [DownwardAPIVolumeFile] }
    EnvFromSource { configMapRef: ConfigMapEnvSource, prefix: string, secretRef: SecretEnvSource }
    EnvVarSource {
        configMapKeyRef: ConfigMapKeySelector, fieldRef: ObjectFieldSelector, fileKeyRef: FileKeySelector,
        resourceFieldRef: ResourceFieldSelector, secretKeyRef: SecretKeySelector,
    }
    EphemeralContainer {
        args: [string], command: [string], env: [EnvVar], envFrom: [EnvFromSource], image: string,
        imagePullPolicy: string, lifecycle: Lifecycle, livenessProbe: Probe, name: string,
        ports: [ContainerPort], readinessProbe: Probe, resizePolicy: [ContainerResizePolicy],
        resources: ResourceRequirements, restartPolicy: string, restartPolicyRules: [ContainerRestartRule],
        securityContext: SecurityContext, startupProbe: Probe, stdin: bool, stdinOnce: bool,
        targetContainerName: string, terminationMessagePath: string, terminationMessagePolicy: string,
        tty: bool, volumeDevices: [VolumeDevice], volumeMounts: [VolumeMount], workingDir: string,
    }
    EphemeralVolumeSource { volumeClaimTemplate: PersistentVolumeClaimTemplate }
    ExecAction { command: [string] }
    FCVolumeSource { fsType: string, lun: i32, readOnly: bool, targetWWNs: [string], wwids: [string] }
    FileKeySelector { key: string, optional: bool, path: string, volumeName: string }
    FlexVolumeSource {
        driver: string, fsType: string, options: {string}, readOnly: bool, secretRef: LocalObjectReference,
    }
    FlockerVolumeSource { datasetName: string, datasetUUID: string }
    GCEPersistentDiskVolumeSource { fsType: string, partition: i32, pdName: string, readOnly: bool }
    GRPCAction { port: i32, service: string }
    GitRepoVolumeSource { directory: string, repository: string, revision: string }
    GlusterfsVolumeSource { endpoints: string, path: string, readOnly: bool }
    HTTPGetAction { host: string, httpHeaders: [HTTPHeader], path: string, port: IntOrString, scheme: string }
    HTTPHeader { name: string, value: string }
    HostIP { ip: string }
    ISCSIVolumeSource {
        chapAuthDiscovery: bool, chapAuthSession: bool, fsType: string, initiatorName: string, iqn: string,
        iscsiInterface: string, lun: i32, portals: [string], readOnly: bool, secretRef: LocalObjectReference,
        targetPortal: string,
    }
    ImageVolumeSource { pullPolicy: string, reference: string }
    ImageVolumeStatus { imageRef: string }
    KeyToPath { key: string, mode: i32, path: string }
    LabelSelector { matchExpressions: [LabelSelectorRequirement], matchLabels: {string} }
    LabelSelectorRequirement { key: string, operator: string, values: [string] }
    Lifecycle { postStart: LifecycleHandler, preStop: LifecycleHandler, stopSignal: string }
    LifecycleHandler {
        exec: ExecAction, httpGet: HTTPGetAction, sleep: SleepAction, tcpSocket: TCPSocketAction,
    }
    LinuxContainerUser { gid: i64, supplementalGroups: [i64], uid: i64 }
    LocalObjectReference { name: string }
    ManagedFieldsEntry {
        apiVersion: string, fieldsType: string, fieldsV1: FieldsV1, manager: string, operation: string,
        subresource: string, time: Time,
    }
    NFSVolumeSource { path: string, readOnly: bool, server: string }
    NodeAffinity {
        preferredDuringSchedulingIgnoredDuringExecution: [PreferredSchedulingTerm],
        requiredDuringSchedulingIgnoredDuringExecution: NodeSelector,
    }
    NodeAllocatableResourceClaimStatus {
        containers: [string], resourceClaimName: string, resources: {Quantity},
    }
    NodeSelector { nodeSelectorTerms: [NodeSelectorTerm] }
    NodeSelectorRequirement { key: string, operator: string, values: [string] }
    NodeSelectorTerm { matchExpressions: [NodeSelectorRequirement], matchFields: [NodeSelectorRequirement] }
    ObjectFieldSelector { apiVersion: string, fieldPath: string }
    OwnerReference {
        apiVersion: string, blockOwnerDeletion: bool, controller: bool, kind: string, name: string,
        uid: string,
    }
    PersistentVolumeClaimSpec {
        accessModes: [string], dataSource: TypedLocalObjectReference, dataSourceRef: TypedObjectReference,
        resources: VolumeResourceRequirements, selector: LabelSelector, storageClassName: string,
        volumeAttributesClassName: string, volumeMode: string, volumeName: string,
    }
    PersistentVolumeClaimTemplate { metadata: ObjectMeta, spec: PersistentVolumeClaimSpec }
    PersistentVolumeClaimVolumeSource { claimName: string, readOnly: bool }
    PhotonPersistentDiskVolumeSource { fsType: string, pdID: string }
    PodAffinity {
        preferredDuringSchedulingIgnoredDuringExecution: [WeightedPodAffinityTerm],
        requiredDuringSchedulingIgnoredDuringExecution: [PodAffinityTerm],
    }
    PodAffinityTerm {
        labelSelector: LabelSelector, matchLabelKeys: [string], mismatchLabelKeys: [string],
        namespaceSelector: LabelSelector, namespaces: [string], topologyKey: string,
    }
    PodAntiAffinity {
        preferredDuringSchedulingIgnoredDuringExecution: [WeightedPodAffinityTerm],
        requiredDuringSchedulingIgnoredDuringExecution: [PodAffinityTerm],
    }
    PodCertificateProjection {
        certificateChainPath: string, credentialBundlePath: string, keyPath: string, keyType: string,
        maxExpirationSeconds: i32, signerName: string, userAnnotations: {string},
    }
    PodCondition {
        lastProbeTime: Time, lastTransitionTime: Time, message: string, observedGeneration: i64,
        reason: string, status: string, type: string,
    }
    PodExtendedResourceClaimStatus {
        requestMappings: [ContainerExtendedResourceRequest], resourceClaimName: string,
    }
    PodIP { ip: string }
    PodReadinessGate { conditionType: string }
    PodResourceClaim { name: string, resourceClaimName: string, resourceClaimTemplateName: string }
    PodResourceClaimStatus { name: string, resourceClaimName: string }
    PodSchedulingGate { name: string }
    PodSchedulingGroup { podGroupName: string }
    PodStatus {
        allocatedResources: {Quantity}, conditions: [PodCondition], containerStatuses: [ContainerStatus],
        ephemeralContainerStatuses: [ContainerStatus],
        extendedResourceClaimStatus: PodExtendedResourceClaimStatus, hostIP: string, hostIPs: [HostIP],
        initContainerStatuses: [ContainerStatus], message: string,
        nodeAllocatableResourceClaimStatuses: [NodeAllocatableResourceClaimStatus], nominatedNodeName: string,
        observedGeneration: i64, phase: string, podIP: string, podIPs: [PodIP], qosClass: string,
        reason: string, resize: string, resourceClaimStatuses: [PodResourceClaimStatus],
        resources: ResourceRequirements, startTime: Time,
    }
    PortworxVolumeSource { fsType: string, readOnly: bool, volumeID: string }
    PreferredSchedulingTerm { preference: NodeSelectorTerm, weight: i32 }
    Probe {
        exec: ExecAction, failureThreshold: i32, grpc: GRPCAction, httpGet: HTTPGetAction,
        initialDelaySeconds: i32, periodSeconds: i32, successThreshold: i32, tcpSocket: TCPSocketAction,
        terminationGracePeriodSeconds: i64, timeoutSeconds: i32,
    }
    ProjectedVolumeSource { defaultMode: i32, sources: [VolumeProjection] }
    QuobyteVolumeSource {
        group: string, readOnly: bool, registry: string, tenant: string, user: string, volume: string,
    }
    RBDVolumeSource {
        fsType: string, image: string, keyring: string, monitors: [string], pool: string, readOnly: bool,
        secretRef: LocalObjectReference, user: string,
    }
    ResourceClaim { name: string, request: string }
    ResourceFieldSelector { containerName: string, divisor: Quantity, resource: string }
    ResourceHealth { health: string, message: string, resourceID: string }
    ResourceStatus { name: string, resources: [ResourceHealth] }
    SELinuxOptions { level: string, role: string, type: string, user: string }
    ScaleIOVolumeSource {
        fsType: string, gateway: string, protectionDomain: string, readOnly: bool,
        secretRef: LocalObjectReference, sslEnabled: bool, storageMode: string, storagePool: string,
        system: string, volumeName: string,
    }
    SecretEnvSource { name: string, optional: bool }
    SecretKeySelector { key: string, name: string, optional: bool }
    SecretProjection { items: [KeyToPath], name: string, optional: bool }
    SecretVolumeSource { defaultMode: i32, items: [KeyToPath], optional: bool, secretName: string }
    ServiceAccountTokenProjection { audience: string, expirationSeconds: i64, path: string }
    SleepAction { seconds: i64 }
    StorageOSVolumeSource {
        fsType: string, readOnly: bool, secretRef: LocalObjectReference, volumeName: string,
        volumeNamespace: string,
    }
    TCPSocketAction { host: string, port: IntOrString }
    Toleration { effect: string, key: string, operator: string, tolerationSeconds: i64, value: string }
    TopologySpreadConstraint {
        labelSelector: LabelSelector, matchLabelKeys: [string], maxSkew: i32, minDomains: i32,
        nodeAffinityPolicy: string, nodeTaintsPolicy: string, topologyKey: string, whenUnsatisfiable: string,
    }
    TypedLocalObjectReference { apiGroup: string, kind: string, name: string }
    TypedObjectReference { apiGroup: string, kind: string, name: string, namespace: string }
    VolumeDevice { devicePath: string, name: string }
    VolumeMountStatus {
        mountPath: string, name: string, readOnly: bool, recursiveReadOnly: string, volumeStatus: VolumeStatus,
    }
    VolumeProjection {
        clusterTrustBundle: ClusterTrustBundleProjection, configMap: ConfigMapProjection,
        downwardAPI: DownwardAPIProjection, podCertificate: PodCertificateProjection,
        secret: SecretProjection, serviceAccountToken: ServiceAccountTokenProjection,
    }
    VolumeResourceRequirements { limits: {Quantity}, requests: {Quantity} }
    VolumeStatus { image: ImageVolumeStatus }
    VsphereVirtualDiskVolumeSource {
        fsType: string, storagePolicyID: string, storagePolicyName: string, volumePath: string,
    }
    WeightedPodAffinityTerm { podAffinityTerm: PodAffinityTerm, weight: i32 }
    WindowsSecurityContextOptions {
        gmsaCredentialSpec: string, gmsaCredentialSpecName: string, hostProcess: bool, runAsUserName: string,
    }
}
