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
mod habits;
mod harness;
mod hostile;
mod image;
mod images;
mod kills;
mod lifecycle;
mod logins;
mod logs;
mod manifests;
mod monitor;
mod network;
mod oci;
mod pods;
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

use std::process::ExitCode;

use support::suite::Suite;

fn main() -> ExitCode {
    if let Some(code) = support::namespaces::take_over(std::env::args().nth(1).as_deref()) {
        return code;
    }
    if let Some(code) = monitor::take_over() {
        return code;
    }
    if let Some(code) = hostile::racer::take_over().or_else(rogue::server::take_over) {
        return code;
    }
    let mut suite = Suite::default();
    harness::add(&mut suite);
    image::add(&mut suite);
    images::add(&mut suite);
    store::add(&mut suite);
    collect::add(&mut suite);
    archives::add(&mut suite);
    hostile::add(&mut suite);
    rogue::add(&mut suite);
    logins::add(&mut suite);
    pulls::add(&mut suite);
    pushes::add(&mut suite);
    resumes::add(&mut suite);
    crashes::add(&mut suite);
    trees::add(&mut suite);
    manifests::add(&mut suite);
    monitor::add(&mut suite);
    pods::add(&mut suite);
    lifecycle::add(&mut suite);
    network::add(&mut suite);
    fields::add(&mut suite);
    seccomp::add(&mut suite);
    security::add(&mut suite);
    examples::add(&mut suite);
    edges::add(&mut suite);
    habits::add(&mut suite);
    logs::add(&mut suite);
    streams::add(&mut suite);
    verbs::add(&mut suite);
    command_line::add(&mut suite);
    registry::add(&mut suite);
    crowd::add(&mut suite);
    faults::add(&mut suite);
    afterlife::add(&mut suite);
    kills::add(&mut suite);
    clients::add(&mut suite);
    oci::add(&mut suite);
    rootless::add(&mut suite);
    suite.run().exit_code()
}
