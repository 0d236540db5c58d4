//! The bridge network: who reaches whom, ports of the host, names.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::host::Host;
use support::pods::{pod, probe, report, sleeper};
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("pods reach each other and the host by IPv4 and IPv6", &["probe"], pods_reach_each_other);
    suite.on_host("a port of the host reaches the pod from the host itself", &["probe"], host_port);
    suite.on_host("a port of the host reaches the pod from elsewhere", &["probe"], host_port_from_elsewhere);
    suite.on_host(
        "a UDP client that keeps its port follows a host port to each pod",
        &["probe"],
        udp_host_port,
    );
    suite.on_host("who meets the kernel's limit of NAT chains is told of it", &["probe"], nat_chains);
    suite.on_host("a pod reaches beyond the host under the host's address", &["probe"], masquerade);
    suite.on_host("hosts hostname and resolv.conf are written as Kubernetes does", &["busybox"], etc_files);
    suite.on_host("a pod of the host's network sees the host's links and name", &["probe"], host_network);
    suite.on_host("an address is not given again while its pod lives", &["probe"], addresses);
}

fn server(name: &str, text: &str) -> Value {
    pod(name, &json!({ "containers": [probe("main", &["serve", "80", text])] }))
}

pub(crate) fn addresses_of(host: &Host, name: &str) -> Result<Vec<String>> {
    let shown = host.pod(name)?;
    let all = shown["status"]["podIPs"].as_array().context("podIPs")?.clone();
    Ok(all.iter().filter_map(|one| one["ip"].as_str().map(str::to_owned)).collect())
}

/// Asks from a pod; a server that was just started has its time to listen.
fn get(host: &Host, from: &str, address: &str, port: &str) -> Result<String> {
    wait_for(&format!("{from} asks {address}"), || {
        host.podrun(&["exec", from, "--", "/probe", "get", address, port])?.ok()
    })
}

fn pods_reach_each_other(host: &Host) -> Result<()> {
    host.create(&server("server", "to {peer}"))?;
    host.create(&sleeper("client"))?;
    let (server, client) = (addresses_of(host, "server")?, addresses_of(host, "client")?);
    ensure!(server.len() == 2 && client.len() == 2, "one of each family: {server:?} {client:?}");
    for (to, from) in server.iter().zip(&client) {
        let body = get(host, "client", to, "80")?;
        ensure!(body == format!("to {from}\n"), "the peer is the pod's own address: {body}");
    }
    let page = host.run(
        "bash",
        &["-c", &format!("exec 3<>/dev/tcp/{}/80; echo -e 'GET / HTTP/1.0\\n' >&3; cat <&3", server[0])],
    )?;
    ensure!(page.ok()?.contains("to 10.87.0.1"), "the host reaches the pod");
    host.podrun(&["delete", "pods", "--all", "--now"])?.ok()?;
    Ok(())
}

pub(crate) fn ask_host(host: &Host, address: &str, port: u16) -> Result<String> {
    wait_for(&format!("{address}:{port} answers"), || {
        let script =
            format!("exec 3<>/dev/tcp/{address}/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
        host.run("timeout", &["5", "bash", "-c", &script])?.ok()
    })
}

fn with_host_port(name: &str, port: u16) -> Value {
    let mut manifest = server(name, "served");
    manifest["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 80, "hostPort": port }]);
    manifest
}

fn host_port(host: &Host) -> Result<()> {
    host.create(&with_host_port("web", 8080))?;
    ensure!(ask_host(host, "127.0.0.1", 8080)?.contains("served"), "by 127.0.0.1");
    ensure!(ask_host(host, "10.87.0.1", 8080)?.contains("served"), "by an address of the host");
    host.create(&sleeper("other"))?;
    ensure!(get(host, "other", "10.87.0.1", "8080")? == "served\n", "from another pod");
    ensure!(get(host, "web", "10.87.0.1", "8080")? == "served\n", "from the pod itself");
    host.podrun(&["delete", "pods", "--all", "--now"])?.ok()?;
    let gone = host.run("timeout", &["5", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080"])?;
    ensure!(!gone.status.success(), "the port is still open");
    Ok(())
}

/// Another machine: a network namespace of its own, reached by a link, with a server of its own.
const ELSEWHERE: &str = "ip netns add elsewhere
ip link add uplink type veth peer name eth0 netns elsewhere
ip address add 192.0.2.1/24 dev uplink
ip link set uplink up
ip -n elsewhere address add 192.0.2.2/24 dev eth0
ip -n elsewhere link set eth0 up
ip -n elsewhere link set lo up";
const NOT_ELSEWHERE: &str =
    "ip netns del elsewhere; umount /run/netns; rmdir /run/netns; ip link del uplink 2>/dev/null; :";

fn host_port_from_elsewhere(host: &Host) -> Result<()> {
    host.run("sh", &["-ec", ELSEWHERE])?.ok()?;
    host.create(&with_host_port("web", 8080))?;
    let script = "exec 3<>/dev/tcp/192.0.2.1/8080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    let page = wait_for("an answer", || {
        host.run("ip", &["netns", "exec", "elsewhere", "timeout", "5", "bash", "-c", script])?.ok()
    })?;
    ensure!(page.contains("served"), "{page}");
    host.delete("web")?;
    host.run("sh", &["-c", NOT_ELSEWHERE])?.ok()?;
    Ok(())
}

/// The kernel remembers where a flow went: one that began before the pod, one to the pod that was, one to a pod whose
/// monitor was killed.
fn udp_host_port(host: &Host) -> Result<()> {
    let program = probe_program()?;
    let ask = |address: &str| host.run(&program, &["udp-ask", address, "8053", "5353", "anybody"])?.ok();
    let answered = |address: &str, whose: &str| {
        let answer = wait_for(&format!("{address} answers for {whose}"), || ask(address))?;
        ensure!(answer == "anybody\n", "{answer}");
        Ok(())
    };
    let echo = |name: &str, host_ip: Option<&str>| {
        let mut main = probe("main", &["udp-echo", "53"]);
        main["ports"] = json!([{ "containerPort": 53, "hostPort": 8053, "protocol": "UDP" }]);
        if let Some(ip) = host_ip {
            main["ports"][0]["hostIP"] = json!(ip);
        }
        pod(name, &json!({ "containers": [main] }))
    };
    // As long as somebody redirects anything, flows are remembered.
    host.create(&sleeper("other"))?;
    ensure!(ask("127.0.0.1").is_err() && ask("127.0.0.2").is_err(), "nobody is there yet");
    for (name, host_ip) in [("first", None), ("second", None), ("third", Some("127.0.0.1"))] {
        host.create(&echo(name, host_ip))?;
        answered("127.0.0.1", name)?;
        if host_ip.is_none() {
            answered("127.0.0.2", name)?;
        }
        host.podrun(&["delete", "pod", name, "--now"])?.ok()?;
    }
    host.create(&echo("lost", None))?;
    answered("127.0.0.1", "lost")?;
    host.run("pkill", &["-9", "-f", "podrun.* monitor"])?.ok()?;
    wait_for("the next verb has seen it", || {
        ensure!(host.podrun(&["get", "pods"])?.ok()?.contains("MonitorLost"), "still alive");
        Ok(())
    })?;
    let program = program.as_str();
    let mut server = host.command(program, &["udp-echo", "8053"]).spawn()?;
    answered("127.0.0.1", "a program of the host's")?;
    host.run("pkill", &["-f", "udp-echo 8053"])?.ok()?;
    server.wait()?;
    host.podrun(&["delete", "pod", "lost", "other", "--now"])?.ok()?;
    Ok(())
}

fn nat_chains(host: &Host) -> Result<()> {
    let fill = |hook: &str| {
        let chains: String =
            (0..1024).map(|n| format!("chain c{n} {{ type nat hook {hook} priority 0; }}\n")).collect();
        let file = host.write("full.nft", &format!("table inet full {{\n{chains}}}\n"))?;
        host.run("nft", &["-f", &file.to_string_lossy()])?.ok()
    };
    let create = |port: &Value| {
        let mut manifest = server("web", "served");
        manifest["spec"]["containers"][0]["ports"] = json!([port]);
        host.podrun_with_stdin(&["create", "-"], manifest.to_string().as_bytes())
    };
    fill("output")?;
    let refused = create(&json!({ "containerPort": 80, "hostPort": 8080 }))?;
    ensure!(refused.code() == 1 && refused.stderr.contains("room for 1024 NAT chains"), "{refused}");
    let doctor = host.podrun(&["doctor"])?.ok()?;
    ensure!(doctor.contains("1024 of 1024 NAT chains"), "{doctor}");
    host.run("nft", &["delete", "table", "inet", "full"])?.ok()?;
    fill("prerouting")?;
    create(&json!({ "containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1" }))?.ok()?;
    ensure!(
        ask_host(host, "127.0.0.1", 8080)?.contains("served"),
        "a port of the loopback alone takes none there"
    );
    host.delete("web")?;
    host.run("nft", &["delete", "table", "inet", "full"])?.ok()?;
    Ok(())
}

/// The probe outside every image.
fn probe_program() -> Result<String> {
    let program = std::env::current_exe()?;
    let program = program.parent().and_then(std::path::Path::parent).context("target")?.join("probe");
    Ok(program.to_string_lossy().into_owned())
}

fn masquerade(host: &Host) -> Result<()> {
    host.run("sh", &["-ec", ELSEWHERE])?.ok()?;
    let mut server = host.command("ip", &["netns", "exec", "elsewhere"]);
    let mut server = server.arg(probe_program()?).args(["serve", "80", "to {peer}"]).spawn()?;
    host.create(&sleeper("web"))?;
    let body = get(host, "web", "192.0.2.2", "80")?;
    ensure!(body == "to 192.0.2.1\n", "the server beyond sees the host's address: {body}");
    host.delete("web")?;
    host.run("pkill", &["-f", "serve 80 to"])?.ok()?;
    server.wait()?;
    host.run("sh", &["-c", NOT_ELSEWHERE])?.ok()?;
    Ok(())
}

fn etc_files(host: &Host) -> Result<()> {
    let spec = json!({
        "containers": [support::pods::shell("main", "sleep 1000")],
        "hostname": "own-name", "subdomain": "sub",
        "hostAliases": [{ "ip": "10.1.2.3", "hostnames": ["alias-a", "alias-b"] }],
        "dnsPolicy": "None",
        "dnsConfig": { "nameservers": ["192.0.2.53"], "searches": ["example.org"], "options": [{ "name": "ndots", "value": "2" }] },
    });
    host.create(&pod("names", &spec))?;
    let cat = |path: &str| host.podrun(&["exec", "names", "--", "cat", path])?.ok();
    let hosts = cat("/etc/hosts")?;
    let address = &addresses_of(host, "names")?[0];
    ensure!(hosts.starts_with("# Kubernetes-managed hosts file."), "{hosts}");
    ensure!(hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");
    ensure!(
        hosts.lines().any(|line| line.starts_with(&format!("{address}\t")) && line.contains("own-name")),
        "{hosts}"
    );
    ensure!(hosts.contains("10.1.2.3\talias-a\talias-b"), "{hosts}");
    ensure!(cat("/etc/hostname")? == "own-name\n", "/etc/hostname");
    ensure!(
        cat("/etc/resolv.conf")? == "search example.org\nnameserver 192.0.2.53\noptions ndots:2\n",
        "{}",
        cat("/etc/resolv.conf")?
    );
    host.delete("names")?;
    Ok(())
}

fn host_network(host: &Host) -> Result<()> {
    let mut manifest = sleeper("hostnet");
    manifest["spec"]["hostNetwork"] = json!(true);
    for line in [
        "link add up0 type bridge",
        "address add 192.0.2.50/24 dev up0",
        "link set up0 up",
        "route add default via 192.0.2.1",
    ] {
        host.run("ip", &line.split(' ').collect::<Vec<_>>())?.ok()?;
    }
    host.create(&manifest)?;
    let status = &host.pod("hostnet")?["status"];
    ensure!(status["podIP"] == "192.0.2.50" && status["hostIP"] == "192.0.2.50", "{status:#}");
    let seen = report(host, "hostnet", "main")?;
    let own = host.run("readlink", &["/proc/self/ns/net"])?.ok()?;
    ensure!(own.contains(&seen["namespaces"]["net"].to_string()), "the host's namespace");
    ensure!(seen["hostname"] == "test-host", "{}", seen["hostname"]);
    host.delete("hostnet")?;
    host.run("ip", &["link", "delete", "up0"])?.ok()?;
    Ok(())
}

fn addresses(host: &Host) -> Result<()> {
    host.create(&sleeper("keeper"))?;
    let kept = addresses_of(host, "keeper")?;
    for _ in 0..20 {
        host.create(&sleeper("short"))?;
        ensure!(
            addresses_of(host, "short")?.iter().all(|one| !kept.contains(one)),
            "{kept:?} was given again"
        );
        host.delete("short")?;
    }
    host.delete("keeper")?;
    Ok(())
}
