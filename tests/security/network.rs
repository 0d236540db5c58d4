//! What a pod with the right to raw frames (NET_RAW) could make its host, other pods and machines beyond believe.
//!
//! Invariant: each attack is shown to be one by a pod whose port is open, by its annotation or by the host's config.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use support::deadline::wait_for;
use support::host::Host;
use support::pods::{pod, probe};
use support::suite::Suite;

use super::frames::{self, ALL_NODES, ARP, BROADCAST, IPV4, IPV6, LLDP, Mac, frame};
use crate::network::{addresses_of, ask_host};

pub(crate) fn add(suite: &mut Suite) {
    let attacks: [(&str, super::AttackOfPods); 6] = [
        ("what a pod sends is its own or is dropped", ports),
        ("CVE-2020-10749 CVE-2020-13401 a pod's advertisements make it nobody's router", advertisements),
        ("a pod's redirect leads nobody elsewhere", redirects),
        ("ARP and neighbour discovery give no pod another's address", neighbours),
        ("no address but a pod's own leaves the host", foreign_sources),
        ("CVE-2020-8558 a port of the host's loopback is not a neighbour's", loopback_ports),
    ];
    for (name, attack) in attacks {
        suite.on_host(name, &["probe"], attack);
    }
}

/// Somebody on the bridge.
#[derive(Debug, Clone, Copy)]
struct Station {
    mac: Mac,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    /// Its address on the link alone.
    local: Ipv6Addr,
}

const GATEWAY: Station = Station {
    mac: [0x0a, 0x58, 10, 87, 0, 1],
    v4: Ipv4Addr::new(10, 87, 0, 1),
    v6: Ipv6Addr::new(0xfd10, 0x87, 0, 0, 0, 0, 0, 1),
    local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
};
/// Nobody here.
const STRANGER: Station = Station {
    mac: [0x02, 0, 0, 0, 0, 0x77],
    v4: Ipv4Addr::new(198, 51, 100, 7),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7),
    local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77),
};

/// Whom a frame is for that comes to a pod's MAC: a group that nobody is in, so that nobody answers.
const GROUP: Station = Station {
    v4: Ipv4Addr::new(224, 0, 0, 77),
    v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x77),
    ..STRANGER
};

/// A pod that may send raw frames. `filter` is what its annotation says.
fn attacker(host: &Host, name: &str, filter: Option<&str>) -> Result<Station> {
    let mut container = probe("main", &["serve", "80", name]);
    container["securityContext"] = json!({"capabilities": {"add": ["NET_RAW"]}});
    let mut manifest = pod(name, &json!({"containers": [container]}));
    if let Some(filter) = filter {
        manifest["metadata"]["annotations"] = json!({"podrun.io/port-filter": filter});
    }
    host.create(&manifest)?;
    station(host, name)
}

fn victim(host: &Host, ports: &Value) -> Result<Station> {
    let mut container = probe("main", &["serve", "80", "victim"]);
    container["ports"] = ports.clone();
    host.create(&pod("victim", &json!({"containers": [container]})))?;
    station(host, "victim")
}

fn station(host: &Host, name: &str) -> Result<Station> {
    let addresses = addresses_of(host, name)?;
    let (v4, v6) = (addresses[0].parse()?, addresses[1].parse::<Ipv6Addr>()?);
    let text = read(host, name, "/sys/class/net/eth0/address")?;
    let mac: Vec<u8> =
        text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, v6.segments()[7]);
    Ok(Station { mac: mac.try_into().ok().context("six bytes")?, v4, v6, local })
}

fn read(host: &Host, pod: &str, path: &str) -> Result<String> {
    host.podrun(&["exec", pod, "--", "/probe", "read", path])?.ok()
}

fn send(host: &Host, from: &str, what: &[Vec<u8>]) -> Result<()> {
    let hexadecimal: Vec<String> = what.iter().map(|frame| frames::hexadecimal(frame)).collect();
    let mut command = vec!["exec", from, "--", "/probe", "send", "eth0"];
    command.extend(hexadecimal.iter().map(String::as_str));
    ensure!(host.podrun(&command)?.ok()? == "sent\n", "the attack did not take place");
    Ok(())
}

/// Runs `ip` and its kin in a pod's network.
fn in_pod(host: &Host, pod: &str, program: &[&str]) -> Result<String> {
    let table = host.podrun(&["ns", pod])?.ok()?;
    let is_container = |line: &&str| line.starts_with(pod) && !line.contains("(monitor)");
    let row = table.lines().find(is_container).context("a row")?;
    let pid = row.split_whitespace().nth(1).context("a pid")?;
    host.run("nsenter", &[&["--target", pid, "--net"], program].concat())?.ok()
}

fn delete_all(host: &Host) -> Result<()> {
    host.podrun(&["delete", "pods", "--all", "--now"])?.ok()?;
    Ok(())
}

type Frames = Vec<(&'static str, Vec<u8>)>;

/// What `own` may say to `to`.
fn honest(own: &Station, to: &Station) -> Frames {
    let v6 = |payload: Vec<u8>| frame(to.mac, own.mac, IPV6, &payload);
    let icmpv6 = |kind, rest: Vec<u8>| v6(frames::icmpv6_packet(own.v6, GROUP.v6, kind, &rest));
    let report = frames::icmpv6(own.local, GROUP.v6, 143, &[0; 4]);
    vec![
        ("IPv4", frame(to.mac, own.mac, IPV4, &frames::datagram(own.v4.into(), GROUP.v4.into()))),
        ("IPv6", v6(frames::datagram(own.v6.into(), GROUP.v6.into()))),
        ("IPv6 on the link", v6(frames::datagram(own.local.into(), GROUP.v6.into()))),
        ("ARP", frame(to.mac, own.mac, ARP, &frames::arp_reply(own.mac, own.v4, (to.mac, to.v4)))),
        ("an echo", icmpv6(128, vec![0, 1, 0, 1])),
        ("a question", icmpv6(135, frames::solicitation(STRANGER.v6, None))),
        ("a question with the MAC", icmpv6(135, frames::solicitation(STRANGER.v6, Some(own.mac)))),
        ("an answer", icmpv6(136, frames::advertisement(own.v6, None))),
        ("an answer with the MAC", icmpv6(136, frames::advertisement(own.v6, Some(own.mac)))),
        ("an answer on the link", icmpv6(136, frames::advertisement(own.local, Some(own.mac)))),
        ("MLD", v6(frames::ipv6(own.local, GROUP.v6, &[(0, frames::no_options())], 58, &report))),
        (
            "a later fragment",
            v6(frames::ipv6(own.v6, GROUP.v6, &[(44, frames::fragment(8, false))], 17, &[0; 8])),
        ),
    ]
}

/// What `own` may not say to `to`: sources.
fn foreign(own: &Station, to: &Station) -> Frames {
    let v4 = |mac, from: Ipv4Addr| frame(to.mac, mac, IPV4, &frames::datagram(from.into(), GROUP.v4.into()));
    let v6 = |mac, from: Ipv6Addr| frame(to.mac, mac, IPV6, &frames::datagram(from.into(), GROUP.v6.into()));
    let arp = |mac, at, who| frame(to.mac, mac, ARP, &frames::arp_reply(at, who, (to.mac, to.v4)));
    let mut other_hardware = arp(own.mac, own.mac, own.v4);
    other_hardware[15] = 6;
    vec![
        ("IPv4 of a stranger", v4(own.mac, STRANGER.v4)),
        ("IPv4 of the gateway", v4(own.mac, GATEWAY.v4)),
        ("IPv4 of the victim", v4(own.mac, to.v4)),
        ("IPv4 of nobody", v4(own.mac, Ipv4Addr::UNSPECIFIED)),
        ("IPv4 at another MAC", v4(STRANGER.mac, own.v4)),
        ("IPv6 of a stranger", v6(own.mac, STRANGER.v6)),
        ("IPv6 of the gateway", v6(own.mac, GATEWAY.v6)),
        ("IPv6 of the gateway on the link", v6(own.mac, GATEWAY.local)),
        ("IPv6 of nobody", v6(own.mac, Ipv6Addr::UNSPECIFIED)),
        ("IPv6 at another MAC", v6(STRANGER.mac, own.v6)),
        ("ARP for the gateway", arp(own.mac, own.mac, GATEWAY.v4)),
        ("ARP at another's MAC", arp(own.mac, to.mac, own.v4)),
        ("ARP by another's MAC", arp(STRANGER.mac, own.mac, own.v4)),
        ("ARP of nobody", arp(own.mac, own.mac, Ipv4Addr::UNSPECIFIED)),
        ("ARP of other hardware", other_hardware),
    ]
}

/// What `own` may not say to `to`: of neighbours and routers.
fn discovery(own: &Station, to: &Station) -> Frames {
    let v6 = |payload: Vec<u8>| frame(to.mac, own.mac, IPV6, &payload);
    let icmpv6 = |kind, rest: &[u8]| v6(frames::icmpv6_packet(own.v6, GROUP.v6, kind, rest));
    let (all, router) = frames::router_advertisement(own.local);
    let behind = |headers: &[(u8, Vec<u8>)]| v6(frames::ipv6(own.local, all, headers, 58, &router));
    let (options, whole) = (frames::no_options, frames::fragment(0, false));
    let two_options =
        [frames::advertisement(own.v6, None), vec![14, 1, 0, 0, 0, 0, 0, 0], vec![2, 1], to.mac.to_vec()];
    vec![
        ("an answer for the gateway", icmpv6(136, &frames::advertisement(GATEWAY.v6, Some(own.mac)))),
        ("an answer for the gateway without a MAC", icmpv6(136, &frames::advertisement(GATEWAY.v6, None))),
        ("an answer with another's MAC", icmpv6(136, &frames::advertisement(own.v6, Some(to.mac)))),
        ("an answer with an option before", icmpv6(136, &two_options.concat())),
        ("a question with another's MAC", icmpv6(135, &frames::solicitation(STRANGER.v6, Some(GATEWAY.mac)))),
        ("a router's question", icmpv6(133, &[0; 4])),
        ("a redirect", icmpv6(137, &[[0; 4].as_slice(), &own.v6.octets(), &STRANGER.v6.octets()].concat())),
        ("a router", behind(&[])),
        ("a router behind options", behind(&[(0, options())])),
        ("a router behind more options", behind(&[(0, options()), (60, options()), (60, options())])),
        ("a router in one fragment", behind(&[(44, whole.clone())])),
        ("a router in a later fragment", behind(&[(44, frames::fragment(8, false))])),
        (
            "a header at a fragment's end",
            v6(frames::ipv6(own.v6, GROUP.v6, &[(44, frames::fragment(0, true)), (60, options())], 58, &[])),
        ),
        (
            "options in a later fragment",
            v6(frames::ipv6(
                own.v6,
                GROUP.v6,
                &[(44, frames::fragment(8, false)), (60, options())],
                58,
                &[0; 8],
            )),
        ),
    ]
}

/// What `own` may not say to `to`: other protocols.
fn protocols(own: &Station, to: &Station) -> Frames {
    let honest = frames::datagram(own.v4.into(), GROUP.v4.into());
    let tagged = |tags: &[(u16, u16)]| frames::tagged(to.mac, own.mac, tags, IPV4, &honest);
    let (_, router) = frames::router_advertisement(own.local);
    let router = frames::ipv6(own.local, GROUP.v6, &[], 58, &router);
    vec![
        ("the tag of no VLAN", tagged(&[(0x8100, 0)])),
        ("a VLAN", tagged(&[(0x8100, 5)])),
        ("a provider's VLAN", tagged(&[(0x88a8, 0)])),
        ("two VLANs", tagged(&[(0x88a8, 5), (0x8100, 6)])),
        ("a router in a VLAN", frames::tagged(to.mac, own.mac, &[(0x8100, 0)], IPV6, &router)),
        ("another protocol", frame(to.mac, own.mac, 0x88b5, &[0; 46])),
        ("RARP", frame(to.mac, own.mac, 0x8035, &[0; 28])),
        ("a spanning tree", frame(to.mac, own.mac, 38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0])),
    ]
}

fn forged(own: &Station, to: &Station) -> Frames {
    [foreign(own, to), discovery(own, to), protocols(own, to)].concat()
}

/// Counts the frames that come to the victim's MAC; what goes to groups, as others' reports do, is none of ours.
fn count_received(host: &Host, to: &Station) -> Result<()> {
    let chain = "add chain netdev seen in { type filter hook ingress device eth0 priority 0; }";
    let rule = format!("add rule netdev seen in ether daddr {} counter", hardware(to.mac));
    let rules = format!("add table netdev seen; {chain}; {rule}");
    in_pod(host, "victim", &["nft", &rules]).map(drop)
}

fn received(host: &Host) -> Result<u64> {
    let listed = in_pod(host, "victim", &["nft", "list", "chain", "netdev", "seen", "in"])?;
    let (_, after) = listed.split_once("counter packets ").context("a counter")?;
    Ok(after.split_whitespace().next().context("a number")?.parse()?)
}

/// Sends one after the other and says what did not come as it should. The victim hears of nothing else meanwhile; behind each
/// goes an honest one, which shows that it has had its time.
fn arrive(host: &Host, from: &str, own: &Station, to: &Station, what: Frames, passes: bool) -> Result<()> {
    let marker = frame(to.mac, own.mac, IPV4, &frames::datagram(own.v4.into(), GROUP.v4.into()));
    let mut wrong = Vec::new();
    let mut before = received(host)?;
    for (name, frame) in what {
        send(host, from, &[frame, marker.clone()])?;
        let least = before + 1 + u64::from(passes);
        let came = wait_for("the honest one behind it", || {
            received(host).and_then(|came| if came < least { bail!("{name}: {came}") } else { Ok(came) })
        });
        match came {
            Ok(came) if came == least => before = came,
            came => {
                wrong.push(name);
                before = came.or_else(|_| received(host))?;
            }
        }
    }
    ensure!(wrong.is_empty(), "{} {wrong:?}", if passes { "these did not come:" } else { "these came:" });
    Ok(())
}

/// Lets bridged frames past the host's own rules, which would put fragments together first. Gives back what was.
fn set_bridge_netfilter(host: &Host, value: &str) -> Result<()> {
    let script = format!(
        "for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $f ] || echo {value} >$f; done"
    );
    host.run("sh", &["-ec", &script])?.ok()?;
    Ok(())
}

fn ports(host: &Host) -> Result<()> {
    let netfilter =
        host.run("sh", &["-c", "cat /proc/sys/net/bridge/bridge-nf-call-iptables || echo 0"])?.ok()?;
    set_bridge_netfilter(host, "0")?;
    let to = victim(host, &json!([]))?;
    count_received(host, &to)?;
    let own = attacker(host, "attacker", None)?;
    arrive(host, "attacker", &own, &to, honest(&own, &to), true)?;
    arrive(host, "attacker", &own, &to, forged(&own, &to), false)?;
    // Opened, its frames come as they are: what held them up was the filter. The other's are still held up.
    let open = attacker(host, "open", Some("off"))?;
    arrive(host, "open", &open, &to, forged(&open, &to), true)?;
    arrive(host, "attacker", &own, &to, foreign(&own, &to), false)?;
    // Who has been put on the bridge by hand is nobody's pod.
    let by_hand =
        "ip link add lab0 type veth peer name lab1; ip link set lab0 master podrun0 up; ip link set lab1 up";
    host.run("sh", &["-ec", by_hand])?.ok()?;
    let before = received(host)?;
    let program = std::env::current_exe()?;
    let program = program.parent().and_then(std::path::Path::parent).context("target")?.join("probe");
    let stranger = frame(to.mac, STRANGER.mac, IPV4, &frames::datagram(STRANGER.v4.into(), GROUP.v4.into()));
    if program.exists() {
        host.start_program(&program, &["send", "lab1", &frames::hexadecimal(&stranger)])?.wait()?.ok()?;
        wait_for("a stranger's frame", || {
            ensure!(received(host)? > before, "it has not come");
            Ok(())
        })?;
    }
    host.run("ip", &["link", "delete", "lab0"])?.ok()?;
    // Somebody flushes the host's rules: the next pod makes them anew, for all.
    host.run("nft", &["flush", "ruleset"])?.ok()?;
    attacker(host, "later", None)?;
    arrive(host, "attacker", &own, &to, foreign(&own, &to), false)?;
    arrive(host, "attacker", &own, &to, honest(&own, &to), true)?;
    delete_all(host)?;
    // By the host's config.
    std::fs::write(host.config_file(), "network:\n  idleSeconds: 0\n  portFilter: false\n")?;
    let to = victim(host, &json!([]))?;
    count_received(host, &to)?;
    let own = attacker(host, "attacker", None)?;
    arrive(host, "attacker", &own, &to, foreign(&own, &to), true)?;
    let rules = host.run("nft", &["list", "tables", "bridge"])?.ok()?;
    ensure!(rules.is_empty(), "{rules}");
    delete_all(host)?;
    set_bridge_netfilter(host, netfilter.trim())
}

/// What advertisements change: addresses, routes, sizes.
const LEARNED: &str = "ip -6 address; ip -6 route show table all; \
    for f in /proc/sys/net/ipv6/conf/*/mtu /proc/sys/net/ipv6/conf/*/hop_limit; do echo $f $(cat $f); done";

fn advertisements(host: &Host) -> Result<()> {
    let to = victim(host, &json!([]))?;
    for (name, filter) in [("attacker", None), ("open", Some("off"))] {
        let own = attacker(host, name, filter)?;
        let seen = || -> Result<[String; 2]> {
            let on_host = host.run("sh", &["-c", LEARNED])?.ok()?;
            Ok([on_host, in_pod(host, "victim", &["sh", "-c", LEARNED])?])
        };
        let before = seen()?;
        let (all, router) = frames::router_advertisement(own.local);
        let packet = frames::ipv6(own.local, all, &[], 58, &router);
        let frames = [ALL_NODES, BROADCAST, LLDP, GATEWAY.mac].map(|to| frame(to, own.mac, IPV6, &packet));
        send(host, name, &frames)?;
        host.podrun(&["exec", name, "--", "/probe", "get", &to.v4.to_string(), "80"])?.ok()?;
        let after = seen()?;
        for (who, before, after) in [("host", &before[0], &after[0]), ("victim", &before[1], &after[1])] {
            ensure!(after == before, "{name}: the {who} has learned:\n{}", changes(before, after));
        }
    }
    delete_all(host)
}

fn changes(before: &str, after: &str) -> String {
    let new = after.lines().filter(|line| !before.lines().any(|old| old == *line));
    new.collect::<Vec<_>>().join("\n")
}

fn redirects(host: &Host) -> Result<()> {
    let to = victim(host, &json!([]))?;
    for (name, filter) in [("attacker", None), ("open", Some("off"))] {
        let own = attacker(host, name, filter)?;
        // The victim knows where the attacker is, as a redirect takes it to.
        host.podrun(&["exec", name, "--", "/probe", "get", &to.v4.to_string(), "80"])?.ok()?;
        let before = in_pod(host, "victim", &["ip", "route", "get", "203.0.113.9"])?;
        // Whatever it answers to an echo has no socket that it would have to fit.
        let inner = frames::ipv4(to.v4, Ipv4Addr::new(203, 0, 113, 9), 1, &[0; 8]);
        let mut message = [&[5, 1, 0, 0][..], &own.v4.octets(), &inner].concat();
        let own_checksum = frames::internet_checksum(&message);
        message[2..4].copy_from_slice(&own_checksum);
        let packet = frames::ipv4(GATEWAY.v4, to.v4, 1, &message);
        let redirect = frame(to.mac, own.mac, IPV4, &packet);
        send(host, name, &[redirect.clone(), redirect])?;
        host.podrun(&["exec", name, "--", "/probe", "get", &to.v4.to_string(), "80"])?.ok()?;
        let after = in_pod(host, "victim", &["ip", "route", "get", "203.0.113.9"])?;
        ensure!(after == before && after.contains("via 10.87.0.1"), "{name}: {after}");
    }
    delete_all(host)
}

fn hardware(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn neighbours(host: &Host) -> Result<()> {
    let to = victim(host, &json!([{"containerPort": 80, "hostPort": 8080}]))?;
    let own = attacker(host, "attacker", None)?;
    // All know each other; and the kernel believes whoever speaks last, not only after a second.
    for address in [GATEWAY.v4.to_string(), GATEWAY.v6.to_string()] {
        host.podrun(&["exec", "victim", "--", "/probe", "connect", &address, "1"])?.ok()?;
    }
    ask_host(host, "127.0.0.1", 8080)?;
    host.run("sysctl", &["-qw", "net.ipv4.neigh.podrun0.locktime=0"])?.ok()?;
    in_pod(host, "victim", &["sysctl", "-qw", "net.ipv4.neigh.eth0.locktime=0"])?;
    let mut lies = Vec::new();
    for (to, who) in [(to, GATEWAY), (GATEWAY, to)] {
        lies.push(frame(to.mac, own.mac, ARP, &frames::arp_reply(own.mac, who.v4, (to.mac, to.v4))));
        lies.push(frame(to.mac, who.mac, ARP, &frames::arp_reply(own.mac, who.v4, (to.mac, to.v4))));
        for from in [own.v6, own.local, who.v6] {
            let answer = frames::advertisement(who.v6, Some(own.mac));
            lies.push(frame(to.mac, own.mac, IPV6, &frames::icmpv6_packet(from, to.v6, 136, &answer)));
            let question = frames::solicitation(to.v6, Some(own.mac));
            lies.push(frame(to.mac, own.mac, IPV6, &frames::icmpv6_packet(from, to.v6, 135, &question)));
        }
    }
    // Frames by which a bridge learns where a MAC is.
    for at in [BROADCAST, LLDP] {
        lies.push(frame(at, to.mac, IPV4, &frames::datagram(to.v4.into(), GATEWAY.v4.into())));
    }
    send(host, "attacker", &lies)?;
    // The victim is not asked: its answer would put right what the bridge knows of it.
    host.podrun(&["exec", "attacker", "--", "/probe", "connect", &GATEWAY.v4.to_string(), "1"])?.ok()?;
    let places = host.run("bridge", &["fdb", "show", "br", "podrun0"])?.ok()?;
    let links = host.run("ip", &["-o", "link", "show", "type", "veth"])?.ok()?;
    let learned =
        places.lines().find(|line| line.starts_with(&hardware(to.mac))).context("the victim's MAC")?;
    let link = learned.split_whitespace().nth(2).context("a link")?;
    // The victim was there first, and so was its link.
    ensure!(links.lines().next().is_some_and(|line| line.contains(link)), "{learned}: {links}");
    for address in [to.v4.to_string(), to.v6.to_string()] {
        let found = host.run("ip", &["neigh", "show", &address, "dev", "podrun0"])?.ok()?;
        ensure!(
            found.is_empty() || found.contains(&hardware(to.mac)),
            "the host takes for the victim: {found}"
        );
    }
    for address in [GATEWAY.v4.to_string(), GATEWAY.v6.to_string()] {
        let found = in_pod(host, "victim", &["ip", "neigh", "show", &address, "dev", "eth0"])?;
        ensure!(found.contains(&hardware(GATEWAY.mac)), "the victim takes for its gateway: {found}");
    }
    ensure!(ask_host(host, "127.0.0.1", 8080)?.contains("victim"), "another answers at the victim's port");
    delete_all(host)
}

/// Another machine, with a link of its own to the host.
const ELSEWHERE: &str = "ip netns add elsewhere
ip link add uplink type veth peer name eth0 netns elsewhere
ip address add 192.0.2.1/24 dev uplink
ip address add 2001:db8:2::1/64 dev uplink nodad
ip link set uplink up
ip -n elsewhere address add 192.0.2.2/24 dev eth0
ip -n elsewhere address add 2001:db8:2::2/64 dev eth0 nodad
ip -n elsewhere link set eth0 up
ip -n elsewhere link set lo up";
const NOT_ELSEWHERE: &str =
    "ip netns del elsewhere; umount /run/netns; rmdir /run/netns; ip link del uplink 2>/dev/null; :";

/// How many datagrams have come to the other machine, of each family.
fn came(host: &Host) -> Result<[u64; 2]> {
    let count = |file: &str, pattern: &str| -> Result<u64> {
        let script = format!("awk '{pattern}' /proc/net/{file}");
        Ok(host.run("ip", &["netns", "exec", "elsewhere", "sh", "-c", &script])?.ok()?.trim().parse()?)
    };
    Ok([count("snmp", "/^Udp: [0-9]/ { print $3 }")?, count("snmp6", "$1 == \"Udp6NoPorts\" { print $2 }")?])
}

fn foreign_sources(host: &Host) -> Result<()> {
    host.run("sh", &["-ec", ELSEWHERE])?.ok()?;
    let to: [IpAddr; 2] = [Ipv4Addr::new(192, 0, 2, 2).into(), "2001:db8:2::2".parse()?];
    for (name, filter, expected) in [("attacker", None, 1), ("open", Some("off"), 2)] {
        let own = attacker(host, name, filter)?;
        let packet = |from: IpAddr, to| {
            let kind = if from.is_ipv4() { IPV4 } else { IPV6 };
            frame(GATEWAY.mac, own.mac, kind, &frames::datagram(from, to))
        };
        let before = came(host)?;
        let foreign = [packet(STRANGER.v4.into(), to[0]), packet(STRANGER.v6.into(), to[1])];
        let honest = [packet(own.v4.into(), to[0]), packet(own.v6.into(), to[1])];
        send(host, name, &[foreign, honest].concat())?;
        wait_for("the honest ones", || {
            let now = came(host)?;
            ensure!(now >= before.map(|count| count + expected), "{now:?} after {before:?}");
            Ok(())
        })?;
        ensure!(
            came(host)? == before.map(|count| count + expected),
            "{name}: foreign addresses have left the host"
        );
    }
    delete_all(host)?;
    host.run("sh", &["-c", NOT_ELSEWHERE])?.ok()?;
    Ok(())
}

fn loopback_ports(host: &Host) -> Result<()> {
    host.run("sh", &["-ec", ELSEWHERE])?.ok()?;
    // A machine whose 127.0.0.0/8 is this host.
    let routed = "ip -n elsewhere address del 127.0.0.1/8 dev lo
        ip -n elsewhere route add 127.0.0.0/8 via 192.0.2.1
        ip netns exec elsewhere sysctl -qw net.ipv4.conf.all.route_localnet=1";
    host.run("sh", &["-ec", routed])?.ok()?;
    victim(
        host,
        &json!([{"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}, {"containerPort": 80, "hostPort": 8081}]),
    )?;
    for port in [8080, 8081] {
        ensure!(ask_host(host, "127.0.0.1", port)?.contains("victim"), "the host itself is answered");
    }
    let from_elsewhere = |address: &str, port: u16| {
        let connect = format!("exec 3<>/dev/tcp/{address}/{port}");
        host.run("ip", &["netns", "exec", "elsewhere", "timeout", "2", "bash", "-c", &connect])
    };
    from_elsewhere("192.0.2.1", 8081)?.ok()?;
    for port in [8080, 8081] {
        ensure!(!from_elsewhere("127.0.0.1", port)?.status.success(), "a neighbour reaches 127.0.0.1:{port}");
    }
    delete_all(host)?;
    host.run("sh", &["-c", NOT_ELSEWHERE])?.ok()?;
    Ok(())
}
