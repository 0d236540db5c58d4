//! Leases of addresses and ports: given once, taken back, read again.

use proptest::prelude::*;

use super::*;

#[test]
fn a_clearing_that_was_cut_off_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let folder = LeaseFolder::new(dir.path(), "podrun0");
    folder.finish_clearing().unwrap();
    for left in [&["sysctls", "lock"][..], &["lock"], &[]] {
        fs::create_dir_all(dir.path().join("net/podrun0")).unwrap();
        left.iter().for_each(|name| fs::write(folder.path(name), "").unwrap());
        folder.finish_clearing().unwrap();
        assert!(!dir.path().join("net").exists(), "{left:?}");
    }
    folder.lock().unwrap().save().unwrap();
    folder.finish_clearing().unwrap();
    assert!(folder.exists(), "leases are no remains");
}

use crate::host::NetworkConfig;

fn network(subnet: &str) -> Network {
    Network::new(&NetworkConfig { subnet: subnet.into(), ..NetworkConfig::default() }).unwrap()
}

fn port(host_ip: Option<&str>, host_port: u16, protocol: Protocol) -> PortMap {
    let host_ip = host_ip.map(|ip| ip.parse().unwrap());
    PortMap { host_ip, host_port, container_port: 80, protocol }
}

#[test]
fn addresses_rotate_and_wait_for_the_link_to_go() {
    let network = network("10.0.0.0/29");
    let mut leases = Leases::default();
    for offset in 2..7 {
        let link = format!("pr{offset}");
        assert_eq!(leases.take(&network, &link, "p", |_| true), Taken::Address(0, offset));
        if offset == 2 {
            assert!(leases.give_back(&link) && !leases.give_back(&link));
        }
    }
    assert_eq!(leases.take(&network, "x", "p", |_| false), Taken::Soon);
    assert_eq!(leases.take(&network, "x", "p", |link| link == "pr2"), Taken::Address(0, 2));
    assert_eq!(leases.take(&network, "y", "p", |_| true), Taken::Exhausted);
}

#[test]
fn full_bridge_is_followed_by_the_next() {
    let network = network("10.0.0.0/22");
    let mut leases = Leases::default();
    let mut slices = [0; 2];
    for pod in 0..2 * PORTS {
        match leases.take(&network, &format!("pr{pod}"), "p", |_| true) {
            Taken::Address(slice, _) => slices[slice as usize] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(slices, [PORTS, PORTS]);
    assert_eq!(leases.take(&network, "x", "p", |_| true), Taken::Exhausted);
}

#[test]
fn taken_port_names_its_pod() {
    let mut leases = Leases::default();
    leases.take_port(&port(None, 80, Protocol::Tcp), "pr1", "default/web").unwrap();
    leases.take_port(&port(None, 80, Protocol::Udp), "pr1", "default/web").unwrap();
    leases.take_port(&port(Some("10.0.0.1"), 81, Protocol::Tcp), "pr2", "default/db").unwrap();
    leases.take_port(&port(Some("10.0.0.2"), 81, Protocol::Tcp), "pr3", "default/db2").unwrap();
    let taken = |leases: &mut Leases, map| leases.take_port(&map, "x", "x").unwrap_err();
    assert_eq!(taken(&mut leases, port(Some("127.0.0.1"), 80, Protocol::Tcp)), "default/web");
    assert_eq!(taken(&mut leases, port(Some("0.0.0.0"), 81, Protocol::Tcp)), "default/db");
    leases.give_back("pr1");
    leases.take_port(&port(None, 80, Protocol::Tcp), "x", "x").unwrap();
}

#[test]
fn text_comes_back_as_it_went() {
    let mut leases = Leases::default();
    let network = network("10.0.0.0/24");
    leases.set_bridge(0, BridgeState::Making);
    leases.set_bridge(3, BridgeState::Ready);
    leases.take(&network, "pr1", "a name\nof two lines", |_| true);
    leases.take(&network, "pr2", "", |_| true);
    leases.take_port(&port(Some("::1"), 81, Protocol::Sctp), "pr2", "d/w").unwrap();
    leases.take_port(&port(None, 82, Protocol::Tcp), "pr2", "d/w").unwrap();
    leases.give_back("pr1");
    assert_eq!(Leases::parse(&leases.render()).unwrap(), leases);
}

#[test]
fn broken_text_is_refused_with_its_line() {
    let error = Leases::parse("next 0 2\naddress 0 x held pr1 p\n").unwrap_err();
    assert_eq!(error.message(), "line 2: `address 0 x held pr1 p` is no lease");
}

proptest! {
    #[test]
    fn no_history_gives_an_address_twice(history in prop::collection::vec((any::<bool>(), 0usize..40), 1..200)) {
        let network = network("10.0.0.0/28");
        let mut leases = Leases::default();
        let mut held: Vec<(String, u32)> = Vec::new();
        for (number, (take, which)) in history.into_iter().enumerate() {
            if take {
                let link = format!("pr{number}");
                match leases.take(&network, &link, "p", |_| true) {
                    Taken::Address(_, offset) => {
                        prop_assert!(held.iter().all(|(_, other)| *other != offset));
                        held.push((link, offset));
                    }
                    other => prop_assert_eq!((other, held.len()), (Taken::Exhausted, 13)),
                }
            } else if !held.is_empty() {
                let (link, _) = held.remove(which % held.len());
                leases.give_back(&link);
            }
            leases = Leases::parse(&leases.render()).unwrap();
        }
    }
}

#[test]
fn what_a_pod_without_a_folder_has_is_collected_and_needs_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let network = network("10.0.0.0/24");
    let folder = LeaseFolder::new(dir.path(), "podrun0");
    let ids = ["a".repeat(64), "b".repeat(64)];
    let mut locked = folder.lock().unwrap();
    for id in &ids {
        fs::create_dir_all(dir.path().join("pods").join(id)).unwrap();
        locked.leases.take(&network, &link_name(id), "p", |_| true);
    }
    locked.leases.take_port(&port(None, 80, Protocol::Tcp), &link_name(&ids[0]), "p").unwrap();
    locked.save().unwrap();
    drop(locked);
    fs::remove_dir(dir.path().join("pods").join(&ids[0])).unwrap();
    let mut locked = folder.lock().unwrap();
    assert!(locked.leases.holds(&link_name(&ids[0])), "nobody gave it back");
    locked.collect().unwrap();
    assert!(!locked.leases.holds(&link_name(&ids[0])) && locked.leases.holds(&link_name(&ids[1])));
    assert!(locked.leases.take_port(&port(None, 80, Protocol::Tcp), "x", "p").is_ok());
    fs::remove_dir(dir.path().join("pods").join(&ids[1])).unwrap();
    locked.collect().unwrap();
    assert!(!locked.leases.used(None));
}

#[test]
fn giving_back_waits_for_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let folder = LeaseFolder::new(dir.path(), "podrun0");
    let mut locked = folder.lock().unwrap();
    locked.leases.take(&network("10.0.0.0/24"), "pra", "p", |_| true);
    locked.save().unwrap();
    folder.give_back("pra");
    assert!(folder.read().unwrap().holds("pra"), "somebody else is at them");
    drop(locked);
    folder.give_back("pra");
    assert!(!folder.read().unwrap().holds("pra"));
}

#[test]
fn a_mark_is_no_longer_than_an_alias() {
    let folder = |state: &str| LeaseFolder::new(Path::new(state), "podrun0");
    assert_eq!(folder("/run/podrun").mark(), "podrun: /run/podrun/net/podrun0");
    let long = folder(&format!("/{}", "ä".repeat(200))).mark();
    assert!((254..=255).contains(&long.len()) && long.starts_with("podrun: ä"), "{long}");
}
