//! The current usage of a cgroup, as the kernel counts it.
//!
//! Invariant: a value that the kernel does not count, or not for this cgroup, is absent; nothing is estimated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::layout::Controller;
use super::{Cgroup, read_number};

/// A cgroup's use of resources. Times are nanoseconds, sizes bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processors.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Tasks.
    pub pids: Option<Pids>,
    /// Block devices.
    pub block_io: Vec<BlockIo>,
    /// Huge pages by their size, as the kernel names it (`2MB`).
    pub hugetlb: BTreeMap<String, Usage>,
}

/// Time on processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    /// All of it.
    pub total: u64,
    /// In programs.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Periods of a quota that have passed.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// How long the tasks waited for the next.
    pub throttled_time: u64,
}

/// An amount with its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Now.
    pub usage: u64,
    /// The most there has been, where the kernel keeps that.
    pub max: Option<u64>,
    /// The limit; `None`: there is none.
    pub limit: Option<u64>,
    /// How often the limit was met.
    pub failures: u64,
}

/// Memory by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// All that counts against the limit.
    pub total: Usage,
    /// Swap: on v1 memory and swap together.
    pub swap: Option<Usage>,
    /// The kernel's, for this cgroup.
    pub kernel: Option<u64>,
    /// Of files.
    pub cache: u64,
    /// `memory.stat` as it is.
    pub raw: BTreeMap<String, u64>,
}

/// Tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// The limit; `None`: there is none.
    pub limit: Option<u64>,
}

/// The traffic of one block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// The device's major number.
    pub major: u64,
    /// The device's minor number.
    pub minor: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

impl Cgroup {
    /// Reads the cgroup's usage; all of it is absent for a removed cgroup.
    pub fn stats(&self) -> Stats {
        let unified = self.unified.as_deref();
        Stats {
            cpu: unified.and_then(|directory| cpu_v2(directory, self.directory(Controller::Cpu))),
            memory: match self.directory(Controller::Memory) {
                Some(directory) => memory_v1(directory),
                None => unified.and_then(memory_v2),
            },
            pids: self.directory(Controller::Pids).map(PathBuf::as_path).or(unified).and_then(pids),
            block_io: match self.directory(Controller::Io) {
                Some(directory) => block_io_v1(directory),
                None => unified.map(block_io_v2).unwrap_or_default(),
            },
            hugetlb: match self.directory(Controller::Hugetlb) {
                Some(directory) => hugetlb(directory, ".limit_in_bytes", ".usage_in_bytes"),
                None => unified.map(|directory| hugetlb(directory, ".max", ".current")).unwrap_or_default(),
            },
        }
    }
}

fn text(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

/// A limit: `max`, and v1's largest multiple of a page, are none.
fn limit(file: &Path) -> Option<u64> {
    const NONE_IN_V1: u64 = 0x7fff_ffff_ffff_f000;
    read_number::<u64>(file).filter(|limit| *limit < NONE_IN_V1)
}

/// A file of `name number` lines.
fn table(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// The times are counted in the unified hierarchy on every host; the throttling where the quota is.
fn cpu_v2(unified: &Path, v1: Option<&PathBuf>) -> Option<Cpu> {
    let times = table(&text(&unified.join("cpu.stat"))?);
    let throttling = v1.and_then(|directory| text(&directory.join("cpu.stat"))).map(|text| table(&text));
    let of = |table: &BTreeMap<String, u64>, name: &str| table.get(name).copied().unwrap_or(0);
    let micro = |name: &str| of(&times, name).saturating_mul(1000);
    let quota = throttling.as_ref().unwrap_or(&times);
    Some(Cpu {
        total: micro("usage_usec"),
        user: micro("user_usec"),
        system: micro("system_usec"),
        periods: of(quota, "nr_periods"),
        throttled_periods: of(quota, "nr_throttled"),
        throttled_time: match throttling {
            Some(ref v1) => of(v1, "throttled_time"),
            None => micro("throttled_usec"),
        },
    })
}

fn memory_v1(directory: &Path) -> Option<Memory> {
    let raw = table(&text(&directory.join("memory.stat"))?);
    let usage = |kind: &str| {
        let file = |rest: &str| directory.join(format!("memory.{kind}{rest}"));
        Some(Usage {
            usage: read_number(&file("usage_in_bytes"))?,
            max: read_number(&file("max_usage_in_bytes")),
            limit: limit(&file("limit_in_bytes")),
            failures: read_number(&file("failcnt")).unwrap_or(0),
        })
    };
    Some(Memory {
        total: usage("")?,
        swap: usage("memsw."),
        kernel: read_number(&directory.join("memory.kmem.usage_in_bytes")),
        cache: raw.get("total_cache").copied().unwrap_or(0),
        raw,
    })
}

fn memory_v2(directory: &Path) -> Option<Memory> {
    let raw = table(&text(&directory.join("memory.stat"))?);
    let usage = |kind: &str| {
        let file = |rest: &str| directory.join(format!("memory.{kind}{rest}"));
        let events = text(&file("events")).map(|text| table(&text)).unwrap_or_default();
        Some(Usage {
            usage: read_number(&file("current"))?,
            max: read_number(&file("peak")),
            limit: limit(&file("max")),
            failures: events.get("max").copied().unwrap_or(0),
        })
    };
    Some(Memory {
        total: usage("")?,
        swap: usage("swap."),
        kernel: raw.get("kernel").copied(),
        cache: raw.get("file").copied().unwrap_or(0),
        raw,
    })
}

fn pids(directory: &Path) -> Option<Pids> {
    Some(Pids {
        current: read_number(&directory.join("pids.current"))?,
        limit: limit(&directory.join("pids.max")),
    })
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`
fn block_io_v2(directory: &Path) -> Vec<BlockIo> {
    let text = text(&directory.join("io.stat")).unwrap_or_default();
    let device = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let mut found =
            BlockIo { major: major.parse().ok()?, minor: minor.parse().ok()?, ..BlockIo::default() };
        for (name, number) in words.filter_map(|word| word.split_once('=')) {
            let number = number.parse().unwrap_or(0);
            match name {
                "rbytes" => found.read_bytes = number,
                "wbytes" => found.written_bytes = number,
                "rios" => found.reads = number,
                "wios" => found.writes = number,
                _ => {}
            }
        }
        Some(found)
    };
    text.lines().filter_map(device).collect()
}

/// Two files of lines like `8:0 Read 4096`.
fn block_io_v1(directory: &Path) -> Vec<BlockIo> {
    let mut found: BTreeMap<(u64, u64), BlockIo> = BTreeMap::new();
    for (file, bytes) in
        [("blkio.throttle.io_service_bytes_recursive", true), ("blkio.throttle.io_serviced_recursive", false)]
    {
        for line in text(&directory.join(file)).unwrap_or_default().lines() {
            let mut words = line.split_whitespace();
            let (Some(device), Some(act), Some(number)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let numbers = device.split_once(':').map(|(major, minor)| (major.parse(), minor.parse()));
            let (Some((Ok(major), Ok(minor))), Ok(number)) = (numbers, number.parse()) else { continue };
            let entry = found.entry((major, minor)).or_insert(BlockIo { major, minor, ..BlockIo::default() });
            match (act, bytes) {
                ("Read", true) => entry.read_bytes = number,
                ("Write", true) => entry.written_bytes = number,
                ("Read", false) => entry.reads = number,
                ("Write", false) => entry.writes = number,
                _ => {}
            }
        }
    }
    found.into_values().collect()
}

fn hugetlb(directory: &Path, limits: &str, usages: &str) -> BTreeMap<String, Usage> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name.strip_prefix("hugetlb.").and_then(|rest| rest.strip_suffix(usages));
        // `hugetlb.2MB.rsvd.current` is about reservations.
        if let Some(size) = size.filter(|size| !size.contains('.')) {
            let file = |rest: &str| directory.join(format!("hugetlb.{size}{rest}"));
            let usage = Usage {
                usage: read_number(&file(usages)).unwrap_or(0),
                max: read_number(&file(".max_usage_in_bytes")),
                limit: limit(&file(limits)),
                failures: read_number(&file(".failcnt")).unwrap_or(0),
            };
            found.insert(size.to_owned(), usage);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in list {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn v2_is_read() {
        let directory = files(&[
            ("memory.stat", "anon 1\nfile 4096\nkernel 7\n"),
            ("memory.current", "8192\n"),
            ("memory.max", "max\n"),
            ("memory.peak", "9000\n"),
            ("memory.events", "low 0\nmax 3\n"),
            ("io.stat", "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
            ("pids.current", "2\n"),
            ("pids.max", "100\n"),
            ("hugetlb.2MB.current", "0\n"),
            ("hugetlb.2MB.rsvd.current", "9\n"),
            ("hugetlb.2MB.max", "2097152\n"),
            ("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_throttled 1\nthrottled_usec 4\n"),
        ]);
        let memory = memory_v2(directory.path()).unwrap();
        assert_eq!(memory.total, Usage { usage: 8192, max: Some(9000), limit: None, failures: 3 });
        assert_eq!((memory.cache, memory.kernel, memory.swap), (4096, Some(7), None));
        let device = BlockIo { major: 8, minor: 16, read_bytes: 1, written_bytes: 2, reads: 3, writes: 4 };
        assert_eq!(block_io_v2(directory.path()), [device]);
        assert_eq!(pids(directory.path()), Some(Pids { current: 2, limit: Some(100) }));
        let huge = hugetlb(directory.path(), ".max", ".current");
        assert_eq!(huge.len(), 1);
        assert_eq!(huge["2MB"].limit, Some(2_097_152));
        let cpu = cpu_v2(directory.path(), None).unwrap();
        assert_eq!((cpu.total, cpu.user, cpu.throttled_time, cpu.throttled_periods), (5000, 3000, 4000, 1));
    }

    #[test]
    fn v1_is_read() {
        let directory = files(&[
            ("memory.stat", "cache 1\ntotal_cache 2\n"),
            ("memory.usage_in_bytes", "10\n"),
            ("memory.max_usage_in_bytes", "20\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.failcnt", "4\n"),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 5\n8:0 Write 6\n8:0 Total 11\nTotal 11\n",
            ),
            ("blkio.throttle.io_serviced_recursive", "8:0 Read 1\n8:0 Write 2\n"),
        ]);
        let memory = memory_v1(directory.path()).unwrap();
        assert_eq!(memory.total, Usage { usage: 10, max: Some(20), limit: None, failures: 4 });
        let device = BlockIo { major: 8, minor: 0, read_bytes: 5, written_bytes: 6, reads: 1, writes: 2 };
        assert_eq!(block_io_v1(directory.path()), [device]);
        assert_eq!(memory_v1(&directory.path().join("none")), None);
    }
}
