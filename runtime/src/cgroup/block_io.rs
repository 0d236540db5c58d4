//! `blockIO` (config-linux.md, "Block IO") as the files of v1 and v2.
//!
//! Invariant: pure; a weight that v2 has no file for is refused.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::layout::Controller;
use super::resources::{Write, write};
use crate::error::{Error, ErrorKind, Result};

/// A kind of throttling: what the config has, v1's file, and the key in v2's `io.max`.
type Throttle = (fn(&LinuxBlockIo) -> &Option<Vec<LinuxThrottleDevice>>, &'static str, &'static str);

const THROTTLES: [Throttle; 4] = [
    (LinuxBlockIo::throttle_read_bps_device, "blkio.throttle.read_bps_device", "rbps"),
    (LinuxBlockIo::throttle_write_bps_device, "blkio.throttle.write_bps_device", "wbps"),
    (LinuxBlockIo::throttle_read_iops_device, "blkio.throttle.read_iops_device", "riops"),
    (LinuxBlockIo::throttle_write_iops_device, "blkio.throttle.write_iops_device", "wiops"),
];

/// The writes for v1.
pub(super) fn v1(block_io: &LinuxBlockIo) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut add = |file: &str, value: String| writes.push(write(Controller::Io, file, value));
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        add("blkio.weight", weight.to_string());
    }
    if let Some(weight) = block_io.leaf_weight().filter(|weight| *weight != 0) {
        add("blkio.leaf_weight", weight.to_string());
    }
    for device in block_io.weight_device().iter().flatten() {
        let line = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        if let Some(weight) = device.weight() {
            add("blkio.weight_device", line(weight));
        }
        if let Some(weight) = device.leaf_weight() {
            add("blkio.leaf_weight_device", line(weight));
        }
    }
    for (list, file, _) in THROTTLES {
        for device in list(block_io).iter().flatten() {
            add(file, format!("{}:{} {}", device.major(), device.minor(), device.rate()));
        }
    }
    writes
}

/// The writes for v2.
pub(super) fn v2(block_io: &LinuxBlockIo) -> Result<Vec<Write>> {
    let leaf = block_io.leaf_weight().is_some()
        || block_io.weight_device().iter().flatten().any(|device| device.leaf_weight().is_some());
    if leaf {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "linux.resources.blockIO.leafWeight: cgroup v2 has no such setting",
        ));
    }
    let mut writes = Vec::new();
    let mut add = |file: &str, value: String| writes.push(write(Controller::Io, file, value));
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        add("io.weight", format!("default {}", weight_v2(weight)));
    }
    for device in block_io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            add("io.weight", format!("{}:{} {}", device.major(), device.minor(), weight_v2(weight)));
        }
    }
    for (list, _, key) in THROTTLES {
        for device in list(block_io).iter().flatten() {
            add("io.max", format!("{}:{} {key}={}", device.major(), device.minor(), device.rate()));
        }
    }
    Ok(writes)
}

/// v1's 10 to 1000 on v2's scale of 1 to 10000, end to end.
pub(super) fn weight_v2(weight: u16) -> u32 {
    1 + u32::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_io(json: &str) -> LinuxBlockIo {
        serde_json::from_str(json).unwrap()
    }

    fn lines(writes: &[Write]) -> Vec<String> {
        writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect()
    }

    const FULL: &str = r#"{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":10}],
        "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}],"throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":9}]}"#;

    #[test]
    fn each_has_its_file_on_v1() {
        assert_eq!(
            lines(&v1(&block_io(FULL))),
            [
                "blkio.weight=500",
                "blkio.weight_device=8:0 10",
                "blkio.throttle.read_bps_device=8:0 7",
                "blkio.throttle.write_iops_device=8:16 9",
            ]
        );
    }

    #[test]
    fn throttles_share_a_file_on_v2() {
        assert_eq!(
            lines(&v2(&block_io(FULL)).unwrap()),
            ["io.weight=default 4950", "io.weight=8:0 1", "io.max=8:0 rbps=7", "io.max=8:16 wiops=9"]
        );
        assert!(v2(&block_io(r#"{"leafWeight":10}"#)).is_err());
        assert_eq!([10, 1000].map(weight_v2), [1, 10_000]);
    }
}
