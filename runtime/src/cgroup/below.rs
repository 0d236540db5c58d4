//! Cgroups that a container's own processes have made below its own: where an exec may go.
//!
//! Invariant: a path leads below the container's cgroup and nowhere else, over directories that are there.

use std::path::{Component, Path, PathBuf};

use super::Cgroup;
use super::layout::Controller;
use crate::error::{Context as _, Error, ErrorKind, Result};

/// A path below a container's cgroup, in all hierarchies or in those of some controllers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Below {
    /// The kernel's names of v1 controllers, `name=…` hierarchies among them; none: all hierarchies.
    controllers: Vec<String>,
    path: PathBuf,
}

impl std::str::FromStr for Below {
    type Err = Error;

    /// `PATH`, or `CONTROLLER[,CONTROLLER…]:PATH`. `/` is the container's own.
    fn from_str(text: &str) -> Result<Self> {
        let (controllers, path) = text.split_once(':').unwrap_or(("", text));
        let below = Path::new(path.trim_start_matches('/'));
        let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !plain || path.contains(['\n', '\0']) {
            return Err(Error::new(ErrorKind::Usage, format!("`{text}`: no path below a cgroup")));
        }
        let names: Vec<String> =
            controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if names.is_empty() && text.contains(':') {
            return Err(Error::new(ErrorKind::Usage, format!("`{text}`: no controller before the colon")));
        }
        Ok(Self { controllers: names, path: below.to_owned() })
    }
}

impl Cgroup {
    /// This cgroup with its processes' places `below` it. A hierarchy without controllers takes part where the
    /// directory is there: on a hybrid host its maker may know v1 alone.
    pub fn at(mut self, below: &Below) -> Result<Self> {
        let Below { controllers, path } = below;
        if self.is_none() {
            return Err(Error::new(ErrorKind::Unsupported, "the container has no cgroup"));
        }
        let missing = |directory: &Path| {
            Error::new(ErrorKind::NotFound, format!("there is no cgroup {}", directory.display()))
                .hint("it is to be made in the container first")
        };
        for name in controllers {
            let known = Controller::parse(name);
            let carries = |place: &super::Place| {
                place.joined
                    && (known.is_some_and(|known| place.controllers.contains(&known))
                        || place.mount.file_name().is_some_and(|mounted| mounted == name.as_str()))
            };
            let Some(place) = self.v1.iter_mut().find(|place| carries(place)) else {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("`{name}` is no controller of cgroup v1 here, or not of this container"),
                )
                .hint("in cgroup v2 all controllers have one hierarchy: give the path alone"));
            };
            let directory = place.directory.join(path);
            if !directory.is_dir() {
                return Err(missing(&directory));
            }
            place.directory = directory;
        }
        if !controllers.is_empty() {
            return Ok(self);
        }
        let pure = self.v1.is_empty();
        for place in self.v1.iter_mut().filter(|place| place.joined) {
            let directory = place.directory.join(path);
            if !directory.is_dir() {
                if place.controllers.is_empty() {
                    continue;
                }
                return Err(missing(&directory));
            }
            place.directory = directory;
        }
        if let Some(unified) = &mut self.unified {
            let directory = unified.join(path);
            match directory.is_dir() {
                true => *unified = directory,
                false if pure => return Err(missing(&directory)),
                false => {}
            }
        }
        Ok(self)
    }

    /// Adds the cgroup of `init`, for another process of its container. On cgroup v2 a cgroup that delegates
    /// controllers has no process of its own: a service manager has moved its `init` below, and the new process
    /// joins it there.
    pub fn with_init(mut self, init: i32) -> Result<Self> {
        let Some(unified) = self.unified.clone().filter(|_| self.v1.is_empty()) else { return Ok(self) };
        let given = std::fs::read_to_string(unified.join("cgroup.subtree_control")).unwrap_or_default();
        if given.trim().is_empty() {
            return Ok(self);
        }
        let file = format!("/proc/{init}/cgroup");
        let text = std::fs::read_to_string(&file).context(|| file.clone())?;
        if let Some(below) = text.lines().find_map(|line| below(line, &self.path)) {
            self.unified = Some(unified.join(below));
        }
        Ok(self)
    }
}

/// The path of the unified hierarchy in a line of /proc/PID/cgroup, relative to `path`; `None` where it is not
/// below.
fn below<'a>(line: &'a str, path: &str) -> Option<&'a str> {
    line.strip_prefix("0::")?.strip_prefix(path)?.strip_prefix('/').filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below() {
        let parsed = |text: &str| text.parse::<Below>();
        let below = parsed("cpu,memory:/a/b").unwrap();
        assert_eq!((below.controllers.len(), below.path), (2, PathBuf::from("a/b")));
        assert_eq!(parsed("/").unwrap().path, PathBuf::new());
        assert_eq!(parsed("a").unwrap().controllers, Vec::<String>::new());
        for wrong in ["", "..", "a/../b", "/../x", ":a", "cpu:", "a\nb"] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_init_is_found_below_its_containers_cgroup_alone() {
        assert_eq!(below("0::/podrun/web/init.scope", "/podrun/web"), Some("init.scope"));
        assert_eq!(below("0::/podrun/web", "/podrun/web"), None);
        assert_eq!(below("0::/podrun/website/x", "/podrun/web"), None);
        assert_eq!(below("4:memory:/podrun/web/x", "/podrun/web"), None);
    }
}
