//! The quality of service a pod's resources amount to.
//!
//! Invariant: Kubernetes' own rule, on a pod whose defaults are filled in; init containers count.

use std::collections::BTreeMap;

use super::Quantity;
use super::types::{PodSpec, QosClass};

/// The resources that decide.
const DECISIVE: [&str; 2] = ["cpu", "memory"];

/// The class of a pod whose defaults are filled in.
pub fn qos_class(spec: &PodSpec) -> QosClass {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut all_limited = true;
    for container in spec.all_containers() {
        add(&mut requests, &container.resources.requests);
        all_limited &= add(&mut limits, &container.resources.limits) == DECISIVE.len();
    }
    if requests.is_empty() && limits.is_empty() {
        QosClass::BestEffort
    } else if all_limited && requests == limits {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

/// Adds what `list` says of the resources that decide to `sums`; how many it speaks of.
fn add(sums: &mut BTreeMap<&'static str, i128>, list: &BTreeMap<String, Quantity>) -> usize {
    let mut found = 0;
    for name in DECISIVE {
        if let Some(quantity) = list.get(name).filter(|quantity| quantity.nanos() > 0) {
            *sums.entry(name).or_default() += quantity.nanos();
            found += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Pod, default};
    use super::*;

    fn class(init: serde_json::Value, app: serde_json::Value) -> QosClass {
        let mut pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [{"resources": init}], "containers": [{"resources": app}],
        }}))
        .unwrap();
        if pod.spec.init_containers[0].resources == Default::default() {
            pod.spec.init_containers.clear();
        }
        default(&mut pod);
        qos_class(&pod.spec)
    }

    #[test]
    fn is_kubernetes_own() {
        let both = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let less = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
        let same = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        assert_eq!(class(json!({}), json!({})), QosClass::BestEffort);
        assert_eq!(class(json!({}), json!({"limits": {"cpu": "0"}})), QosClass::BestEffort);
        assert_eq!(class(json!({}), both.clone()), QosClass::Guaranteed);
        assert_eq!(class(json!({}), same.clone()), QosClass::Guaranteed);
        assert_eq!(class(json!({}), less.clone()), QosClass::Burstable);
        assert_eq!(class(json!({}), json!({"limits": {"memory": "1Gi"}})), QosClass::Burstable);
        assert_eq!(class(json!({}), json!({"requests": {"cpu": "1m"}})), QosClass::Burstable);
        assert_eq!(class(both.clone(), same), QosClass::Guaranteed);
        assert_eq!(class(less, both), QosClass::Burstable);
    }
}
