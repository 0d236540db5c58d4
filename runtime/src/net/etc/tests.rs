//! What stands in `hosts` and `resolv.conf`.

use super::*;

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| word.to_string()).collect()
}

fn host(resolv_conf: &str) -> HostFiles {
    HostFiles {
        hostname: "machine".into(),
        hosts: "127.0.0.1 localhost".into(),
        resolv_conf: resolv_conf.into(),
        resolved: None,
    }
}

#[test]
fn hosts_lists_every_address_with_the_full_name_first() {
    let names = Names { hostname: "web", subdomain: Some("front"), namespace: "shop" };
    let ips = ["10.87.0.2".parse().unwrap(), "fd10:87::2".parse().unwrap()];
    let aliases =
        [HostAlias { ip: "1.2.3.4".parse().unwrap(), hostnames: words(&["foo.local", "bar.local"]) }];
    let text = hosts(&names, &ips, &aliases);
    assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost "));
    assert!(text.ends_with(
        "10.87.0.2\tweb.front.shop.svc.cluster.local\tweb\n\
         fd10:87::2\tweb.front.shop.svc.cluster.local\tweb\n\
         \n# Entries added by HostAliases.\n1.2.3.4\tfoo.local\tbar.local\n"
    ));
}

#[test]
fn hosts_without_subdomain_has_the_short_name_alone() {
    let names = Names { hostname: "web", subdomain: None, namespace: "default" };
    assert!(hosts(&names, &["10.87.0.2".parse().unwrap()], &[]).ends_with("\n10.87.0.2\tweb\n"));
}

#[test]
fn hosts_of_the_host_network_is_a_copy() {
    let text = hosts_of_host_network(&host(""), &[]);
    assert_eq!(text, "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n");
}

#[test]
fn cluster_first_is_the_hosts_configuration_plus_dns_config() {
    let config = DnsConfig {
        nameservers: words(&["9.9.9.9", "1.1.1.1"]),
        searches: words(&["b.example", "a.example"]),
        options: vec![("ndots".into(), Some("5".into())), ("edns0".into(), None)],
    };
    let made = resolv_conf(
        DnsPolicy::ClusterFirst,
        &config,
        &host("# c\ndomain x\nsearch a.example\nnameserver 1.1.1.1 # main\noptions ndots:2 rotate\n"),
        HostNetwork::Own,
    );
    assert_eq!(
        made.text,
        "search a.example b.example\nnameserver 1.1.1.1\nnameserver 9.9.9.9\noptions rotate ndots:5 edns0\n"
    );
    assert!(made.warnings.is_empty());
}

#[test]
fn none_takes_dns_config_alone() {
    let config = DnsConfig { nameservers: words(&["9.9.9.9"]), ..DnsConfig::default() };
    let made = resolv_conf(DnsPolicy::None, &config, &host("nameserver 1.1.1.1\n"), HostNetwork::Own);
    assert_eq!(made.text, "nameserver 9.9.9.9\n");
}

#[test]
fn stub_resolver_gives_way_to_the_servers_behind_it() {
    let mut files = host("nameserver 127.0.0.53\noptions edns0\nsearch lan\n");
    files.resolved = Some("nameserver 192.168.1.1\nsearch lan\n".into());
    let ask =
        |files: &HostFiles, network| resolv_conf(DnsPolicy::Default, &DnsConfig::default(), files, network);
    assert_eq!(ask(&files, HostNetwork::Own).text, "search lan\nnameserver 192.168.1.1\n");
    assert!(ask(&files, HostNetwork::Shared).text.contains("nameserver 127.0.0.53\n"));
    files.resolved = None;
    let made = ask(&files, HostNetwork::Own);
    assert_eq!(made.text, "search lan\noptions edns0\n");
    assert_eq!(made.warnings.len(), 1);
}

#[test]
fn limits_are_kept_and_named() {
    let config = DnsConfig {
        nameservers: words(&["1.0.0.1", "1.0.0.2", "1.0.0.3", "1.0.0.4"]),
        searches: (0..40).map(|n| format!("d{n}.{}", "x".repeat(60))).collect(),
        options: vec![],
    };
    let made = resolv_conf(DnsPolicy::None, &config, &HostFiles::default(), HostNetwork::Own);
    assert_eq!(made.text.matches("nameserver").count(), 3);
    assert!(made.warnings[0].contains("1.0.0.4"));
    let search = made.text.lines().next().unwrap().strip_prefix("search ").unwrap();
    assert!(search.len() <= 2048 && search.split(' ').count() < 40);
    assert_eq!(made.warnings.len(), 2);
}
