//! `update`: other limits for a container that lives.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use runtime::oci::{self, Resources};
use runtime::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use super::{Context, Named};

/// Change the limits of a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
    /// A file with linux.resources as config.json has them; `-` is stdin
    #[arg(short, long, value_name = "FILE", conflicts_with = "single")]
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
#[group(id = "single", multiple = true)]
struct Single {
    /// blockIO.weight, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// cpu.period in microseconds
    #[arg(long, value_name = "US")]
    cpu_period: Option<u64>,
    /// cpu.quota in microseconds
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// cpu.burst in microseconds
    #[arg(long, value_name = "US")]
    cpu_burst: Option<u64>,
    /// cpu.shares
    #[arg(long, visible_alias = "cpu-shares", value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// cpu.realtimePeriod in microseconds
    #[arg(long, value_name = "US")]
    cpu_rt_period: Option<u64>,
    /// cpu.realtimeRuntime in microseconds
    #[arg(long, value_name = "US")]
    cpu_rt_runtime: Option<i64>,
    /// cpu.cpus, like 0-2,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// cpu.mems, like 0
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// cpu.idle: 1 for what runs when nothing else does
    #[arg(long, value_name = "0|1", allow_hyphen_values = true)]
    cpu_idle: Option<i64>,
    /// memory.limit in bytes; -1 is none
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory: Option<i64>,
    /// memory.reservation in bytes
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_reservation: Option<i64>,
    /// memory.swap: memory and swap together, in bytes; -1 is none
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// pids.limit; -1 is none
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
}

impl Single {
    fn document(&self) -> Value {
        let section = |pairs: Vec<(&str, Option<Value>)>| -> Option<Value> {
            let given: Map<String, Value> =
                pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
            (!given.is_empty()).then_some(Value::Object(given))
        };
        let cpu = section(vec![
            ("shares", self.cpu_share.map(|value| json!(value))),
            ("quota", self.cpu_quota.map(|value| json!(value))),
            ("burst", self.cpu_burst.map(|value| json!(value))),
            ("period", self.cpu_period.map(|value| json!(value))),
            ("realtimeRuntime", self.cpu_rt_runtime.map(|value| json!(value))),
            ("realtimePeriod", self.cpu_rt_period.map(|value| json!(value))),
            ("cpus", self.cpuset_cpus.as_ref().map(|value| json!(value))),
            ("mems", self.cpuset_mems.as_ref().map(|value| json!(value))),
            ("idle", self.cpu_idle.map(|value| json!(value))),
        ]);
        let memory = section(vec![
            ("limit", self.memory.map(|value| json!(value))),
            ("reservation", self.memory_reservation.map(|value| json!(value))),
            ("swap", self.memory_swap.map(|value| json!(value))),
        ]);
        let all = section(vec![
            ("cpu", cpu),
            ("memory", memory),
            ("pids", section(vec![("limit", self.pids_limit.map(|value| json!(value)))])),
            ("blockIO", section(vec![("weight", self.blkio_weight.map(|value| json!(value)))])),
        ]);
        all.unwrap_or_else(|| json!({}))
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let resources = match &args.resources {
        None => parse("the flags", args.single.document())?,
        Some(file) => {
            let what = file.display().to_string();
            let mut text = String::new();
            let read = match file.as_os_str() == "-" {
                true => std::io::stdin().read_to_string(&mut text),
                false => std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
            };
            read.map_err(|error| Error::from(error).context(&what))?;
            let document = serde_json::from_str(&text)
                .map_err(|error| Error::new(ErrorKind::Usage, format!("{what}: {error}")))?;
            parse(&what, document)?
        }
    };
    let container = args.named.get(context)?;
    let line = |given: &'_ Option<String>| given.clone().filter(|line| !line.is_empty());
    let (l3_cache, bandwidth) = (line(&args.l3_cache_schema), line(&args.mem_bw_schema));
    // First: it is refused to a container that has no class, whose limits then stay as they were.
    if l3_cache.is_some() || bandwidth.is_some() {
        container.update_class(l3_cache.as_deref(), bandwidth.as_deref())?;
    }
    container.update(&resources)?;
    Ok(ExitCode::SUCCESS)
}

fn parse(what: &str, document: Value) -> Result<Resources> {
    oci::resources(document).map_err(|error| error.context(what))
}
