//! podrun's tests through the real binary: one program, so that images are loaded once.

mod afterlife;
mod archives;
mod clients;
mod collect;
mod command_line;
mod crashes;
mod crowd;
mod edges;
mod examples;
mod faults;
mod fields;
mod formats;
mod front;
mod habits;
mod hangs;
mod harness;
mod hostile;
mod image;
mod images;
mod kernel;
mod kills;
mod lifecycle;
mod logins;
mod logs;
mod manifests;
mod monitor;
mod network;
mod oci;
mod ownership;
mod pods;
mod protocol;
mod pulls;
mod pushes;
mod registry;
mod resumes;
mod rogue;
mod rootless;
mod seccomp;
mod security;
mod store;
mod streams;
mod trees;
mod verbs;
mod wording;

use std::process::ExitCode;

use support::suite::Suite;

/// What adds a module's tests.
type Add = fn(&mut Suite);

/// The modules by their names: `PODRUN_TESTS_OF` names those to run; empty, all.
const MODULES: [(&str, Add); 45] = [
    ("harness", harness::add),
    ("image", image::add),
    ("images", images::add),
    ("store", store::add),
    ("collect", collect::add),
    ("archives", archives::add),
    ("formats", formats::add),
    ("hostile", hostile::add),
    ("rogue", rogue::add),
    ("logins", logins::add),
    ("pulls", pulls::add),
    ("pushes", pushes::add),
    ("resumes", resumes::add),
    ("wording", wording::add),
    ("crashes", crashes::add),
    ("trees", trees::add),
    ("manifests", manifests::add),
    ("front", front::add),
    ("monitor", monitor::add),
    ("ownership", ownership::add),
    ("protocol", protocol::add),
    ("pods", pods::add),
    ("lifecycle", lifecycle::add),
    ("network", network::add),
    ("fields", fields::add),
    ("seccomp", seccomp::add),
    ("security", security::add),
    ("spoofing", security::network::add),
    ("examples", examples::add),
    ("edges", edges::add),
    ("habits", habits::add),
    ("logs", logs::add),
    ("streams", streams::add),
    ("verbs", verbs::add),
    ("command_line", command_line::add),
    ("registry", registry::add),
    ("crowd", crowd::add),
    ("faults", faults::add),
    ("afterlife", afterlife::add),
    ("kills", kills::add),
    ("hangs", hangs::add),
    ("clients", clients::add),
    ("oci", oci::add),
    ("rootless", rootless::add),
    ("kernel", kernel::add),
];

fn main() -> ExitCode {
    if let Some(code) = support::namespaces::take_over(std::env::args().nth(1).as_deref()) {
        return code;
    }
    if let Some(code) = monitor::take_over().or_else(front::take_over) {
        return code;
    }
    if let Some(code) = hostile::racer::take_over().or_else(rogue::server::take_over) {
        return code;
    }
    if let Some(code) = support::standstill::take_over().or_else(support::kernel::take_over) {
        return code;
    }
    let only = std::env::var("PODRUN_TESTS_OF").ok().filter(|only| !only.is_empty());
    let is_wanted = |name| only.as_ref().is_none_or(|only| only.split(' ').any(|one| one == name));
    let mut suite = Suite::default();
    MODULES.iter().filter(|(name, _)| is_wanted(*name)).for_each(|(_, add)| add(&mut suite));
    suite.run().exit_code()
}
