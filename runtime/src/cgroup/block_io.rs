//! `blockIO` (config-linux.md, "Block IO") as the files of v1 and v2.
//!
//! Invariant: pure; a weight that v2 has no file for is refused. A weight is the I/O scheduler's: which one the kernel has
//! decides the file.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::layout::Controller;
use super::resources::{Write, write};
use crate::error::{Error, ErrorKind, Result};

/// A kind of throttling: the config's field, v1's file, and the key in v2's `io.max`.
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
    if let Some(weight) = block_io.leaf_weight().filter(|weight| *weight != 0) {
        add("blkio.leaf_weight", weight.to_string());
    }
    for device in block_io.weight_device().iter().flatten() {
        if let Some(weight) = device.leaf_weight() {
            add("blkio.leaf_weight_device", format!("{}:{} {weight}", device.major(), device.minor()));
        }
    }
    for (list, file, _) in THROTTLES {
        for device in list(block_io).iter().flatten() {
            add(file, format!("{}:{} {}", device.major(), device.minor(), device.rate()));
        }
    }
    // Of CFQ, which Linux 5.0 has lost, or of BFQ.
    writes.extend(weights(block_io).map(|(device, weight)| match device {
        None => write(Controller::Io, "blkio.weight", weight).or("blkio.bfq.weight", weight),
        Some(device) => {
            let line = format!("{device} {weight}");
            write(Controller::Io, "blkio.weight_device", &line).or("blkio.bfq.weight_device", line)
        }
    }));
    writes
}

/// The weights that are set: for all devices, and for single ones.
fn weights(block_io: &LinuxBlockIo) -> impl Iterator<Item = (Option<String>, u16)> {
    let all = block_io.weight().filter(|weight| *weight != 0).map(|weight| (None, weight));
    let single = block_io.weight_device().iter().flatten().filter_map(|device| {
        let weight = device.weight().filter(|weight| *weight != 0)?;
        Some((Some(format!("{}:{}", device.major(), device.minor())), weight))
    });
    all.into_iter().chain(single)
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
    // Of BFQ, on its own scale, or of the cost model.
    let mut writes: Vec<Write> = weights(block_io)
        .map(|(device, weight)| {
            let name = device.as_deref().unwrap_or("default");
            write(Controller::Io, "io.bfq.weight", format!("{name} {weight}"))
                .or("io.weight", format!("{name} {}", weight_v2(weight)))
        })
        .collect();
    let mut add = |file: &str, value: String| writes.push(write(Controller::Io, file, value));
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
        let line = |write: &Write| {
            let or = write.or.iter().map(|(file, value)| format!(" or {file}={value}"));
            format!("{}={}", write.file, write.value) + &or.collect::<String>()
        };
        writes.iter().map(line).collect()
    }

    const FULL: &str = r#"{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":10}],
        "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}],"throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":9}]}"#;

    #[test]
    fn each_has_its_file_on_v1() {
        assert_eq!(
            lines(&v1(&block_io(FULL))),
            [
                "blkio.throttle.read_bps_device=8:0 7",
                "blkio.throttle.write_iops_device=8:16 9",
                "blkio.weight=500 or blkio.bfq.weight=500",
                "blkio.weight_device=8:0 10 or blkio.bfq.weight_device=8:0 10",
            ]
        );
    }

    #[test]
    fn throttles_share_a_file_on_v2() {
        assert_eq!(
            lines(&v2(&block_io(FULL)).unwrap()),
            [
                "io.bfq.weight=default 500 or io.weight=default 4950",
                "io.bfq.weight=8:0 10 or io.weight=8:0 1",
                "io.max=8:0 rbps=7",
                "io.max=8:16 wiops=9"
            ]
        );
        assert!(v2(&block_io(r#"{"leafWeight":10}"#)).is_err());
        assert_eq!([10, 1000].map(weight_v2), [1, 10_000]);
    }
}
