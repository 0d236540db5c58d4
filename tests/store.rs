//! The verbs that work on the store alone: names of images, what is listed, what goes.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use support::fixtures::{self, reference};
use support::host::Host;
use support::pods::pod;
use support::registry::Registry;
use support::run::Outcome;
use support::suite::Suite;

use crate::image::{holds_nothing, images, load, remove_all};

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 4;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("tag gives an image names and takes them from others", &["busybox", "layers"], tags);
    suite.on_host("rmi takes names and the last one takes the image", &[], rmi_by_every_name);
    suite.on_host("rmi refuses an image in use and names the pod", &["probe"], rmi_in_use);
    suite.on_host("rmi tries each argument and says what it could not do", &[], rmi_of_several);
    suite.on_host("images filters by names labels and age", &[], filters);
    suite.on_host("images prints every form that get has", &["layers"], forms);
    suite.on_host("the group image has docker's verbs", &[], the_group);
}

/// The names of all images, in the order of the list.
fn names(host: &Host) -> Result<Vec<String>> {
    let all = images(host)?;
    let names = all.iter().flat_map(|image| image["names"].as_array().into_iter().flatten());
    Ok(names.filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

fn id_of(host: &Host, name: &str) -> Result<String> {
    let all = images(host)?;
    let found =
        all.iter().find(|image| image["names"].as_array().is_some_and(|names| names.contains(&json!(name))));
    Ok(found.with_context(|| format!("{name} is not in {all:#?}"))?["id"].as_str().context("id")?.to_owned())
}

fn podrun(host: &Host, line: &str) -> Result<Outcome> {
    host.podrun(&line.split(' ').collect::<Vec<_>>())
}

fn tags(host: &Host) -> Result<()> {
    let (busybox, layers) = (reference("busybox"), reference("layers"));
    let said = host.podrun(&["tag", &busybox, "app", "localhost:5000/app:v1"])?;
    ensure!(said.stdout.is_empty() && said.stderr.is_empty(), "{said}");
    said.ok()?;
    let wanted = ["docker.io/library/app:latest", &busybox, "localhost:5000/app:v1", &layers];
    ensure!(names(host)? == wanted, "{:?}", names(host)?);
    // By an id, and a name that another image has: that one loses it, and stays even when it was its last.
    let id = id_of(host, &busybox)?;
    host.podrun(&["tag", &id["sha256:".len()..][..10], &layers])?.ok()?;
    ensure!(id_of(host, &layers)? == id, "{:#?}", images(host)?);
    ensure!(images(host)?.len() == 2, "an image that lost its last name stays");
    ensure!(podrun(host, "images --filter dangling=true -q")?.ok()?.lines().count() == 1);
    // A name is no digest, and no image is none.
    let pinned = format!("app@{id}");
    let said = host.podrun(&["tag", &busybox, &pinned])?.fails_with(USAGE)?;
    ensure!(said.contains("tag"), "{said}");
    let said = podrun(host, "tag nothing:1 app:2")?.fails_with(NOT_FOUND)?;
    ensure!(said.contains("nothing:1") && said.contains("hint: `podrun images`"), "{said}");
    host.podrun(&["tag", &busybox, "Not/A/Name"])?.fails_with(USAGE)?;
    ensure!(names(host)?.len() == 4, "what was refused changed nothing: {:?}", names(host)?);
    Ok(())
}

fn rmi_by_every_name(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let name = registry.publish("busybox", "lab/busybox", "1")?;
    let pull = || host.podrun(&["pull", "-q", &name])?.ok();
    let id = pull()?.trim().to_owned();
    let digest = images(host)?[0]["digests"][0].as_str().context("a digest")?.to_owned();
    host.podrun(&["tag", &name, "app:1"])?.ok()?;
    // A tag beside the digest is that tag; the image has another one.
    let both = format!("{name}@{}", digest.split_once('@').context("digest")?.1);
    let said = host.podrun(&["rmi", &both])?.ok()?;
    ensure!(said == format!("Untagged: {name}\n"), "{said}");
    // A tag that is pinned to another content is no name of this one.
    let other = format!("{name}@sha256:{}", "0".repeat(64));
    host.podrun(&["rmi", &other])?.fails_with(NOT_FOUND)?;
    pull()?;
    // By digest or id all of it is meant, which several names forbid.
    for text in [digest.as_str(), &id, &id["sha256:".len()..][..8]] {
        let said = host.podrun(&["rmi", text])?.fails_with(1)?;
        ensure!(said.contains("app:1") && said.contains(&name) && said.contains("--force"), "{said}");
    }
    let said = host.podrun(&["rmi", "-f", &digest])?.ok()?;
    ensure!(said.lines().count() == 3 && said.ends_with(&format!("Deleted: {id}\n")), "{said}");
    holds_nothing(host)?;
    // Pulled by its digest it has no name, and goes by that digest.
    host.podrun(&["pull", "-q", &digest])?.ok()?;
    ensure!(host.podrun(&["rmi", &digest])?.ok()? == format!("Deleted: {id}\n"));
    holds_nothing(host)?;
    registry.stop()
}

fn rmi_in_use(host: &Host) -> Result<()> {
    let image = reference("probe");
    let main = json!({ "name": "main", "image": image, "args": ["sleep"] });
    host.create(&pod("web", &json!({ "containers": [main] })))?;
    host.podrun(&["tag", &image, "again:1"])?.ok()?;
    // One of two names may go, the image may not.
    host.podrun(&["rmi", "again:1"])?.ok()?;
    for text in [image.clone(), id_of(host, &image)?] {
        let said = host.podrun(&["rmi", &text])?.fails_with(1)?;
        ensure!(said.contains("in use by pod web") && said.contains("hint: "), "{said}");
    }
    let table = podrun(host, "images -o wide")?.ok()?;
    ensure!(table.lines().nth(1).is_some_and(|row| row.ends_with("web")), "{table}");
    // By force the image goes, and the pod keeps what it runs.
    host.podrun(&["rmi", "--force", &image])?.ok()?;
    ensure!(images(host)?.is_empty());
    host.podrun(&["exec", "web", "--", "/probe", "exit", "0"])?.ok()?;
    host.delete("web")?;
    // Another image's end collects what the pod held.
    load(host, "busybox")?;
    remove_all(host)
}

fn rmi_of_several(host: &Host) -> Result<()> {
    load(host, "busybox")?;
    load(host, "nginx")?;
    let busybox = reference("busybox");
    let said = host.podrun(&["rmi", "nothing:1", &busybox, "neither:2"])?;
    ensure!(said.stdout.contains(&format!("Untagged: {busybox}")), "{said}");
    let said = said.fails_with(NOT_FOUND)?;
    ensure!(said.contains("nothing:1") && said.contains("neither:2"), "{said}");
    host.podrun(&["rmi", "--ignore", "nothing:1"])?.ok()?;
    podrun(host, "rmi")?.fails_with(USAGE)?;
    podrun(host, "rmi --all nothing:1")?.fails_with(USAGE)?;
    host.podrun(&["tag", &reference("nginx"), "web:1"])?.ok()?;
    podrun(host, "rmi --all")?.ok()?;
    ensure!(images(host)?.is_empty());
    holds_nothing(host)
}

fn filters(host: &Host) -> Result<()> {
    for name in ["busybox", "nginx", "layers"] {
        load(host, name)?;
    }
    host.podrun(&["tag", &reference("busybox"), "quay.io/lab/tool:2"])?.ok()?;
    let found = |filters: &[&str]| -> Result<Vec<String>> {
        let mut line = vec!["images", "-o", "name"];
        filters.iter().for_each(|filter| line.extend(["--filter", filter]));
        Ok(host.podrun(&line)?.ok()?.lines().map(str::to_owned).collect())
    };
    let (busybox, nginx, layers) = (reference("busybox"), reference("nginx"), reference("layers"));
    ensure!(found(&[])?.len() == 3);
    ensure!(found(&["reference=localhost/podrun/n*"])? == [nginx.as_str()]);
    ensure!(found(&["reference=localhost/podrun/n*", "reference=*/*/layers:1"])? == [layers, nginx.clone()]);
    ensure!(found(&["reference=quay.io/lab/tool"])? == [busybox]);
    ensure!(found(&["reference=*"])?.is_empty(), "a star stops at a slash");
    ensure!(found(&["dangling=false"])?.len() == 3 && found(&["dangling=true"])?.is_empty());
    let table = podrun(host, "images --filter reference=quay.io/*/* --no-headers")?.ok()?;
    ensure!(table.lines().count() == 1 && table.starts_with("quay.io/lab/tool   2 "), "{table}");
    // Fixtures are all as old as each other.
    ensure!(
        found(&[&format!("before={nginx}")])?.is_empty() && found(&[&format!("since={nginx}")])?.is_empty()
    );
    ensure!(found(&["until=1s"])?.len() == 3 && found(&["until=1971-01-01T00:00:00Z"])?.is_empty());
    ensure!(found(&["label=no.such.label"])?.is_empty());
    podrun(host, "images --filter before=nothing:1")?.fails_with(NOT_FOUND)?;
    let said = podrun(host, "images --filter readonly=true")?.fails_with(USAGE)?;
    ensure!(said.contains("dangling, reference"), "{said}");
    ensure!(podrun(host, "images --all -q")?.ok()? == podrun(host, "images -q")?.ok()?);
    Ok(())
}

fn forms(host: &Host) -> Result<()> {
    let name = reference("layers");
    let id = id_of(host, &name)?;
    ensure!(podrun(host, "images -o name")?.ok()?.trim() == name);
    ensure!(podrun(host, "images -q --no-trunc")?.ok()?.trim() == id);
    ensure!(podrun(host, "images -q")?.ok()?.trim() == &id["sha256:".len()..][..12]);
    let yaml = podrun(host, "images -o yaml")?.ok()?;
    ensure!(yaml.contains(&format!("id: {id}")) || yaml.contains(&format!("id: \"{id}\"")), "{yaml}");
    ensure!(podrun(host, "images -o jsonpath={[0].names[0]}")?.ok()? == name);
    let wide = podrun(host, "images -o wide --digests")?.ok()?;
    for column in ["DIGEST", "PLATFORM", "LAYERS", "PODS"] {
        ensure!(wide.lines().next().is_some_and(|line| line.contains(column)), "{wide}");
    }
    ensure!(wide.contains("linux/") && wide.trim_end().ends_with("<none>"), "{wide}");
    podrun(host, "images -o xml")?.fails_with(USAGE)?;
    podrun(host, "images -q -o json")?.fails_with(USAGE)?;
    Ok(())
}

fn the_group(host: &Host) -> Result<()> {
    let archive = fixtures::path("busybox.tar")?;
    host.podrun(&["image", "load", "-q", &archive.to_string_lossy()])?.ok()?;
    ensure!(podrun(host, "image ls")?.ok()? == podrun(host, "images")?.ok()?);
    host.podrun(&["image", "tag", &reference("busybox"), "again:1"])?.ok()?;
    ensure!(podrun(host, "image list -q")?.ok()?.lines().count() == 1);
    host.podrun(&["image", "rm", "again:1", &reference("busybox")])?.ok()?;
    holds_nothing(host)?;
    let said = podrun(host, "image")?.fails_with(USAGE)?;
    ensure!(said.contains("Usage: podrun image") && said.contains("ls"), "{said}");
    let said = podrun(host, "image frob")?.fails_with(USAGE)?;
    ensure!(said.contains("frob"), "{said}");
    let help = podrun(host, "image --help")?.ok()?;
    let verbs =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<&str> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
    for wanted in [
        "ls", "pull", "rm", "tag", "save", "load", "import", "inspect", "history", "tree", "df", "prune",
        "fsck", "mount",
    ] {
        ensure!(verbs.contains(&wanted), "{wanted}: {help}");
    }
    for verb in verbs {
        let page = podrun(host, &format!("image {verb} --help"))?.ok()?;
        ensure!(page.contains(&format!("Usage: podrun image {verb}")) && page.contains("Example"), "{page}");
    }
    let help = podrun(host, "image rm --help")?.ok()?;
    ensure!(help.contains("Usage: podrun image rm") && help.contains("Example"), "{help}");
    Ok(())
}
