//! Volumes: names, paths and sizes.
//!
//! Invariant: as in [`super`].

use std::collections::HashSet;

use super::super::path::Path;
use super::super::types::{PodSpec, StorageMedium, VolumeSource};
use super::{Findings, names};
use crate::error::{quoted, shown};

pub(super) fn volumes(spec: &PodSpec, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let path = Path::of("spec.volumes").index(index);
        let at = path.field("name");
        if volume.name.is_empty() {
            findings.add(at, "required");
        } else if !seen.insert(&volume.name) {
            findings.add(at, format!("another volume is called {} too", quoted(&volume.name)));
        } else {
            findings.hold(at, names::dns_label(&volume.name));
        }
        match &volume.source {
            VolumeSource::EmptyDir(source) => {
                let Some(limit) = &source.size_limit else { continue };
                let path = path.field("emptyDir").field("sizeLimit");
                if limit.nanos() < 0 {
                    findings.add(path, format!("must not be negative, got {}", shown(&limit.to_string())));
                } else if limit.nanos() > 0 && source.medium == StorageMedium::Disk {
                    findings.add(
                        path,
                        "not supported yet on disk, where nothing holds a folder to its size; leave it out, or set medium: Memory",
                    );
                }
            }
            VolumeSource::HostPath(source) => {
                host_path(&source.path, path.field("hostPath").field("path"), findings);
            }
        }
    }
}

fn host_path(host_path: &str, path: Path, findings: &mut Findings) {
    if host_path.is_empty() {
        findings.add(path, "required");
    } else if host_path.split('/').any(|part| part == "..") {
        findings.add(path, format!("must not contain `..`, got {}", quoted(host_path)));
    } else if !host_path.starts_with('/') {
        findings.add(path, format!("must be an absolute path, got {}", quoted(host_path)));
    }
}
