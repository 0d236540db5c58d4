//! The bridge network on the real kernel. Each test has a host of its own: a thread in a fresh
//! network namespace, with a state dir in a temporary folder. Pods are threads or processes in theirs.
#![expect(clippy::unwrap_used, reason = "these are tests, though their harness is not libtest's")]

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sched::{CloneFlags, unshare};
use runtime::host::{Host, NetworkConfig};
use runtime::net::{self, HostSockets, Idle, NetworkAttachment, Owner, PortFilter, PortMap, Protocol};

const PATIENCE: Duration = Duration::from_secs(2);

type Outcome = Result<(), Failed>;
type Test = fn(&TestHost) -> Outcome;
type Order = Box<dyn FnOnce(&mut HostSockets) + Send>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, state_dir, id, rest @ ..] = &arguments[..]
        && mode == "--pod"
    {
        return pod_process(state_dir, id, rest.first().map(|port| port.parse().unwrap()));
    }
    let root = nix::unistd::geteuid().is_root();
    let tests: [(&str, Test); 15] = [
        ("pods_reach_each_other_and_the_host", pods_reach_each_other_and_the_host),
        ("first_packets_are_not_lost", first_packets_are_not_lost),
        ("beyond_sees_the_host", beyond_sees_the_host),
        ("host_port_leads_to_the_pod_from_everywhere", host_port_leads_to_the_pod_from_everywhere),
        ("host_port_of_one_address_is_no_other", host_port_of_one_address_is_no_other),
        ("taken_port_is_refused_with_its_holder", taken_port_is_refused_with_its_holder),
        ("pod_does_not_reach_the_hosts_loopback", pod_does_not_reach_the_hosts_loopback),
        ("host_is_as_before", host_is_as_before),
        ("settings_of_the_host_are_given_back", settings_of_the_host_are_given_back),
        ("last_of_two_networks_gives_settings_back", last_of_two_networks_gives_settings_back),
        ("killed_pod_leaves_what_detach_takes", killed_pod_leaves_what_detach_takes),
        ("two_hundred_times", two_hundred_times),
        ("sixteen_processes_at_once", sixteen_processes_at_once),
        ("pool_is_used_up_and_comes_back", pool_is_used_up_and_comes_back),
        ("foreign_bridge_and_subnet_are_refused", foreign_bridge_and_subnet_are_refused),
    ];
    let trials = tests
        .map(|(name, test)| Trial::test(name, move || on_a_host_of_its_own(test)).with_ignored_flag(!root));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

struct TestHost {
    _folder: tempfile::TempDir,
    host: Host,
}

fn on_a_host_of_its_own(test: Test) -> Outcome {
    let outcome = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        // A new one takes it from the machine's.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
        ip("link set lo up");
        let folder = tempfile::tempdir()?;
        let network = NetworkConfig { idle_seconds: 0, ..NetworkConfig::default() };
        let host = Host { state_dir: folder.path().join("run"), network, ..Host::default() };
        test(&TestHost { _folder: folder, host })
    });
    outcome.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "panicked".into()).into())
    })
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn id(number: u32) -> String {
    format!("{number:012x}").repeat(6)[..64].to_string()
}

/// Makes the pod's folder in the state dir: as long as that is there its lease is its own.
fn make_folder(host: &Host, id: &str) {
    std::fs::create_dir_all(host.pod_state_dir(id)).unwrap();
}

/// Removes it, with the folder of all for the last one.
fn remove_folder(host: &Host, id: &str) {
    let _ = std::fs::remove_dir(host.pod_state_dir(id));
    let _ = std::fs::remove_dir(host.state_dir.join("pods"));
}

/// A pod's namespace: a thread that runs what it is told to.
struct Pod {
    id: String,
    attachment: NetworkAttachment,
    work: Option<mpsc::Sender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
    host: Host,
}

impl Pod {
    fn start(test: &TestHost, number: u32, ports: &[PortMap]) -> runtime::Result<Self> {
        let (ready, attached) = mpsc::channel();
        let (work, orders) = mpsc::channel::<Order>();
        let (host, ports) = (test.host.clone(), ports.to_vec());
        let own = id(number);
        make_folder(&host, &own);
        let thread = thread::spawn(move || {
            let (id, name) = (id(number), format!("default/pod{number}"));
            let mut sockets = match HostSockets::open(&host) {
                Ok(sockets) => sockets,
                Err(error) => return ready.send(Err(error)).unwrap(),
            };
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let attached =
                net::attach(&mut sockets, &host, Owner { id: &id, name: &name }, &ports, PortFilter::On);
            let alive = attached.is_ok();
            ready.send(attached).unwrap();
            while let Some(order) = alive.then(|| orders.recv().ok()).flatten() {
                order(&mut sockets);
            }
        });
        let attachment = attached.recv().unwrap().inspect_err(|_| remove_folder(&test.host, &own))?;
        Ok(Self { id: own, attachment, work: Some(work), thread: Some(thread), host: test.host.clone() })
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut HostSockets) -> T + Send + 'static) -> T {
        let (give, take) = mpsc::channel();
        let order: Order = Box::new(move |sockets: &mut HostSockets| drop(give.send(work(sockets))));
        self.work.as_ref().unwrap().send(order).unwrap();
        take.recv().expect("the work does not panic")
    }

    fn ip(&self, v4: bool) -> IpAddr {
        self.attachment.ips().into_iter().find(|ip| ip.is_ipv4() == v4).unwrap()
    }

    /// Serves TCP on `port`: tells each client who it is.
    fn serve(&self, port: u16) {
        self.run(move |_| serve(("::", port)));
    }

    fn dial(&self, to: impl Into<IpAddr>, port: u16) -> io::Result<IpAddr> {
        let to = to.into();
        self.run(move |_| dial(to, port))
    }

    fn detach(&self) {
        let (host, attachment) = (self.host.clone(), self.attachment.clone());
        self.run(move |sockets| net::detach(sockets, &host, &attachment)).unwrap();
        remove_folder(&self.host, &self.id);
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.work.take();
        self.thread.take().unwrap().join().unwrap();
        remove_folder(&self.host, &self.id);
    }
}

fn serve(address: (&str, u16)) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let peer = client.peer_addr().unwrap().ip().to_canonical();
            let _ = client.write_all(peer.to_string().as_bytes());
        }
    });
}

/// Connects, and hears who we are to the other side.
fn dial(to: IpAddr, port: u16) -> io::Result<IpAddr> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, port), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    answer.parse().map_err(|_| io::Error::other(format!("answer {answer:?}")))
}

fn localhost(v4: bool) -> IpAddr {
    if v4 { IpAddr::from([127, 0, 0, 1]) } else { "::1".parse().unwrap() }
}

fn tcp(host_port: u16, container_port: u16) -> PortMap {
    PortMap { host_ip: None, host_port, container_port, protocol: Protocol::Tcp }
}

/// All that a test can see of its host.
fn picture(test: &TestHost) -> String {
    let mut picture = ip("-o link") + &ip("-o addr") + &ip("route") + &ip("-6 route");
    for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/default/force_forwarding"] {
        let value = std::fs::read_to_string(Path::new("/proc/sys/net").join(name)).unwrap_or_default();
        picture += &format!("{name} {value}");
    }
    let files = std::fs::read_dir(&test.host.state_dir).into_iter().flatten().flatten();
    files.fold(picture, |picture, file| format!("{picture}{:?}\n", file.path()))
}

/// Waits until the pods' links have followed their namespaces.
fn wait_for_links_to_go() {
    let deadline = Instant::now() + Duration::from_secs(10);
    while ip("-o link").contains(" pr") && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
}

fn remove_bridge(test: &TestHost) -> Idle {
    net::remove_idle_bridge(&mut HostSockets::open(&test.host).unwrap(), &test.host).unwrap()
}

fn pods_reach_each_other_and_the_host(test: &TestHost) -> Outcome {
    let (one, two) = (Pod::start(test, 1, &[])?, Pod::start(test, 2, &[])?);
    one.serve(80);
    serve(("::", 81));
    for v4 in [true, false] {
        assert_eq!(two.dial(one.ip(v4), 80)?, two.ip(v4));
        assert_eq!(one.dial(one.ip(v4), 80)?, one.ip(v4));
        assert_eq!(one.dial(localhost(v4), 80)?, localhost(v4));
        let gateway = one.attachment.gateways[usize::from(!v4)];
        assert_eq!(dial(one.ip(v4), 80)?, gateway);
        assert_eq!(one.dial(gateway, 81)?, one.ip(v4));
    }
    assert!(dial(localhost(true), 80).is_err(), "the host's own loopback is another");
    assert_eq!(one.attachment.ips()[0].to_string(), "10.87.0.2");
    assert_eq!(one.attachment.mac, "0a:58:0a:57:00:02");
    Ok(())
}

fn first_packets_are_not_lost(test: &TestHost) -> Outcome {
    serve(("0.0.0.0", 81));
    for number in 0..40 {
        let pod = Pod::start(test, number, &[])?;
        let gateway = pod.attachment.gateways[0];
        let took = pod.run(move |_| {
            let start = Instant::now();
            dial(gateway, 81).map(|_| start.elapsed())
        })?;
        assert!(took < Duration::from_millis(500), "pod {number} waited {took:?}");
        pod.detach();
    }
    Ok(())
}

/// A network beyond the host, which knows no way to the pods: serves TCP on port 82.
fn beyond() -> mpsc::Sender<()> {
    let (give, take) = mpsc::channel();
    let (stay, stop) = mpsc::channel::<()>();
    let (linked, wait) = mpsc::channel::<()>();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        give.send(nix::unistd::gettid()).unwrap();
        wait.recv().unwrap();
        ip("link set up1 up");
        ip("addr add 203.0.113.2/24 dev up1");
        ip("addr add 2001:db8::2/64 dev up1 nodad");
        serve(("::", 82));
        give.send(nix::unistd::gettid()).unwrap();
        let _ = stop.recv();
    });
    ip(&format!("link add up0 type veth peer name up1 netns {}", take.recv().unwrap()));
    ip("link set up0 up");
    ip("addr add 203.0.113.1/24 dev up0");
    ip("addr add 2001:db8::1/64 dev up0 nodad");
    linked.send(()).unwrap();
    take.recv().unwrap();
    stay
}

fn beyond_sees_the_host(test: &TestHost) -> Outcome {
    let _beyond = beyond();
    let pod = Pod::start(test, 1, &[])?;
    assert_eq!(pod.dial([203, 0, 113, 2], 82)?.to_string(), "203.0.113.1");
    let v6: IpAddr = "2001:db8::2".parse()?;
    assert_eq!(pod.dial(v6, 82)?.to_string(), "2001:db8::1");
    Ok(())
}

fn host_port_leads_to_the_pod_from_everywhere(test: &TestHost) -> Outcome {
    ip("addr add 192.0.2.1/32 dev lo");
    ip("addr add 2001:db8:1::1/128 dev lo");
    let udp = PortMap { protocol: Protocol::Udp, ..tcp(8053, 53) };
    let sctp = PortMap { protocol: Protocol::Sctp, ..tcp(8054, 54) };
    let pod = Pod::start(test, 1, &[tcp(8080, 80), udp, sctp])?;
    let other = Pod::start(test, 2, &[])?;
    pod.serve(80);
    let addresses = ["127.0.0.1", "127.0.0.5", "192.0.2.1", "10.87.0.1", "2001:db8:1::1", "fd10:87::1"];
    for address in addresses {
        let to: IpAddr = address.parse()?;
        dial(to, 8080).map_err(|error| format!("from the host to {to}: {error}"))?;
        if !to.is_loopback() {
            pod.dial(to, 8080).map_err(|error| format!("from the pod itself to {to}: {error}"))?;
            other.dial(to, 8080).map_err(|error| format!("from another pod to {to}: {error}"))?;
        }
    }
    let refused = dial(localhost(false), 8080).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "a client tries 127.0.0.1 at once");
    pod.run(|_| {
        let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 16];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        });
    });
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    for to in ["127.0.0.1:8053", "192.0.2.1:8053"] {
        socket.send_to(b"hello", to)?;
        let mut buffer = [0; 16];
        let (length, from) = socket.recv_from(&mut buffer).map_err(|error| format!("udp {to}: {error}"))?;
        assert_eq!((&buffer[..length], from.to_string().as_str()), (&b"hello"[..], to));
    }
    assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "nobody else may listen on a pod's port");
    pod.detach();
    assert!(dial(localhost(true), 8080).is_err(), "a detached pod's port leads nowhere");
    TcpListener::bind("0.0.0.0:8080")?;
    Ok(())
}

fn host_port_of_one_address_is_no_other(test: &TestHost) -> Outcome {
    ip("addr add 192.0.2.1/32 dev lo");
    let on = |ip: [u8; 4]| PortMap { host_ip: Some(ip.into()), ..tcp(8080, 80) };
    let one = Pod::start(test, 1, &[on([127, 0, 0, 1])])?;
    let two = Pod::start(test, 2, &[on([192, 0, 2, 1])])?;
    one.serve(80);
    dial(localhost(true), 8080)?;
    assert!(dial([192, 0, 2, 1].into(), 8080).is_err(), "nobody serves in the other pod");
    two.serve(80);
    dial([192, 0, 2, 1].into(), 8080)?;
    assert!(one.dial([10, 87, 0, 1], 8080).is_err());
    Ok(())
}

fn taken_port_is_refused_with_its_holder(test: &TestHost) -> Outcome {
    let _listener = TcpListener::bind("127.0.0.1:8081")?;
    let _one = Pod::start(test, 1, &[tcp(8080, 80)])?;
    // Another pod each time: the link of one that is refused goes a moment later.
    let mut number = 1;
    let mut message = |ports: &[PortMap]| {
        number += 1;
        Pod::start(test, number, ports).err().unwrap().message().to_string()
    };
    assert_eq!(message(&[tcp(8080, 80)]), "network: host port 8080/tcp is taken by pod `default/pod1`");
    assert_eq!(message(&[tcp(8081, 80)]), "network: host port 8081/tcp is taken by a program on the host");
    let nowhere = PortMap { host_ip: Some([192, 0, 2, 9].into()), ..tcp(8082, 80) };
    let text = "network: host port 192.0.2.9:8082/tcp: the host has no such address";
    assert_eq!(message(&[nowhere]), text);
    let loopback6 = PortMap { host_ip: Some(localhost(false)), ..tcp(8083, 80) };
    assert!(message(&[loopback6]).ends_with("the kernel does not redirect IPv6's loopback to a pod"));
    Pod::start(test, 9, &[PortMap { protocol: Protocol::Udp, ..tcp(8080, 80) }])?.detach();
    Ok(())
}

fn pod_does_not_reach_the_hosts_loopback(test: &TestHost) -> Outcome {
    serve(("127.0.0.1", 83));
    let pod = Pod::start(test, 1, &[])?;
    let gateway = pod.attachment.gateways[0];
    let reached = pod.run(move |_| {
        ip("addr del 127.0.0.1/8 dev lo");
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        ip(&format!("route add 127.0.0.0/8 via {gateway}"));
        TcpStream::connect_timeout(&SocketAddr::new(localhost(true), 83), Duration::from_millis(300)).is_ok()
    });
    assert!(!reached);
    Ok(())
}

fn host_is_as_before(test: &TestHost) -> Outcome {
    let before = picture(test);
    for _ in 0..2 {
        let pods = [Pod::start(test, 1, &[tcp(8080, 80)])?, Pod::start(test, 2, &[])?];
        assert_eq!(remove_bridge(test), Idle::Used);
        for pod in pods {
            pod.detach();
            pod.detach();
        }
        wait_for_links_to_go();
        assert_eq!(remove_bridge(test), Idle::Gone);
        assert_eq!(remove_bridge(test), Idle::Gone);
        assert_eq!(picture(test), before);
    }
    Ok(())
}

/// What an owner has set of an interface stays, and one that comes while pods live ends as it would have begun.
fn settings_of_the_host_are_given_back(test: &TestHost) -> Outcome {
    let path = |name: &str| format!("/proc/sys/net/{name}");
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap_or_default().trim().to_owned();
    std::fs::write(path("ipv4/ip_forward"), "0")?;
    ip("link add early0 type bridge");
    ip("link add early1 type bridge");
    let set = [
        ("ipv4/conf/all/accept_redirects", "0"),
        ("ipv4/conf/early0/forwarding", "1"),
        ("ipv6/conf/early0/force_forwarding", "1"),
        ("ipv6/conf/early0/accept_ra", "0"),
    ];
    for (name, value) in set.iter().filter(|(name, _)| Path::new(&path(name)).exists()) {
        std::fs::write(path(name), value)?;
    }
    let folders = ["ipv4/conf", "ipv6/conf"];
    let keys = ["forwarding", "force_forwarding", "accept_ra", "accept_redirects"];
    let all = |interfaces: &[&str]| -> Vec<String> {
        let names = interfaces.iter().flat_map(|one| keys.map(|key| format!("{one}/{key}")));
        let names = names.flat_map(|name| folders.map(|folder| format!("{folder}/{name}")));
        names.map(|name| format!("{name} {}", read(&name))).collect()
    };
    let of = ["all", "default", "early0", "early1"];
    let before = all(&of);
    let late = |values: Vec<String>| {
        values.into_iter().map(|line| line.replace("late0", "early1")).collect::<Vec<_>>()
    };
    let pod = Pod::start(test, 1, &[])?;
    ip("link add late0 type bridge");
    assert_eq!(read("ipv4/conf/late0/forwarding"), "1", "it may be the way on which an answer comes");
    // The bridge is lost and made anew: what came before that has its values of us all the same.
    ip("link del podrun0");
    let other = Pod::start(test, 2, &[])?;
    for pod in [pod, other] {
        pod.detach();
    }
    wait_for_links_to_go();
    assert_eq!(remove_bridge(test), Idle::Gone);
    assert_eq!(all(&of), before);
    assert_eq!(late(all(&["late0"])), all(&["early1"]), "what came meanwhile");
    Ok(())
}

fn killed_pod_leaves_what_detach_takes(test: &TestHost) -> Outcome {
    let before = picture(test);
    let (mut child, attachment) = spawn_pod(test, 1, Some(8080));
    assert!(TcpListener::bind("0.0.0.0:8080").is_err());
    child.kill()?;
    child.wait()?;
    TcpListener::bind("0.0.0.0:8080")?;
    let refused = Pod::start(test, 2, &[tcp(8080, 80)]).err().unwrap();
    assert!(refused.message().contains("taken by pod `default/process`"), "{refused}");
    net::detach(&mut HostSockets::open(&test.host)?, &test.host, &attachment)?;
    remove_folder(&test.host, &id(1));
    let pod = Pod::start(test, 3, &[tcp(8080, 80)])?;
    // One client and no more: a thread that went on would keep the pod's namespace.
    pod.run(|_| {
        let listener = TcpListener::bind("0.0.0.0:80").unwrap();
        thread::spawn(move || listener.accept().unwrap().0.write_all(b"127.0.0.1"));
    });
    dial(localhost(true), 8080)?;
    pod.detach();
    drop(pod);
    wait_for_links_to_go();
    assert_eq!(remove_bridge(test), Idle::Gone);
    assert_eq!(picture(test), before);
    Ok(())
}

fn two_hundred_times(test: &TestHost) -> Outcome {
    let mut last = None;
    for number in 0..200 {
        let pod = Pod::start(test, number, &[])?;
        assert_ne!(last.replace(pod.ip(true)), Some(pod.ip(true)), "addresses rotate");
        pod.detach();
    }
    wait_for_links_to_go();
    assert_eq!(remove_bridge(test), Idle::Gone);
    assert!(!ip("-o link").contains("podrun0"));
    Ok(())
}

/// A pod in a process of its own, which is attached until its stdin ends.
fn pod_process(state_dir: &str, id: &str, port: Option<u16>) {
    let host = Host { state_dir: state_dir.into(), ..Host::default() };
    let mut sockets = HostSockets::open(&host).unwrap();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    make_folder(&host, id);
    let ports: Vec<PortMap> = port.map(|port| tcp(port, 80)).into_iter().collect();
    let start = Instant::now();
    let attachment =
        net::attach(&mut sockets, &host, Owner { id, name: "default/process" }, &ports, PortFilter::On)
            .unwrap();
    eprintln!("attach {:?}", start.elapsed());
    println!("{}", serde_json::to_string(&attachment).unwrap());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let start = Instant::now();
    net::detach(&mut sockets, &host, &attachment).unwrap();
    remove_folder(&host, id);
    eprintln!("detach {:?}", start.elapsed());
}

fn spawn_pod(test: &TestHost, number: u32, port: Option<u16>) -> (Child, NetworkAttachment) {
    let mut child = spawn_pod_process(test, number, port);
    let attachment = read_attachment(&mut child);
    (child, attachment)
}

fn spawn_pod_process(test: &TestHost, number: u32, port: Option<u16>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg("--pod")
        .arg(&test.host.state_dir)
        .arg(id(number))
        .args(port.map(|port| port.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn read_attachment(child: &mut Child) -> NetworkAttachment {
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

fn sixteen_processes_at_once(test: &TestHost) -> Outcome {
    for round in 0..3 {
        let mut pods: Vec<Child> =
            (0..16).map(|number| spawn_pod_process(test, round * 16 + number, None)).collect();
        let mut ips: Vec<IpAddr> = pods.iter_mut().flat_map(|pod| read_attachment(pod).ips()).collect();
        ips.sort();
        ips.dedup();
        assert_eq!(ips.len(), 32);
        for pod in &mut pods {
            pod.stdin.take();
            assert!(pod.wait()?.success());
        }
        assert_eq!(remove_bridge(test), Idle::Gone);
    }
    Ok(())
}

fn pool_is_used_up_and_comes_back(test: &TestHost) -> Outcome {
    let mut host = test.host.clone();
    // Its addresses are more than a signed number of 32 bits holds, which a link's group is to the kernel.
    host.network.subnet = "192.168.9.8/29".into();
    let test = TestHost { _folder: tempfile::tempdir()?, host };
    let mut pods = Vec::new();
    for number in 0..5 {
        pods.push(Pod::start(&test, number, &[])?);
    }
    pods[0].serve(80);
    assert_eq!(pods[4].dial(pods[0].ip(true), 80)?, pods[4].ip(true));
    let error = Pod::start(&test, 5, &[]).err().unwrap();
    assert_eq!(error.message(), "network: no address is free in the pods' subnet 192.168.9.8/29");
    let gone = pods.remove(1);
    let ip = gone.ip(true);
    gone.detach();
    drop(gone);
    assert_eq!(Pod::start(&test, 6, &[])?.ip(true), ip);
    Ok(())
}

fn last_of_two_networks_gives_settings_back(test: &TestHost) -> Outcome {
    const FORWARDS: &str = "/proc/sys/net/ipv4/ip_forward";
    std::fs::write(FORWARDS, "0")?;
    let before = picture(test);
    let network = NetworkConfig {
        bridge: "other0".into(),
        subnet: "10.88.0.0/16".into(),
        subnet6: "fd10:88::/64".into(),
        ..test.host.network.clone()
    };
    let other = TestHost { _folder: tempfile::tempdir()?, host: Host { network, ..test.host.clone() } };
    let first = Pod::start(test, 1, &[])?;
    let second = Pod::start(&other, 2, &[])?;
    first.detach();
    drop(first);
    assert_eq!(remove_bridge(test), Idle::Gone);
    assert_eq!(std::fs::read_to_string(FORWARDS)?, "1\n", "the other one's pods are routed for");
    second.detach();
    drop(second);
    wait_for_links_to_go();
    assert_eq!(remove_bridge(&other), Idle::Gone);
    assert_eq!(std::fs::read_to_string(FORWARDS)?, "0\n");
    assert_eq!(picture(test), before);
    Ok(())
}

fn foreign_bridge_and_subnet_are_refused(test: &TestHost) -> Outcome {
    let before = picture(test);
    ip("link add podrun0 type bridge");
    let error = Pod::start(test, 1, &[]).err().unwrap();
    assert!(error.message().contains("already has a bridge of this name, which is not ours"), "{error}");
    ip("link del podrun0");
    ip("addr add 10.87.7.1/24 dev lo");
    let error = Pod::start(test, 1, &[]).err().unwrap();
    assert!(error.message().ends_with("10.87.0.0/16 overlaps the host's address 10.87.7.1/24"), "{error}");
    ip("addr del 10.87.7.1/24 dev lo");
    Pod::start(test, 1, &[])?.detach();
    wait_for_links_to_go();
    assert_eq!(remove_bridge(test), Idle::Gone);
    assert_eq!(picture(test), before);
    Ok(())
}
