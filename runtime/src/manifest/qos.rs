//! The quality of service a pod's resources amount to.
//!
//! Invariant: Kubernetes' own rule; init containers count.

use std::collections::BTreeMap;

use super::Quantity;
use super::types::{PodSpec, QosClass};

/// The resources that decide.
const DECISIVE: [&str; 2] = ["cpu", "memory"];

/// The class of a pod. A request that is absent is its limit.
pub fn qos_class(spec: &PodSpec) -> QosClass {
    let mut anything = false;
    let mut guaranteed = true;
    for resources in spec.all_containers().map(|container| &container.resources) {
        for name in DECISIVE {
            let limit = amount(&resources.limits, name);
            let request = amount(&resources.requests, name);
            anything |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (anything, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

/// The amount of `name` in the list; zero if absent.
fn amount(list: &BTreeMap<String, Quantity>, name: &str) -> Option<i128> {
    list.get(name).map(Quantity::nanos).filter(|nanos| *nanos > 0)
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
