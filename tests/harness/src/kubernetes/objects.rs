//! Objects as clusters print them, to be changed as a test needs it.

use serde_json::{Value, json};

/// A namespace.
pub fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

/// A node in a zone of a region.
pub fn node(name: &str, region: &str, zone: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "beta.kubernetes.io/arch": "amd64",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/region": region,
                "topology.kubernetes.io/zone": zone,
            },
            "annotations": {
                "node.alpha.kubernetes.io/ttl": "0",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "172.18.0.2"},
                {"type": "Hostname", "address": name},
            ],
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastHeartbeatTime": "2026-06-11T12:00:00Z",
                "lastTransitionTime": "2026-06-11T11:00:00Z",
            }],
            "nodeInfo": {"kubeletVersion": "v1.36.2", "operatingSystem": "linux"},
        },
    })
}

/// A service of the type ClusterIP. `ports` are `(name, port, target port)`; pods are selected by
/// the label `app` with the service's name.
pub fn service(namespace: &str, name: &str, cluster_ip: &str, ports: &[(&str, u16, u16)]) -> Value {
    let ports: Vec<_> = ports
        .iter()
        .map(|(name, port, target)| {
            json!({"name": name, "port": port, "protocol": "TCP", "targetPort": target})
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app": name},
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration":
                    format!("{{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{{\"name\":\"{name}\"}}}}\n"),
            },
            "managedFields": managed_fields("kubectl-client-side-apply", "v1"),
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": cluster_ip,
            "clusterIPs": [cluster_ip],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": ports,
            "selector": {"app": name},
            "sessionAffinity": "None",
        },
        "status": {"loadBalancer": {}},
    })
}

/// A service without an address of its own.
pub fn headless_service(namespace: &str, name: &str, ports: &[(&str, u16, u16)]) -> Value {
    service(namespace, name, "None", ports)
}

/// A service that is another name for a name outside.
pub fn external_name(namespace: &str, name: &str, outside: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "ExternalName", "externalName": outside, "sessionAffinity": "None"},
        "status": {"loadBalancer": {}},
    })
}

/// A slice of a service's endpoints, as the EndpointSlice controller makes them: one without
/// endpoints has `null` in the place of lists. `ports` are `(name, port)`; endpoints are made by
/// [`endpoint`].
pub fn endpoint_slice(
    namespace: &str,
    service: &str,
    suffix: &str,
    ports: &[(&str, u16)],
    endpoints: Vec<Value>,
) -> Value {
    let ports: Vec<_> = ports
        .iter()
        .map(|(name, port)| json!({"name": name, "port": port, "protocol": "TCP"}))
        .collect();
    let (endpoints, ports) = match endpoints.as_slice() {
        [] => (Value::Null, Value::Null),
        [..] => (Value::from(endpoints), Value::from(ports)),
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{suffix}"),
            "namespace": namespace,
            "generateName": format!("{service}-"),
            "labels": {
                "app": service,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": service,
            },
            "annotations": {
                "endpoints.kubernetes.io/last-change-trigger-time": "2026-06-11T12:00:00Z",
            },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": service,
                "uid": "0b6f3c9e-64a5-4a11-9a43-51b7c5b5d0aa",
                "blockOwnerDeletion": true, "controller": true,
            }],
            "managedFields": managed_fields("kube-controller-manager", "discovery.k8s.io/v1"),
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    })
}

/// A ready endpoint: a pod on a node in a zone.
pub fn endpoint(address: &str, pod: &str, node: &str, zone: &str) -> Value {
    json!({
        "addresses": [address],
        "conditions": {"ready": true, "serving": true, "terminating": false},
        "nodeName": node,
        "zone": zone,
        "targetRef": {
            "kind": "Pod", "name": pod,
            "uid": "3d3cdbf4-3a48-4b3a-8e1f-6f8a3f3d9a10",
        },
    })
}

/// A running pod whose label `app` is given.
pub fn pod(namespace: &str, name: &str, app: &str, address: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "generateName": format!("{app}-7d9c5b8f6d-"),
            "labels": {"app": app, "pod-template-hash": "7d9c5b8f6d"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-7d9c5b8f6d"),
                "uid": "e5a2f3f0-9d6d-4d2e-8a59-0f0a7d3f1c11",
                "blockOwnerDeletion": true, "controller": true,
            }],
            "managedFields": managed_fields("kubelet", "v1"),
        },
        "spec": {
            "containers": [{
                "name": app,
                "image": format!("registry.example/{app}:1.4.2"),
                "imagePullPolicy": "IfNotPresent",
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "volumeMounts": [{
                    "name": "kube-api-access-x2x7b", "readOnly": true,
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                }],
            }],
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": true,
            "nodeName": node,
            "preemptionPolicy": "PreemptLowerPriority",
            "priority": 0,
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "serviceAccount": app,
            "serviceAccountName": app,
            "terminationGracePeriodSeconds": 30,
            "volumes": [{
                "name": "kube-api-access-x2x7b",
                "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt",
                                   "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                ]},
            }],
            "tolerations": [{
                "key": "node.kubernetes.io/not-ready", "operator": "Exists",
                "effect": "NoExecute", "tolerationSeconds": 300,
            }],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "Initialized", "status": "True", "lastProbeTime": null,
                 "lastTransitionTime": "2026-06-11T12:00:00Z"},
                {"type": "Ready", "status": "True", "lastProbeTime": null,
                 "lastTransitionTime": "2026-06-11T12:00:02Z"},
                {"type": "ContainersReady", "status": "True", "lastProbeTime": null,
                 "lastTransitionTime": "2026-06-11T12:00:02Z"},
                {"type": "PodScheduled", "status": "True", "lastProbeTime": null,
                 "lastTransitionTime": "2026-06-11T12:00:00Z"},
            ],
            "containerStatuses": [{
                "name": app, "ready": true, "started": true, "restartCount": 0,
                "image": format!("registry.example/{app}:1.4.2"),
                "imageID": format!("registry.example/{app}@sha256:9d2e5f7d1c7ad5f3f5b6a36b2d0b5c2d6f6f6f4f8c4a3b2e1d0c9b8a79685746"),
                "containerID": "containerd://4f5e6d7c8b9a0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796",
                "state": {"running": {"startedAt": "2026-06-11T12:00:01Z"}},
                "lastState": {},
            }],
            "hostIP": "172.18.0.2",
            "hostIPs": [{"ip": "172.18.0.2"}],
            "podIP": address,
            "podIPs": [{"ip": address}],
            "qosClass": "BestEffort",
            "startTime": "2026-06-11T12:00:00Z",
        },
    })
}

/// A secret; `data` is base64 by key.
pub fn secret(namespace: &str, name: &str, kind: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": kind,
        "data": data,
    })
}

/// A secret as `istioctl create-remote-secret` makes it: another cluster's kubeconfig by its name.
pub fn remote_secret(namespace: &str, cluster: &str, kubeconfig: &str) -> Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("istio-remote-secret-{cluster}"),
            "namespace": namespace,
            "labels": {"istio/multiCluster": "true"},
            "annotations": {"networking.istio.io/cluster": cluster},
        },
        "type": "Opaque",
        "data": {cluster: STANDARD.encode(kubeconfig)},
    })
}

/// The definition of a kind, with a status that is written apart.
pub fn definition(group: &str, kind: &str, plural: &str, versions: &[&str], scope: &str) -> Value {
    let versions: Vec<_> = versions
        .iter()
        .enumerate()
        .map(|(place, version)| {
            json!({
                "name": version,
                "served": true,
                "storage": place == 0,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
                "subresources": {"status": {}},
            })
        })
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural,
                "singular": kind.to_lowercase(),
            },
            "scope": scope,
            "versions": versions,
            "conversion": {"strategy": "None"},
        },
    })
}

/// The definitions of the Gateway API, as its experimental channel installs them.
pub fn gateway_api() -> Vec<Value> {
    const GROUP: &str = "gateway.networking.k8s.io";
    [
        (
            "GatewayClass",
            "gatewayclasses",
            &["v1", "v1beta1"][..],
            "Cluster",
        ),
        ("Gateway", "gateways", &["v1", "v1beta1"], "Namespaced"),
        ("HTTPRoute", "httproutes", &["v1", "v1beta1"], "Namespaced"),
        ("GRPCRoute", "grpcroutes", &["v1"], "Namespaced"),
        (
            "TLSRoute",
            "tlsroutes",
            &["v1", "v1alpha3", "v1alpha2"],
            "Namespaced",
        ),
        ("TCPRoute", "tcproutes", &["v1", "v1alpha2"], "Namespaced"),
        ("UDPRoute", "udproutes", &["v1", "v1alpha2"], "Namespaced"),
        ("ListenerSet", "listenersets", &["v1"], "Namespaced"),
        (
            "BackendTLSPolicy",
            "backendtlspolicies",
            &["v1", "v1alpha3"],
            "Namespaced",
        ),
        (
            "ReferenceGrant",
            "referencegrants",
            &["v1", "v1beta1"],
            "Namespaced",
        ),
    ]
    .into_iter()
    .map(|(kind, plural, versions, scope)| definition(GROUP, kind, plural, versions, scope))
    .collect()
}

/// A class of gateways.
pub fn gateway_class(name: &str, controller: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": name},
        "spec": {"controllerName": controller},
        "status": {"conditions": [{
            "type": "Accepted", "status": "Unknown", "reason": "Pending",
            "message": "Waiting for controller", "lastTransitionTime": "1970-01-01T00:00:00Z",
        }]},
    })
}

/// A gateway with one HTTP listener for routes of its own namespace.
pub fn gateway(namespace: &str, name: &str, class: &str, port: u16) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "gatewayClassName": class,
            "listeners": [{
                "name": "http", "port": port, "protocol": "HTTP",
                "allowedRoutes": {"namespaces": {"from": "Same"}},
            }],
        },
        "status": {"conditions": [
            {"type": "Accepted", "status": "Unknown", "reason": "Pending",
             "message": "Waiting for controller", "lastTransitionTime": "1970-01-01T00:00:00Z"},
            {"type": "Programmed", "status": "Unknown", "reason": "Pending",
             "message": "Waiting for controller", "lastTransitionTime": "1970-01-01T00:00:00Z"},
        ]},
    })
}

/// A route of all requests for a hostname at a gateway to a service.
pub fn http_route(
    namespace: &str,
    name: &str,
    gateway: &str,
    hostname: &str,
    backend: (&str, u16),
) -> Value {
    let (service, port) = backend;
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "parentRefs": [
                {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway},
            ],
            "hostnames": [hostname],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [
                    {"group": "", "kind": "Service", "name": service, "port": port, "weight": 1},
                ],
            }],
        },
    })
}

/// Who has written which fields, as every object in a cluster says it.
fn managed_fields(manager: &str, api_version: &str) -> Value {
    json!([{
        "manager": manager,
        "operation": "Update",
        "apiVersion": api_version,
        "time": "2026-06-11T12:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {}},
    }])
}
