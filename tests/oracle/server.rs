//! The judge: etcd and kube-apiserver, children of this program, asked by curl with many manifests at a time.
//!
//! Invariant: nothing is kept by the server, since every question is a dry run; both processes end with this one's value.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use support::deadline::wait_for;

use crate::compare::Answer;
use crate::mutations::Case;

/// How many manifests one curl sends.
const BATCH: usize = 200;
/// How many of them are under way at once.
const AT_ONCE: &str = "8";

/// Ports of the loopback of this program's own network namespace.
const ETCD: &str = "http://127.0.0.1:2379";
const API: &str = "https://127.0.0.1:6443";
const TOKEN: &str = "oracle";

/// Admission that would ask for other objects first, or add what is a cluster's.
const NO_ADMISSION: &str = "NamespaceLifecycle,PodSecurity,ServiceAccount,LimitRanger,ResourceQuota,DefaultTolerationSeconds,\
    Priority,TaintNodesByCondition,RuntimeClass,NodeRestriction,DefaultStorageClass,MutatingAdmissionWebhook,\
    ValidatingAdmissionWebhook,MutatingAdmissionPolicy,ValidatingAdmissionPolicy";

/// A kube-apiserver that answers.
#[derive(Debug)]
pub(crate) struct Server {
    etcd: Child,
    api: Child,
    folder: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in [&mut self.api, &mut self.etcd] {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Server {
    /// Starts both programs of `programs`; their data and logs are in `run` beside them, those of the last run.
    pub(crate) fn start(programs: &Path) -> Result<Self> {
        let folder = std::path::absolute(programs.join("run"))?;
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("`{}`", folder.display()))?;
        }
        std::fs::create_dir_all(folder.join("work"))?;
        let etcd = start_etcd(programs, &folder)?;
        let api = start_api(programs, &folder)?;
        let mut server = Self { etcd, api, folder };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let ready = wait_for("kube-apiserver is ready", || match self.api.try_wait()? {
            Some(status) => Ok(Err(status)),
            None => get("/readyz").map(|_| Ok(())),
        })?;
        let log = self.folder.join("kube-apiserver.log");
        ready.map_err(|status| anyhow!("kube-apiserver: {status}; see {}", log.display()))
    }

    /// Its version.
    pub(crate) fn version(&self) -> Result<String> {
        let version: Value = serde_json::from_slice(&get("/version")?)?;
        let part = |name: &str| version[name].as_str().unwrap_or("?").to_owned();
        Ok(format!("{}.{}", part("major"), part("minor")))
    }

    /// What the server says of each case, in their order.
    ///
    /// As a client does it, the namespace that podrun reads in a manifest is in the URL.
    pub(crate) fn ask(&self, cases: &[Case], ours: &[Answer]) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(cases.len());
        for (batch, ours) in cases.chunks(BATCH).zip(ours.chunks(BATCH)) {
            self.send(batch, ours)?;
            for (number, case) in batch.iter().enumerate() {
                let path = self.folder.join("work").join(format!("{number}.answer"));
                let text = std::fs::read_to_string(&path).with_context(|| format!("`{}`", path.display()))?;
                answers.push(read(&text).with_context(|| format!("the server about: {}", case.text))?);
            }
        }
        Ok(answers)
    }

    /// Sends a batch by one curl, whose answers lie beside what was sent afterwards.
    fn send(&self, batch: &[Case], ours: &[Answer]) -> Result<()> {
        let work = self.folder.join("work");
        let mut config = String::new();
        for (number, (case, ours)) in batch.iter().zip(ours).enumerate() {
            let body = work.join(format!("{number}.body"));
            let answer = work.join(format!("{number}.answer"));
            std::fs::write(&body, &case.text)?;
            std::fs::remove_file(&answer).ok();
            let kind = if serde_json::from_str::<Value>(&case.text).is_ok() { "json" } else { "yaml" };
            let namespace = percent(namespace(ours));
            writeln!(
                config,
                "url = \"{API}/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict\""
            )?;
            writeln!(config, "data-binary = \"@{}\"", body.display())?;
            writeln!(config, "output = \"{}\"", answer.display())?;
            writeln!(config, "header = \"Content-Type: application/{kind}\"")?;
            writeln!(config, "header = \"Accept: application/json\"")?;
            writeln!(config, "oauth2-bearer = \"{TOKEN}\"\ninclude\ninsecure\npath-as-is\nnext")?;
        }
        let path = work.join("curl");
        std::fs::write(&path, config.trim_end_matches("next\n"))?;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--parallel", "--parallel-max", AT_ONCE, "--config"])
            .arg(path);
        let output = curl.output().context("curl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "curl: {}: {said}", output.status);
        Ok(())
    }
}

fn start_etcd(programs: &Path, folder: &Path) -> Result<Child> {
    let mut etcd = Command::new(programs.join("etcd/usr/bin/etcd"));
    etcd.arg("--data-dir").arg(folder.join("etcd")).arg("--unsafe-no-fsync");
    etcd.args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD]);
    etcd.args(["--listen-peer-urls", "http://127.0.0.1:2380"]);
    spawn(&mut etcd, &folder.join("etcd.log"))
}

fn start_api(programs: &Path, folder: &Path) -> Result<Child> {
    let key = folder.join("service-account.key");
    let made = Command::new("openssl").args(["genrsa", "-out"]).arg(&key).stderr(Stdio::null()).status();
    ensure!(made.context("openssl")?.success(), "openssl made no key");
    let tokens = folder.join("tokens");
    std::fs::write(&tokens, format!("{TOKEN},oracle,oracle,system:masters\n"))?;
    let mut api = Command::new(programs.join("kube-apiserver"));
    api.args(["--etcd-servers", ETCD, "--bind-address", "127.0.0.1", "--advertise-address", "192.0.2.1"]);
    api.args(["--endpoint-reconciler-type", "none", "--service-cluster-ip-range", "10.96.0.0/16"]);
    api.args(["--authorization-mode", "AlwaysAllow", "--service-account-issuer", API, "--allow-privileged"]);
    api.args(["--disable-admission-plugins", NO_ADMISSION, "--enable-priority-and-fairness=false"]);
    api.arg("--service-account-key-file").arg(&key).arg("--service-account-signing-key-file").arg(&key);
    api.arg("--token-auth-file").arg(&tokens).arg("--cert-dir").arg(folder.join("certificates"));
    spawn(&mut api, &folder.join("kube-apiserver.log"))
}

/// What the server answers to a GET.
fn get(path: &str) -> Result<Vec<u8>> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--insecure", "--fail", "--oauth2-bearer", TOKEN]);
    let output = curl.arg(format!("{API}{path}")).output().context("curl")?;
    ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn spawn(command: &mut Command, log: &Path) -> Result<Child> {
    let log = std::fs::File::create(log)?;
    let shown = command.get_program().to_owned();
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("{}", shown.to_string_lossy()))
}

/// A response as curl writes it: status line, headers, an empty line, the body.
fn read(text: &str) -> Result<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("no headers in it")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    let body: Value = serde_json::from_str(body).with_context(|| format!("{status}: not JSON: {body}"))?;
    match status {
        "201" => Ok(Answer::Accepted { pod: body, warnings: head.lines().filter_map(warning).collect() }),
        "400" | "403" | "404" | "413" | "415" | "422" => {
            Ok(Answer::Refused(body["message"].as_str().unwrap_or_default().to_owned()))
        }
        _ => bail!("{head}: {body}"),
    }
}

fn namespace(ours: &Answer) -> &str {
    match ours {
        Answer::Accepted { pod, .. } => pod["metadata"]["namespace"].as_str().unwrap_or("default"),
        Answer::Refused(_) => "default",
    }
}

/// The text of a line `warning: 299 - "text"`.
fn warning(line: &str) -> Option<String> {
    let text = line.strip_prefix("warning: 299 - \"").or_else(|| line.strip_prefix("Warning: 299 - \""))?;
    Some(text.strip_suffix('"')?.replace("\\\"", "\""))
}

/// `text` as a segment of a URL.
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            // A string takes it.
            other => drop(write!(out, "%{other:02X}")),
        }
    }
    out
}
