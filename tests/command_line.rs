//! The command line itself: what it takes, how it complains, its help, manual and completion, and where it finds its
//! settings.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use support::fixtures::{self, reference};
use support::host::{Host, binary_under_test};
use support::pods::{pod, probe, sleeper};
use support::suite::Suite;

const IMAGES: &[&str] = &["probe"];

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("words of other tools are answered in one line with podrun's way", &[], hints);
    suite.on_host("a line that makes no sense is answered in two lines", &[], complaints);
    suite.on_host("switches take a value and of a flag given twice the last counts", IMAGES, kubectls_flags);
    suite.on_host("every verb's help has an example", &[], help_has_examples);
    suite.on_host("the manual has a page for each verb that renders", &[], manual);
    suite.plain("make install brings the pages that messages name", installed_docs);
    suite.on_host("completion offers what the line before it leaves open", IMAGES, completion);
    suite.on_host("a plain user's shell completes the names of pods", &[], plain_completion);
    suite.on_host("a closed pipe and NO_COLOR are behaved with", IMAGES, pipes_and_colours);
    suite.on_host("progress fits the width of its terminal", &[], progress);
    suite.on_host("a table on a narrow terminal parts no word", IMAGES, narrow_tables);
    suite.on_host("the environment and the config file move the state", IMAGES, settings);
    suite.on_host("a config file that is wrong is refused with its place", &[], wrong_config);
}

fn hints(host: &Host) -> Result<()> {
    for (line, words) in [
        (vec!["apply", "-f", "pod.json"], "podrun create"),
        (vec!["ps"], "podrun get pods"),
        (vec!["stop", "web"], "podrun delete"),
        (vec!["rm", "web"], "podrun delete"),
        (vec!["inspect", "web"], "-o json"),
        (vec!["port-forward", "web", "80"], "hostPort"),
        (vec!["cp", "web:/a", "b"], "tar"),
        (vec!["debug", "web"], "nsenter"),
        (vec!["top", "pod", "web"], "podrun ns"),
        (vec!["events"], "podrun describe"),
        (vec!["labs"], "podrun ns"),
        (vec!["cri"], "no CRI server"),
        (vec!["auth", "can-i", "create", "pods"], "no server to ask"),
        (vec!["unshare", "id"], "nsenter"),
    ] {
        let said = host.podrun(&line)?.fails_with(2)?;
        ensure!(
            said.contains(&format!("no command {:?}: ", line[0])) && said.contains(words),
            "{line:?}: {said}"
        );
        ensure!(said.lines().count() == 1, "one line: {said}");
    }
    for line in [["get", "pods", "--kubeconfig", "x"], ["--kubeconfig", "x", "get", "pods"]] {
        let said = host.podrun(&line)?.fails_with(2)?;
        ensure!(said.contains("no flag --kubeconfig") && said.contains("no server"), "{said}");
    }
    let said = host.podrun(&["gett"])?.fails_with(2)?;
    ensure!(said.starts_with("podrun: ") && said.contains("did you mean `podrun get`?"), "{said}");
    host.podrun(&["get", "services"])?.fails_with(2)?;
    let said = host.podrun(&["create", "-f", "https://example.com/pod.yaml"])?.fails_with(1)?;
    ensure!(said.contains("curl -sSL URL | podrun create -"), "{said}");
    Ok(())
}

fn complaints(host: &Host) -> Result<()> {
    for (line, words) in [
        (vec!["create"], "missing: FILE"),
        (vec!["exec", "web", "id"], "podrun exec POD -- PROGRAM"),
        (vec!["get", "pods", "--watc"], "did you mean --watch?"),
        (vec!["cretae", "x"], "did you mean `podrun create`?"),
        (vec!["gte", "pods"], "did you mean `podrun get`?"),
        (vec!["exec", "--user", "0", "web", "--", "id"], "runAsUser"),
        (vec!["create", "configmap", "x", "--from-literal=a=b"], "ConfigMaps"),
        (vec!["run", "x", "--image=a", "--restart=Maybe"], "one of Always, OnFailure, Never"),
        (vec!["delete", "x", "--wait=maybe"], "one of true, false"),
        (vec!["logs", "x", "--tail=all"], "a whole number"),
        (vec!["delete", "x", "--now", "--grace-period=9"], "exclude each other"),
    ] {
        let said = host.podrun(&line)?.fails_with(2)?;
        ensure!(said.starts_with("podrun: ") && said.contains(words), "{line:?}: {said}");
        ensure!(said.lines().count() == 2, "one line and its hint: {said}");
    }
    host.podrun(&[])?.fails_with(2)?;
    ensure!(host.podrun(&["help", "create"])?.ok()? == host.podrun(&["create", "--help"])?.ok()?, "one page");
    let said = host.podrun(&["get", "events"])?.fails_with(2)?;
    ensure!(said.contains("podrun describe pod"), "{said}");
    Ok(())
}

fn help_has_examples(host: &Host) -> Result<()> {
    let help = host.podrun(&["--help"])?.ok()?;
    let verbs: Vec<&str> = help.lines().filter_map(verb).collect();
    for wanted in [
        "create",
        "run",
        "get",
        "describe",
        "logs",
        "exec",
        "attach",
        "wait",
        "delete",
        "ns",
        "validate",
        "images",
        "pull",
        "load",
        "rmi",
        "doctor",
        "version",
        "completion",
    ] {
        ensure!(verbs.contains(&wanted), "{wanted} is not in {verbs:?}");
    }
    for verb in verbs {
        let text = host.podrun(&[verb, "--help"])?.ok()?;
        ensure!(text.contains(&format!("podrun {verb}")) && text.contains("Example"), "{verb}: {text}");
    }
    for shell in ["bash", "zsh", "fish"] {
        ensure!(host.podrun(&["completion", shell])?.ok()?.contains("podrun"), "{shell}");
    }
    ensure!(host.podrun(&["version"])?.ok()?.contains(env!("CARGO_PKG_VERSION")), "version");
    host.podrun(&[])?.fails_with(2)?;
    Ok(())
}

fn pipes_and_colours(host: &Host) -> Result<()> {
    for number in 0..3 {
        host.create(&sleeper(&format!("pod-{number}")))?;
    }
    for verb in ["get pods -o json", "oci features", "oci list"] {
        let closed = host.script(&format!("exec 3> >(:); wait $!; $podrun {verb} >&3 || echo code $?"))?;
        ensure!(
            closed.stdout == "code 141\n" && closed.stderr.is_empty(),
            "no panic, no message: {verb}: {closed}"
        );
    }
    for variable in ["NO_COLOR=1", "TERM=dumb", "CLICOLOR_FORCE="] {
        let said =
            host.script(&format!("{variable} $podrun get pods; {variable} $podrun get nothing || :"))?;
        ensure!(!said.stdout.contains('\u{1b}') && !said.stderr.contains('\u{1b}'), "{variable}: {said}");
    }
    host.podrun(&["delete", "pods", "--all", "--force"])?.ok()?;
    Ok(())
}

fn settings(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    ensure!(host.script("$podrun get pods -o name")?.ok()? == "pod/web\n", "by the environment");
    ensure!(
        host.script("PODRUN_STATE_DIR=/none $podrun --state-dir $PODRUN_STATE_DIR get pods -o name")?.ok()?
            == "pod/web\n",
        "a flag is above it"
    );
    host.delete("web")?;
    // Only the default state dir puts the pod's network namespace where `ip netns` looks.
    let manifest = host.write("web.json", &sleeper("web").to_string())?;
    let linked = host.script(&format!(
        "export PODRUN_STATE_DIR=/run/podrun
         $podrun create {} >/dev/null; ls /run/netns; ip netns exec default_web hostname
         $podrun delete web --force; ls /run/netns; rm -r /run/podrun /run/netns",
        manifest.display()
    ))?;
    let host_name = host.run("hostname", &[])?.ok()?;
    let wanted = format!("default_web\n{host_name}pod \"web\" force deleted\n");
    ensure!(linked.stdout == wanted, "{linked}");
    host.create(&sleeper("web"))?;
    ensure!(!host.path("/run/netns").exists(), "another state dir has no links");
    host.delete("web")?;
    host.script("PODRUN_CONFIG=/none $podrun get pods")?.fails_with(2)?;
    Ok(())
}

fn kubectls_flags(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    let names = host.podrun(&[
        "-n",
        "none",
        "get",
        "pods",
        "-o",
        "json",
        "-n",
        "default",
        "-o=name",
        "--watch=false",
    ])?;
    ensure!(names.ok()? == "pod/web\n", "the last of each");
    let said = host.podrun(&["exec", "-i=true", "--tty=false", "web", "--", "/probe", "exit", "4"])?;
    said.fails_with(4)?;
    host.podrun(&["logs", "web", "--all-containers=true", "--prefix=false"])?.ok()?;
    host.podrun(&["delete", "pod", "none", "--ignore-not-found=true"])?.ok()?;
    host.podrun(&["delete", "pod", "none", "--ignore-not-found=false"])?.fails_with(4)?;
    host.podrun(&["delete", "pods", "--all=true", "--now=true"])?.ok()?;
    Ok(())
}

fn manual(host: &Host) -> Result<()> {
    let folder = host.file("man");
    std::fs::create_dir_all(&folder)?;
    host.podrun(&["man", &folder.to_string_lossy()])?.ok()?;
    let help = host.podrun(&["--help"])?.ok()?;
    let verbs: Vec<&str> = help.lines().filter_map(verb).collect();
    ensure!(verbs.len() > 15, "{verbs:?}");
    let first = std::fs::read_to_string(folder.join("podrun.1"))?;
    for part in ["ENVIRONMENT", "PODRUN_ROOT", "FILES", "EXIT STATUS"] {
        ensure!(first.contains(part), "{part}: {first}");
    }
    for verb in verbs {
        let page =
            std::fs::read_to_string(folder.join(format!("podrun-{verb}.1"))).context(verb.to_owned())?;
        ensure!(page.contains(&format!("podrun {verb}")) && page.contains(".SH EXAMPLE"), "{page}");
        ensure!(first.contains(&format!("podrun\\-{verb}")), "{verb} is not in podrun(1)");
    }
    // Where there is a formatter, it has nothing to warn of.
    let warnings = host.script(
        "command -v man groff >/dev/null || exit 0
         for page in man/*.1; do LC_ALL=C.UTF-8 man --warnings -l $page 2>&1 >/dev/null; done",
    )?;
    ensure!(warnings.ok()?.is_empty(), "man --warnings");
    host.podrun(&["man", "/none"])?.fails_with(1)?;
    Ok(())
}

/// The verb that a line of `podrun --help` lists, two spaces in.
fn verb(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("  ")?;
    if rest.starts_with([' ', '-']) { None } else { rest.split_whitespace().next() }
}

/// What bash offers for a line, by the script that `podrun completion bash` prints.
fn offered(host: &Host, line: &[&str]) -> Result<Vec<String>> {
    let words: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "mkdir -p bin; ln -sf $podrun bin/podrun; PATH=$PWD/bin:$PATH; source <(podrun completion bash)
         COMP_WORDS=(podrun {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_TYPE=9
         compopt() {{ :; }}
         _podrun podrun \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words = words.join(" ")
    );
    let text = host.script(&script)?.ok()?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn completion(host: &Host) -> Result<()> {
    let spec = json!({
        "initContainers": [probe("prepare", &["exit", "0"])],
        "containers": [probe("main", &["sleep"]), probe("side", &["sleep"])],
    });
    host.create(&pod("web", &spec))?;
    let mut other = sleeper("job");
    other["metadata"]["namespace"] = json!("blue");
    host.create(&other)?;
    let image = reference("probe");
    let logins = host.path("/run/containers/0");
    std::fs::create_dir_all(&logins)?;
    let auths = json!({"auths": {"r.lan:5000": {"auth": "eDp5"}}, "credHelpers": {"other.lan": "none"}});
    std::fs::write(logins.join("auth.json"), auths.to_string())?;
    for (line, wanted) in [
        (vec!["logout", ""], vec!["other.lan", "r.lan:5000"]),
        (vec!["desc"], vec!["describe"]),
        (vec!["logs", ""], vec!["web"]),
        (vec!["get", "pod/"], vec!["pod/web"]),
        (vec!["-n", ""], vec!["blue", "default"]),
        (vec!["-n", "blue", "delete", ""], vec!["job"]),
        (vec!["logs", "web", ""], vec!["main", "prepare", "side"]),
        (vec!["exec", "-it", "web", "-c", "s"], vec!["side"]),
        (vec!["logs", "-n", "blue", "job", "-c", ""], vec!["main"]),
        (
            vec!["attach", "pod/web", "--container="],
            vec!["--container=main", "--container=prepare", "--container=side"],
        ),
        (vec!["rmi", ""], vec![&image]),
        (vec!["images", ""], vec![&image]),
        (vec!["pull", "--quiet", ""], vec![&image]),
        (vec!["image", "tree", ""], vec![&image]),
        (vec!["run", "x", "--image", ""], vec![&image]),
        (vec!["run", "x", "--restart", ""], vec!["Always", "OnFailure", "Never"]),
        (vec!["get", "-o", ""], vec!["wide", "json", "yaml", "name", "jsonpath=", "custom-columns="]),
        (vec!["get", "pods", "--sh"], vec!["--show-labels"]),
        (vec!["wait", "web", "--for=condition=I"], vec!["--for=condition=Initialized"]),
        (vec!["wait", "web", "--for", "condition=PodS"], vec!["condition=PodScheduled"]),
    ] {
        let seen = offered(host, &line)?;
        ensure!(seen == wanted, "{line:?}: {seen:?}");
    }
    std::fs::remove_dir_all(&logins)?;
    ensure!(
        offered(host, &["image", "prune", ""])?.contains(&"--dry-run".to_owned()),
        "flags where nothing else fits"
    );
    ensure!(host.podrun(&["completion", "zsh"])?.ok()?.starts_with("#compdef podrun\n"), "for autoload");
    // As a terminal's bash has it: words parted at = and :, the pod behind sudo, by nobody's help.
    let typed = "PATH=$PWD/bin:$PATH; source <(podrun completion bash); compopt() { :; }
        ask() {
            COMP_LINE=$1; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            $function \"$1\" \"$current\" x; printf '%s\\n' \"${COMPREPLY[@]}\"
        }
        function=_podrun current=; ask 'podrun wait web --for=condition=' podrun wait web --for = condition =
        current=Pod; ask 'podrun wait web --for=condition=Pod' podrun wait web --for = condition = Pod
        current=; ask 'podrun wait --for=delete ' podrun wait --for = delete ''
        complete -p sudo | grep -c behind_sudo; function=_podrun_behind_sudo
        ask 'sudo -E podrun logs ' sudo -E podrun logs ''; ask 'sudo podrun -n blue delete ' sudo podrun -n blue delete ''";
    let seen = host.script(typed)?.ok()?;
    let conditions = "Ready\nContainersReady\nInitialized\nPodScheduled\nPodReadyToStartContainers\n";
    ensure!(
        seen == format!("{conditions}PodScheduled\nPodReadyToStartContainers\nweb\n1\nweb\njob\n"),
        "{seen}"
    );
    // The other shells, where they are there.
    let fish = "command -v fish >/dev/null || exit 0
        fish --no-config -c 'podrun completion fish | source; complete -C \"podrun exec web -c \"'";
    let seen = host.script(&format!("PATH=$PWD/bin:$PATH; {fish}"))?.ok()?;
    ensure!(seen.is_empty() || seen == "main\nprepare\nside\n", "{seen}");
    host.podrun(&["delete", "web", "--force"])?.ok()?;
    host.podrun(&["delete", "job", "-n", "blue", "--force"])?.ok()?;
    Ok(())
}

fn plain_completion(host: &Host) -> Result<()> {
    // sudo's own completion asks as the user, who may list the names and nothing else of the root.
    let copy = host.path("/run/podrun-copy");
    std::fs::copy(binary_under_test()?, &copy)?;
    let seen = host.script(
        "umask 022; mkdir -p /run/own/names/default /run/own/pods; chmod 711 /run/own; chmod 700 /run/own/pods
         ln -s 1234 /run/own/names/default/web
         ask() {
             _CLAP_COMPLETE_INDEX=$1 PODRUN_COMPLETE=bash PODRUN_ROOT=/run/own \\
                 setpriv --reuid=65534 --regid=65534 --clear-groups /run/podrun-copy -- podrun \"${@:2}\"
         }
         cd /; ask 2 logs ''; echo; ask 4 logs web -c ''; ask 4 run x --image ''; rm -r /run/own /run/podrun-copy",
    )?;
    ensure!(seen.stderr.is_empty(), "{seen}");
    ensure!(seen.stdout == "web\n", "the pod alone: {seen}");
    Ok(())
}

fn installed_docs() -> Result<()> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let makefile = std::fs::read_to_string(root.join("Makefile"))?;
    let recipe = makefile.split("\ninstall:").nth(1).context("install")?;
    let recipe = recipe.split("\n\n").next().context("a recipe")?;
    let docs = recipe.lines().find(|line| line.ends_with(" docs/*.md")).context("docs")?;
    // The line as make runs it, into a folder of its own.
    let folder = tempfile::tempdir()?;
    let line = docs
        .trim()
        .replace("$(DESTDIR)", &folder.path().to_string_lossy())
        .replace("$(PREFIX)", "/usr/local");
    let installed = std::process::Command::new("sh").arg("-c").arg(line).current_dir(root).status()?;
    ensure!(installed.success(), "{docs}");
    let there = folder.path().join("usr/local/share/doc/podrun");
    for folder in ["cli/src", "runtime/src"] {
        for page in named_pages(&root.join(folder))? {
            ensure!(there.join(&page).is_file(), "{page} is named in {folder}, and not installed");
        }
    }
    Ok(())
}

/// The pages `docs/NAME.md` that the code below `folder` names.
fn named_pages(folder: &std::path::Path) -> Result<Vec<String>> {
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            pages.extend(named_pages(&path)?);
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        for part in text.split("docs/").skip(1) {
            let name =
                part.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').next().unwrap_or_default();
            if let Some(name) = name.strip_suffix(".md").or_else(|| name.strip_suffix(".md.")) {
                pages.push(format!("docs/{name}.md"));
            }
        }
    }
    Ok(pages)
}

fn progress(host: &Host) -> Result<()> {
    let archive = fixtures::path("layers.tar")?;
    for (columns, has_bar) in [(70, true), (60, false)] {
        let shown = host.script(&format!(
            "TERM=xterm script -qec 'stty rows 24 cols {columns}; exec $podrun load {}' /dev/null </dev/null; $podrun rmi {} >/dev/null",
            archive.display(),
            reference("layers"),
        ))?;
        let shown = shown.ok()?;
        ensure!(shown.contains("complete") && shown.contains("loaded "), "{shown}");
        ensure!(shown.contains("[=") == has_bar, "{columns}: {shown}");
        // Each line ends with its rate, and fills the terminal, so that the next begins without a line feed.
        let bars: Vec<&str> = shown.split_inclusive("B/s").filter(|bar| bar.ends_with("B/s")).collect();
        ensure!(bars.len() > 4, "{shown:?}");
        for bar in bars {
            let bar = bar.rsplit(['\r', '\u{1b}']).next().unwrap_or_default();
            let after_its_sequence = bar.strip_prefix('[').and_then(|rest| rest.split_once(['K', 'A', 'B']));
            let bar = after_its_sequence.map_or(bar, |(_, bar)| bar);
            ensure!(
                (40..=columns).contains(&bar.chars().count()),
                "{bar:?} does not fit in {columns} columns"
            );
        }
    }
    Ok(())
}

fn narrow_tables(host: &Host) -> Result<()> {
    host.create(&sleeper("a-pod-with-a-long-name"))?;
    let shown = |columns: u16, line: &str| {
        let script = "script -qec 'stty rows 24 cols COLUMNS; exec $podrun LINE' /dev/null </dev/null || :";
        let script = script.replace("COLUMNS", &columns.to_string()).replace("LINE", line);
        host.script(&script)?.ok().map(|text| text.replace('\r', ""))
    };
    for line in ["get pods -o wide", "images", "doctor", "ns a-pod-with-a-long-name"] {
        let (narrow, wide) = (shown(60, line)?, shown(250, line)?);
        let fits = |line: &str| line.chars().count() <= 60 || !line.trim().contains(' ');
        // What doctor advises is no table.
        let table = narrow.split("\n\n").next().unwrap_or_default();
        ensure!(table.lines().all(fits), "{line}: {narrow}");
        ensure!(
            wide.lines().count() < narrow.lines().count(),
            "{line}: in pipes and wide terminals a row is a line: {wide}"
        );
    }
    host.podrun(&["delete", "a-pod-with-a-long-name", "--force"])?.ok()?;
    Ok(())
}

fn wrong_config(host: &Host) -> Result<()> {
    for (text, place, words) in [
        ("root: /x\nnetwork:\n  brigde: x\n", "own.yaml:3:3: ", "unknown field `brigde`"),
        ("network:\n  idleSeconds: -1\n", "own.yaml:2:16: ", "  idleSeconds: -1"),
        ("network: [\n", "own.yaml:", "network: ["),
    ] {
        let config = host.write("own.yaml", text)?;
        let config = format!("--config={}", config.display());
        let said = host.podrun(&[&config, "get", "pods"])?.fails_with(2)?;
        ensure!(said.contains(place) && said.contains(words) && said.contains("^"), "{said}");
        ensure!(!said.contains("-->") && !said.contains("<input>"), "{said}");
    }
    for (text, words) in [
        ("network: {subnet: 300.0.0.0/16}\n", "own.yaml: network.subnet: `300.0.0.0/16`"),
        ("network: {subnet6: 'fd10::1/64'}\n", "network.subnet6"),
        ("network: {bridge: 'a/b'}\n", "network.bridge"),
        ("registries: {'x y': {http: true}}\n", "x y"),
    ] {
        let config = host.write("own.yaml", text)?;
        let said = host.podrun(&[&format!("--config={}", config.display()), "get", "pods"])?.fails_with(2)?;
        ensure!(said.contains(words) && !said.contains("warning"), "{said}");
    }
    Ok(())
}
