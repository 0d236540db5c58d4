//! `update`: other limits for a container that lives.

use std::io::Read as _;
use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use runtime::{Error, ErrorKind, Result, oci};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::context::{Context, Named};

/// Change the limits of a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
    /// A file with linux.resources as config.json has them, in place of single limits; `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    #[command(flatten)]
    single: Single,
    /// A line of the class's schemata in resctrl, like L3:0=7f0;1=1f
    #[arg(long, value_name = "LINE")]
    l3_cache_schema: Option<String>,
    /// The same, like MB:0=20;1=70
    #[arg(long, value_name = "LINE")]
    mem_bw_schema: Option<String>,
}

/// One limit each, as in `linux.resources`.
#[derive(Debug, clap::Args)]
struct Single {
    /// blockIO.weight, 10 to 1000
    #[arg(long, value_name = "WEIGHT", value_parser = number::<u16>)]
    blkio_weight: Option<Given<u16>>,
    /// cpu.period in microseconds
    #[arg(long, value_name = "US", value_parser = number::<u64>)]
    cpu_period: Option<Given<u64>>,
    /// cpu.quota in microseconds; -1 is none
    #[arg(long, value_name = "US", allow_hyphen_values = true, value_parser = number::<i64>)]
    cpu_quota: Option<Given<i64>>,
    /// cpu.burst in microseconds
    #[arg(long, value_name = "US", value_parser = number::<u64>)]
    cpu_burst: Option<Given<u64>>,
    /// cpu.shares
    #[arg(long, visible_alias = "cpu-shares", value_name = "SHARES", value_parser = number::<u64>)]
    cpu_share: Option<Given<u64>>,
    /// cpu.realtimePeriod in microseconds
    #[arg(long, value_name = "US", value_parser = number::<u64>)]
    cpu_rt_period: Option<Given<u64>>,
    /// cpu.realtimeRuntime in microseconds
    #[arg(long, value_name = "US", allow_hyphen_values = true, value_parser = number::<i64>)]
    cpu_rt_runtime: Option<Given<i64>>,
    /// cpu.cpus, like 0-2,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// cpu.mems, like 0
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// cpu.idle: 1 for what runs when nothing else does
    #[arg(long, value_name = "0|1", allow_hyphen_values = true, value_parser = number::<i64>)]
    cpu_idle: Option<Given<i64>>,
    /// memory.limit, like 500M or in bytes; -1 is none
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = size)]
    memory: Option<Given<i64>>,
    /// memory.reservation, the same way
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = size)]
    memory_reservation: Option<Given<i64>>,
    /// memory.swap: memory and swap together, the same way
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = size)]
    memory_swap: Option<Given<i64>>,
    /// pids.limit; -1 is none
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true, value_parser = number::<i64>)]
    pids_limit: Option<Given<i64>>,
    /// Linux has no such limit any more
    #[arg(long, hide = true, allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    /// The same
    #[arg(long, hide = true, allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
}

/// A flag's value; an empty one is none given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Given<T>(Option<T>);

fn number<T: FromStr<Err = ParseIntError>>(text: &str) -> std::result::Result<Given<T>, ParseIntError> {
    if text.is_empty() { Ok(Given(None)) } else { text.parse().map(|number| Given(Some(number))) }
}

/// A size as docker takes it: a number that may have a fraction, and a unit of 1024 in either case: `500M`, `1.5GiB`, `1g`.
fn size(text: &str) -> std::result::Result<Given<i64>, String> {
    const UNITS: &str = "kmgtp";
    if text.is_empty() {
        return Ok(Given(None));
    }
    if text == "-1" {
        return Ok(Given(Some(-1)));
    }
    let wrong = || format!("`{text}` is no size, as 500M, 1.5GiB or a number of bytes is");
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit = lower.get(digits.len()..).unwrap_or_default();
    let number = digits.strip_suffix(' ').unwrap_or(digits);
    let exponent = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if ["", "b"].contains(&unit) => 0,
        letter
            if [letter.to_owned(), format!("{letter}b"), format!("{letter}ib")]
                .iter()
                .any(|one| one == unit) =>
        {
            UNITS.find(letter).filter(|_| letter.len() == 1).ok_or_else(wrong)? + 1
        }
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !is_number(whole) || !is_number(fraction) {
        return Err(wrong());
    }
    let unit = 1024_u64.pow(u32::try_from(exponent).map_err(|_| wrong())?);
    bytes(whole, fraction, unit)
        .map(|bytes| Given(Some(bytes)))
        .ok_or_else(|| format!("`{text}` is too large"))
}

/// `whole.fraction` times `unit`, rounded down.
fn bytes(whole: &str, fraction: &str, unit: u64) -> Option<i64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut part = 0_u128;
    // More digits than that say less than a byte.
    let digits = fraction.get(..fraction.len().min(18))?;
    for digit in digits.bytes() {
        part = part * 10 + u128::from(digit - b'0');
    }
    let part = part * u128::from(unit) / 10_u128.pow(u32::try_from(digits.len()).ok()?);
    let all = u128::from(whole).checked_mul(u128::from(unit))?.checked_add(part)?;
    i64::try_from(all).ok()
}

impl Single {
    fn document(&self) -> Value {
        fn given<T: Serialize>(value: Option<Given<T>>) -> Option<Value> {
            value.and_then(|given| given.0).map(|value| json!(value))
        }
        let list = |value: &Option<String>| value.as_ref().map(|value| json!(value));
        let section = |pairs: Vec<(&str, Option<Value>)>| -> Option<Value> {
            let given: Map<String, Value> =
                pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
            (!given.is_empty()).then_some(Value::Object(given))
        };
        let cpu = section(vec![
            ("shares", given(self.cpu_share)),
            ("quota", given(self.cpu_quota)),
            ("burst", given(self.cpu_burst)),
            ("period", given(self.cpu_period)),
            ("realtimeRuntime", given(self.cpu_rt_runtime)),
            ("realtimePeriod", given(self.cpu_rt_period)),
            ("cpus", list(&self.cpuset_cpus)),
            ("mems", list(&self.cpuset_mems)),
            ("idle", given(self.cpu_idle)),
        ]);
        let memory = section(vec![
            ("limit", given(self.memory)),
            ("reservation", given(self.memory_reservation)),
            ("swap", given(self.memory_swap)),
        ]);
        let all = section(vec![
            ("cpu", cpu),
            ("memory", memory),
            ("pids", section(vec![("limit", given(self.pids_limit))])),
            ("blockIO", section(vec![("weight", given(self.blkio_weight))])),
        ]);
        all.unwrap_or_else(|| json!({}))
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let container = args.named.get(context)?;
    let single = args.single.document();
    let (what, document) = match args.resources.as_deref().filter(|file| !file.as_os_str().is_empty()) {
        None => ("the flags".to_owned(), single),
        Some(file) => {
            if single != json!({}) {
                context.log.warning("single limits are ignored beside --resources");
            }
            (file.display().to_string(), read(file)?)
        }
    };
    if args.single.kernel_memory.is_some() || args.single.kernel_memory_tcp.is_some() {
        context.log.warning("--kernel-memory: ignored: Linux has no limit for kernel memory alone");
    }
    let resources = oci::resources(document).map_err(|error| error.context(what))?;
    let line = |given: &'_ Option<String>| given.clone().filter(|line| !line.is_empty());
    let (l3_cache, bandwidth) = (line(&args.l3_cache_schema), line(&args.mem_bw_schema));
    // First: it is refused for a container without a class, whose limits then stay unchanged.
    if l3_cache.is_some() || bandwidth.is_some() {
        container.update_class(l3_cache.as_deref(), bandwidth.as_deref())?;
    }
    if let Some(left_out) = container.update(&resources)? {
        context.log.warning(left_out);
    }
    Ok(ExitCode::SUCCESS)
}

/// The document in `file`; `-` is stdin.
fn read(file: &Path) -> Result<Value> {
    let what = file.display();
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| Error::from(error).context(&what))?;
    serde_json::from_str(&text).map_err(|error| Error::new(ErrorKind::Usage, format!("{what}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, bytes) in [
            ("500M", 524_288_000),
            ("500mb", 524_288_000),
            ("1g", 1 << 30),
            ("1.5GiB", 1_610_612_736),
            ("1.5 k", 1536),
            ("0.1k", 102),
            ("2P", 1 << 51),
            (".5t", 1 << 39),
            ("32b", 32),
            ("32", 32),
            ("32.9", 32),
            ("-1", -1),
            ("0", 0),
        ] {
            assert_eq!(size(text), Ok(Given(Some(bytes))), "{text}");
        }
        assert_eq!(size(""), Ok(Given(None)));
        for wrong in [
            "x", "M", "-2", "-1M", "1e", "1i", "1bb", "1kbb", "1kii", "1 kb x", "1.2.3", "1kmb", "9999999P",
            ".",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
