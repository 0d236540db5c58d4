//! The records of pods: made, found, removed, and unreadable ones.

use super::*;
use crate::error::ErrorKind;
use crate::manifest::sandbox_config;
use crate::pod::Missing;
use crate::pod::record;
use crate::pod::store::{Guard, begin, fill, folder_names, hold, is_alive, remove};
use crate::pod::{draw_suffix, draw_uid};

fn host() -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let host = Host {
        root: dir.path().join("root"),
        state_dir: dir.path().join("state"),
        log_dir: dir.path().join("logs"),
        ..Host::default()
    };
    (dir, host)
}

fn pod(name: &str) -> Pod {
    let meta = serde_json::json!({"name": name, "namespace": "default", "generateName": if name.is_empty() { "g-" } else { "" }});
    serde_json::from_value(
        serde_json::json!({"metadata": meta, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    )
    .unwrap()
}

fn create(host: &Host, pod: &mut Pod) -> Result<(Sandbox, Guard)> {
    let (id, guard) = begin(host)?;
    pod.metadata.uid = draw_uid()?;
    if pod.metadata.name.is_empty() {
        pod.metadata.name = format!("g-{}", draw_suffix()?);
    }
    let config = sandbox_config(pod, record::now(), &host.log_dir, Missing::default())?;
    let made = fill(host, &id, &config).inspect_err(|_| remove(host, &id).unwrap())?;
    Ok((made, guard))
}

#[test]
fn a_pod_is_made_found_and_removed_without_a_trace() {
    let (_dir, host) = host();
    let (sandbox, guard) = create(&host, &mut pod("web")).unwrap();
    assert!(hold(&host, &sandbox.id).unwrap().is_none(), "its maker holds it");
    drop(guard);
    assert!(hold(&host, &sandbox.id).unwrap().is_some());
    let found = find(&host, "default", "web").unwrap();
    assert_eq!(found.id, sandbox.id);
    let shown = found.pod;
    assert_eq!(shown.metadata.uid, sandbox.uid);
    assert_eq!(shown.status.phase, Some(PodPhase::Pending));
    assert_eq!(find(&host, "default", &sandbox.id[..10]).unwrap().id, sandbox.id);
    assert!(!is_alive(&host, &found.id).unwrap());
    assert_eq!(find(&host, "other", "web").unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::create_dir_all(&sandbox.log_dir).unwrap();
    remove(&host, &sandbox.id).unwrap();
    remove(&host, &sandbox.id).unwrap();
    assert!(list(&host).unwrap().is_empty());
    for left in [host.pod_root(&sandbox.id), host.pod_state_dir(&sandbox.id), sandbox.log_dir] {
        assert!(!left.exists(), "{}", left.display());
    }
}

#[test]
fn a_taken_name_leaves_nothing_of_the_second_pod() {
    let (_dir, host) = host();
    let (first, _guard) = create(&host, &mut pod("web")).unwrap();
    assert_eq!(create(&host, &mut pod("web")).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(folder_names(&host.root.join("pods")).unwrap(), std::slice::from_ref(&first.id));
    assert_eq!(folder_names(&host.state_dir.join("pods")).unwrap(), [first.id]);
}

#[test]
fn generated_names_differ() {
    let (_dir, host) = host();
    let (first, _one) = create(&host, &mut pod("")).unwrap();
    let (second, _two) = create(&host, &mut pod("")).unwrap();
    assert_ne!(first.name, second.name);
    assert!(first.name.starts_with("g-") && first.name.len() == 7);
}

#[test]
fn an_unreadable_record_is_a_visible_unknown_pod_with_its_name() {
    let (_dir, host) = host();
    let (torn, _one) = create(&host, &mut pod("torn")).unwrap();
    let (lost, _two) = create(&host, &mut pod("lost")).unwrap();
    std::fs::write(record::sandbox_path(&host, &torn.id), "{").unwrap();
    std::fs::remove_dir_all(host.pod_root(&lost.id)).unwrap();
    let shown: Vec<_> = list(&host).unwrap().into_iter().map(|entry| entry.pod).collect();
    let phases: Vec<_> = shown.iter().map(|pod| (pod.metadata.name.as_str(), pod.status.phase)).collect();
    assert_eq!(phases, [("lost", Some(PodPhase::Unknown)), ("torn", Some(PodPhase::Unknown))]);
    assert_eq!(
        create(&host, &mut pod("lost")).unwrap_err().kind(),
        ErrorKind::Exists,
        "the name stays reserved"
    );
    for id in [&torn.id, &lost.id] {
        remove(&host, id).unwrap();
    }
    create(&host, &mut pod("lost")).unwrap();
}

#[test]
fn a_removal_that_was_cut_off_goes_on() {
    let (_dir, host) = host();
    let (sandbox, _guard) = create(&host, &mut pod("web")).unwrap();
    let pods = host.root.join("pods");
    std::fs::rename(pods.join(&sandbox.id), pods.join(format!(".{}", sandbox.id))).unwrap();
    assert!(list(&host).unwrap().is_empty(), "it is gone, though its name is not yet");
    assert_eq!(find(&host, "default", "web").unwrap_err().kind(), ErrorKind::NotFound);
    remove(&host, &sandbox.id).unwrap();
    assert!(folder_names(&pods).unwrap().is_empty());
    assert!(list(&host).unwrap().is_empty());
}

#[test]
fn a_pod_that_goes_is_gone_at_once_or_still_there() {
    let (_dir, host) = host();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for entry in list(&host).unwrap() {
                    let status = &entry.pod.status;
                    assert_eq!(status.phase, Some(PodPhase::Pending), "{}: {}", entry.name, status.message);
                }
            }
        };
        let readers = [scope.spawn(look), scope.spawn(look)];
        for turn in 0..200 {
            let made = create(&host, &mut pod(&format!("web-{}", turn % 3)));
            made.and_then(|(sandbox, _guard)| remove(&host, &sandbox.id)).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}
