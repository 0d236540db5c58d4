//! What is known of images, who needs what, and that what nobody needs goes while others are at work.

use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use support::fixtures::{self, reference};
use support::host::Host;
use support::pods::pod;
use support::registry::Registry;
use support::suite::Suite;

use crate::image::{holds_nothing, images, load, remove_all};

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 4;
const IMAGE: i32 = 6;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("image inspect prints layers with their ids and the history", &[], inspect);
    suite.on_host("image tree and df say who shares and who needs what", &[], sharing);
    suite.on_host("image prune takes what no pod and no name needs", &["probe"], prune);
    suite.on_host("fsck names every damaged object and repair lets the next pull bring it", &[], fsck);
    suite.on_host("fsck keeps what a pod runs on and what it does not know", &["probe"], fsck_in_use);
    suite.on_host("prune and rmi beside pulls loads and creates leave a whole store", &[], beside_each_other);
}

fn printed(host: &Host, line: &[&str]) -> Result<Value> {
    let text = host.podrun(line)?.ok()?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

/// The JSON document `path` of a fixture's layout.
fn document(fixture: &str, path: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(fixtures::path(fixture)?.join(path))?)?)
}

fn blob(fixture: &str, digest: &Value) -> Result<Value> {
    document(fixture, &format!("blobs/{}", digest.as_str().context("digest")?.replace(':', "/")))
}

fn inspect(host: &Host) -> Result<()> {
    load(host, "nginx")?;
    let name = reference("nginx");
    let all = printed(host, &["image", "inspect", &name])?;
    let found = &all[0];
    let index = document("nginx", "index.json")?;
    let manifest = blob("nginx", &index["manifests"][0]["digest"])?;
    let config = blob("nginx", &manifest["config"]["digest"])?;
    ensure!(found["id"] == manifest["config"]["digest"] && found["names"] == json!([name]), "{found:#}");
    ensure!(found["architecture"] == config["architecture"] && found["os"] == "linux", "{found:#}");
    let layers = found["layers"].as_array().context("layers")?;
    let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["diffId"]).collect();
    ensure!(json!(diff_ids) == config["rootfs"]["diff_ids"], "{found:#}");
    for (layer, packed) in layers.iter().zip(manifest["layers"].as_array().context("layers")?) {
        let own = &layer["packed"][0];
        ensure!(own["digest"] == packed["digest"] && own["size"] == packed["size"], "{layer:#}");
        ensure!(own["mediaType"] == packed["mediaType"] && own["present"] == true, "{layer:#}");
        let chain = layer["chainId"].as_str().context("chainId")?.trim_start_matches("sha256:");
        ensure!(host.root().join("layers").join(chain).is_dir(), "{chain}");
        ensure!(layer["size"].is_u64() && layer["inodes"].as_u64() > Some(1), "{layer:#}");
    }
    for images in [vec![&*name], vec![&*name, &*name]] {
        let line =
            [&["image", "inspect", "-o", "jsonpath={.config.entrypoint}{\"\\n\"}"], &images[..]].concat();
        let shown = host.podrun(&line)?.ok()?;
        ensure!(shown == format!("{}\n", found["config"]["entrypoint"]).repeat(images.len()), "{shown}");
        ensure!(shown.starts_with('['), "{shown}");
    }
    let sum: u64 = layers.iter().filter_map(|layer| layer["size"].as_u64()).sum();
    ensure!(found["size"] == sum, "{sum}: {found:#}");
    let history = found["history"].as_array().context("history")?;
    ensure!(
        history.iter().filter(|step| step.get("layer").is_some()).count() == layers.len(),
        "{history:#?}"
    );
    let table = host.podrun(&["image", "history", &name, "--no-trunc"])?.ok()?;
    ensure!(table.starts_with("LAYER ") && table.lines().count() == history.len() + 1, "{table}");
    let top = layers.last().context("a layer")?["chainId"].as_str().context("chainId")?;
    ensure!(table.contains(top.trim_start_matches("sha256:")), "{table}");
    let ids = host.podrun(&["image", "history", &name, "-o", "name"])?.ok()?;
    ensure!(ids.lines().next() == Some(top), "the last step is the first: {ids}");
    // Several, of which one is not there, and a config that somebody spoilt.
    let both = host.podrun(&["image", "inspect", "-o", "name", "nothing:1", &name])?;
    ensure!(both.stdout.trim() == name, "{both}");
    both.fails_with(NOT_FOUND)?;
    let id = found["id"].as_str().context("id")?.trim_start_matches("sha256:");
    let file = host.root().join("content/sha256").join(id);
    let good = std::fs::read(&file)?;
    put(&file, String::from_utf8(good.clone())?.replacen("linux", "linus", 1))?;
    let said = host.podrun(&["image", "inspect", &name])?.fails_with(IMAGE)?;
    ensure!(said.contains("wrong digest") && said.contains("image fsck"), "{said}");
    put(&file, good)?;
    let said = host.podrun(&["image", "inspect", "--format", "{{.Id}}", &name])?.fails_with(USAGE)?;
    ensure!(said.contains("-o jsonpath"), "{said}");
    remove_all(host)
}

fn sharing(host: &Host) -> Result<()> {
    load(host, "busybox")?;
    load(host, "nginx")?;
    load(host, "probe")?;
    let (busybox, nginx) = (reference("busybox"), reference("nginx"));
    let tree = host.podrun(&["image", "tree", &nginx])?.ok()?;
    let lines: Vec<&str> = tree.lines().collect();
    ensure!(lines.len() == 5 && lines[0].starts_with(&nginx), "{tree}");
    ensure!(lines[2].starts_with("├─ ") && lines[2].ends_with(&format!("also in {busybox}")), "{tree}");
    ensure!(lines[4].starts_with("└─ ") && !lines[4].contains("also in"), "{tree}");
    let main = json!({ "name": "main", "image": reference("probe"), "args": ["sleep"] });
    host.create(&pod("web", &json!({ "containers": [main] })))?;
    let usage = printed(host, &["image", "df", "-o", "json"])?;
    let of = |name: &str| {
        let mut all = usage["images"].as_array().into_iter().flatten();
        all.find(|image| image["names"][0] == name).context("listed").cloned()
    };
    let (base, top) = (of(&busybox)?, of(&nginx)?);
    ensure!(base["unique"] == 0 && base["shared"] == base["size"], "{base:#}");
    ensure!(top["shared"] == base["size"] && top["unique"].as_u64() > Some(0), "{top:#}");
    ensure!(of(&reference("probe"))?["pods"] == json!(["web"]), "{usage:#}");
    ensure!(usage["layers"]["total"] == 4 && usage["layers"]["active"] == 1, "{usage:#}");
    let reclaimable = usage["layers"]["reclaimable"].as_u64();
    ensure!(reclaimable == top["size"].as_u64(), "all that the pod does not run: {usage:#}");
    ensure!(usage["containers"].as_array().is_some_and(|all| all.len() == 1), "{usage:#}");
    let text = host.podrun(&["image", "df", "--verbose"])?.ok()?;
    ensure!(
        text.starts_with("TYPE ") && text.contains("RECLAIMABLE") && text.contains("CONTAINER "),
        "{text}"
    );
    host.delete("web")?;
    remove_all(host)
}

fn prune(host: &Host) -> Result<()> {
    let probe = reference("probe");
    let main = json!({ "name": "main", "image": probe, "args": ["sleep"] });
    host.create(&pod("web", &json!({ "containers": [main] })))?;
    load(host, "busybox")?;
    load(host, "nginx")?;
    // busybox loses its only name.
    host.podrun(&["tag", &reference("nginx"), &reference("busybox")])?.ok()?;
    // A layer and a blob of nobody.
    let stray = host.root().join("layers").join("0".repeat(64));
    std::fs::create_dir(&stray)?;
    put(host.root().join("content/sha256").join("1".repeat(64)), "stray")?;
    let said = host.podrun(&["image", "prune", "--dry-run"])?.ok()?;
    ensure!(said.contains("Would delete: sha256:") && said.contains("Would reclaim"), "{said}");
    ensure!(images(host)?.len() == 3 && stray.exists(), "it only says so");
    let done = host.podrun(&["image", "prune"])?.ok()?;
    let wanted = said.replace("Would reclaim", "Reclaimed").replace("Would delete", "Deleted");
    ensure!(done == wanted, "{done} is not {wanted}");
    ensure!(images(host)?.len() == 2 && !stray.exists(), "{:#?}", images(host)?);
    ensure!(host.podrun(&["image", "prune"])?.ok()? == "Reclaimed 0B in 0 layers and 0 blobs\n");
    // Nothing is older than the world, everything is older than a second: filters choose.
    host.podrun(&["image", "prune", "--all", "--filter", "until=1971-01-01T00:00:00Z"])?.ok()?;
    host.podrun(&["image", "prune", "--all", "--filter", "label=none"])?.ok()?;
    ensure!(images(host)?.len() == 2);
    let said = host.podrun(&["image", "prune", "--all"])?.ok()?;
    ensure!(said.contains(&format!("Untagged: {}", reference("nginx"))), "{said}");
    // What a pod runs stays, and works.
    let left = images(host)?;
    ensure!(left.len() == 1 && left[0]["names"][0] == probe.as_str(), "{left:#?}");
    host.podrun(&["exec", "web", "--", "/probe", "exit", "0"])?.ok()?;
    let said = host.podrun(&["image", "prune", "--force"])?.fails_with(USAGE)?;
    ensure!(said.contains("asks nothing"), "{said}");
    // An image that nobody can read keeps everything, and that is said.
    let id = left[0]["id"].as_str().context("id")?.trim_start_matches("sha256:");
    let record = host.root().join("images").join(format!("{id}.json"));
    let good = std::fs::read(&record)?;
    put(&record, "{")?;
    let said = host.podrun(&["image", "prune"])?.fails_with(IMAGE)?;
    ensure!(said.contains(id) && said.contains("fsck"), "{said}");
    std::fs::remove_file(&record)?;
    put(&record, good)?;
    host.delete("web")?;
    host.podrun(&["image", "prune", "--all"])?.ok()?;
    holds_nothing(host)
}

/// Damage of every kind, with what fsck has to say about each.
fn fsck(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let nginx = registry.publish("nginx", "lab/nginx", "1")?;
    let probe = registry.publish("probe", "lab/probe", "1")?;
    for name in [&nginx, &probe] {
        host.podrun(&["pull", "-q", name])?.ok()?;
    }
    let said = host.podrun(&["image", "fsck"])?.ok()?;
    ensure!(said.starts_with("checked 2 images, 4 layers and ") && said.ends_with(": 0 damaged\n"), "{said}");
    let found = printed(host, &["image", "inspect", &nginx, &probe])?;
    let hex = |value: &Value| -> Result<String> {
        Ok(value.as_str().context("a digest")?.trim_start_matches("sha256:").to_owned())
    };
    let layer = |number: usize| hex(&found[0]["layers"][number]["chainId"]);
    let blobs = host.root().join("content/sha256");
    // A blob of the right length with a wrong byte.
    let spoilt = hex(&found[0]["layers"][0]["packed"][0]["digest"])?;
    let mut bytes = std::fs::read(blobs.join(&spoilt))?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    put(blobs.join(&spoilt), bytes)?;
    // A layer without a record, one without a tree, one whose record is another's.
    let layers = host.root().join("layers");
    put(layers.join(layer(0)?).join("commit.json"), "{")?;
    std::fs::remove_dir_all(layers.join(layer(1)?).join("tree"))?;
    let other = hex(&found[1]["layers"][0]["chainId"])?;
    let commit = layers.join(&other).join("commit.json");
    let foreign =
        std::fs::read_to_string(&commit)?.replace(&hex(&found[1]["layers"][0]["diffId"])?, &"0".repeat(64));
    put(&commit, foreign)?;
    // An image without a config.
    let config = hex(&found[1]["id"])?;
    std::fs::remove_file(blobs.join(&config))?;
    // And a record that is none, of an image that nobody has.
    let record = host.root().join("images").join(format!("{}.json", "2".repeat(64)));
    put(&record, "[]")?;
    let outcome = host.podrun(&["image", "fsck"])?;
    for (object, why) in [
        (format!("blob sha256:{spoilt}: "), "wrong digest"),
        (format!("layer {}: ", layer(0)?), "no record"),
        (format!("layer {}: ", layer(1)?), "no tree"),
        (format!("layer {other}: "), "another layer's"),
        (format!("image {probe}: "), "its config"),
        (format!("image sha256:{}: ", "2".repeat(64)), "cannot be read"),
    ] {
        let told = outcome.stdout.lines().any(|line| line.starts_with(&object) && line.contains(why));
        ensure!(told, "{object}{why} is not in: {outcome}");
    }
    let said = outcome.fails_with(IMAGE)?;
    ensure!(said.contains("--repair"), "{said}");
    ensure!(blobs.join(&spoilt).exists() && record.exists(), "it only looked");
    let repaired = host.podrun(&["image", "fsck", "--repair"])?;
    ensure!(repaired.stdout.matches("(dropped)").count() == 5, "{repaired}");
    ensure!(repaired.stdout.contains("pull or load it again"), "{repaired}");
    repaired.ok()?;
    // What is lacking is said until it is here again, which a pull sees to.
    host.podrun(&["image", "fsck"])?.fails_with(IMAGE)?;
    for name in [&nginx, &probe] {
        host.podrun(&["pull", "-q", name])?.ok()?;
    }
    let said = host.podrun(&["image", "fsck"])?.ok()?;
    ensure!(said.starts_with("checked 2 images, 4 layers") && said.ends_with(": 0 damaged\n"), "{said}");
    is_consistent(host)?;
    // A load brings a blob too.
    std::fs::remove_file(blobs.join(&spoilt))?;
    host.podrun(&["image", "fsck"])?.fails_with(IMAGE)?;
    load(host, "nginx")?;
    host.podrun(&["image", "fsck"])?.ok()?;
    registry.stop()?;
    remove_all(host)
}

fn fsck_in_use(host: &Host) -> Result<()> {
    let main = json!({ "name": "main", "image": reference("probe"), "args": ["sleep"] });
    host.create(&pod("web", &json!({ "containers": [main] })))?;
    let found = printed(host, &["image", "inspect", &reference("probe")])?;
    let chain = found[0]["layers"][0]["chainId"].as_str().context("chainId")?.trim_start_matches("sha256:");
    let commit = host.root().join("layers").join(chain).join("commit.json");
    let good = std::fs::read(&commit)?;
    // The stores of other tests have the same files: replaced, not written.
    std::fs::remove_file(&commit)?;
    put(&commit, "{")?;
    let newer = host.root().join("images").join(format!("{}.json", "3".repeat(64)));
    let id = found[0]["id"].as_str().context("id")?.trim_start_matches("sha256:");
    let text = std::fs::read_to_string(host.root().join("images").join(format!("{id}.json")))?;
    put(&newer, text.replacen("\"version\": 1", "\"version\": 99", 1))?;
    let outcome = host.podrun(&["image", "fsck", "--repair"])?;
    ensure!(outcome.stdout.contains("(kept: a pod runs on it"), "{outcome}");
    ensure!(outcome.stdout.contains("written by a newer podrun"), "{outcome}");
    outcome.fails_with(IMAGE)?;
    ensure!(newer.exists() && commit.exists());
    host.podrun(&["exec", "web", "--", "/probe", "exit", "0"])?.ok()?;
    std::fs::remove_file(&newer)?;
    put(&commit, good)?;
    host.podrun(&["image", "fsck", "--repair"])?.ok()?;
    host.delete("web").map(drop)
}

/// Every image has all its layers, each with its record, and every packed layer that it alone came with.
pub(crate) fn is_consistent(host: &Host) -> Result<()> {
    for image in images(host)? {
        ensure!(image.get("damage").is_none(), "{image:#}");
        let details = printed(host, &["image", "inspect", image["id"].as_str().context("id")?])?;
        for layer in details[0]["layers"].as_array().context("layers")? {
            ensure!(layer["size"].is_u64(), "its tree is gone: {details:#}");
            let packed = layer["packed"].as_array().context("packed")?;
            ensure!(packed.iter().any(|blob| blob["present"] == true), "its blob is gone: {details:#}");
        }
    }
    host.podrun(&["image", "fsck"])?.ok().map(drop)
}

const ROUNDS: usize = 12;

fn beside_each_other(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let pulled = registry.publish("nginx", "lab/nginx", "1")?;
    let run = registry.publish("probe", "lab/probe", "1")?;
    let shared = registry.publish("busybox", "lab/busybox", "1")?;
    let archive = fixtures::path("nginx.tar")?.to_string_lossy().into_owned();
    let rounds = |each: &dyn Fn(usize) -> Result<()>| (0..ROUNDS).try_for_each(each);
    thread::scope(|scope| {
        let all = [
            scope.spawn(|| rounds(&|_| host.podrun(&["pull", "-q", &pulled])?.ok().map(drop))),
            scope.spawn(|| rounds(&|_| host.podrun(&["pull", "-q", &shared])?.ok().map(drop))),
            scope.spawn(|| rounds(&|_| host.podrun(&["load", "-q", &archive])?.ok().map(drop))),
            scope.spawn(|| {
                rounds(&|_| {
                    // Somebody else may have been first, or have made it again: only these are answers.
                    let removed = host.podrun(&["rmi", "--force", &pulled])?;
                    ensure!([0, NOT_FOUND].contains(&removed.code()), "{removed}");
                    let removed = host.podrun(&["rmi", "--force", &reference("nginx"), &shared])?;
                    ensure!([0, NOT_FOUND].contains(&removed.code()), "{removed}");
                    Ok(())
                })
            }),
            scope.spawn(|| rounds(&|_| host.podrun(&["image", "prune", "--all"])?.ok().map(drop))),
            scope.spawn(|| {
                rounds(&|round| {
                    let name = format!("p{round}");
                    let main = json!({ "name": "main", "image": run, "args": ["sleep"] });
                    host.create(&pod(&name, &json!({ "containers": [main] })))?;
                    host.podrun(&["exec", &name, "--", "/probe", "exit", "0"])?.ok()?;
                    host.delete(&name).map(drop)
                })
            }),
        ];
        let results: Vec<Result<()>> =
            all.into_iter().map(|one| one.join().expect("a round that panics")).collect();
        results.into_iter().collect::<Result<()>>()
    })?;
    is_consistent(host)?;
    // All of it can be had again, whatever is left.
    for line in [["pull", "-q", &pulled], ["pull", "-q", &shared], ["load", "-q", &archive]] {
        host.podrun(&line)?.ok()?;
    }
    is_consistent(host)?;
    registry.stop()?;
    remove_all(host)
}

/// Puts another file in the place of one of a store's: the one that is there may be other hosts' too, by a hard link.
fn put(path: impl AsRef<std::path::Path>, content: impl AsRef<[u8]>) -> Result<()> {
    let path = path.as_ref();
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    Ok(std::fs::write(path, content)?)
}
