//! An image's files for one program to look at: read only, in a mount namespace that only it and podrun are in.
//!
//! Invariant: the host's mount table never shows it. The directory that is mounted on lies in `tmp`, and goes when the
//! program has ended; a podrun that is killed leaves an empty directory to the next sweep.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::layer::layers::layer_dir;
use crate::image::store::ImageStore;
use crate::image::store::lease::Hold;
use crate::image::store::unique_name;
use crate::sys;
use crate::sys::process::ns::Namespaces;

/// The variable that tells the program where the image is.
const VARIABLE: &str = "PODRUN_MOUNT";
/// The placeholder for that path in arguments.
const PLACE: &str = "{}";

impl ImageStore {
    /// Runs `command` with the image `text` mounted read only, and returns its exit code. The program starts in
    /// the image's root, whose path is in `PODRUN_MOUNT` and in place of each `{}` in the arguments. The
    /// calling thread is in the new mount namespace from then on.
    pub fn run_mounted(&self, text: &str, command: &[String]) -> Result<i32> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| Error::new(ErrorKind::Usage, "no program to run"))?;
        let mounted = Mounted::new(self, text)?;
        let path = mounted.path.to_str().ok_or_else(|| Error::failed("--root is not valid UTF-8"))?;
        let placed = |argument: &String| argument.replace(PLACE, path);
        let mut command = Command::new(placed(program));
        command.args(arguments.iter().map(placed)).current_dir(path).env(VARIABLE, path);
        let signals = sys::process::signal::Forwarded::open()?;
        let mut child = signals.start(&mut command).map_err(|error| cannot_run(program, &error))?;
        let pidfd = child.id().try_into().map_err(|_| Error::failed("a pid that is none"));
        let watched = pidfd.and_then(|pid: i32| {
            let pidfd =
                sys::process::pidfd::pidfd_of_child(pid).map_err(|errno| errno.during("pidfd_open()"))?;
            Ok(signals.until_end(pidfd.as_fd())?.code())
        });
        if watched.is_err() {
            // The error that matters is why it cannot be watched.
            let _ = child.kill().and_then(|()| child.wait());
        }
        watched
    }
}

fn cannot_run(program: &str, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::CommandNotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::CommandNotExecutable,
        _ => ErrorKind::Failed,
    };
    let why = match error.raw_os_error() {
        Some(errno) => sys::errno_name(errno),
        None => error.to_string(),
    };
    Error::new(kind, format!("{program}: {why}")).hint("the program is the host's, not the image's")
}

/// An image that is mounted.
struct Mounted {
    path: PathBuf,
    tmp: OwnedFd,
    name: String,
    _hold: Hold,
    // Protects the directory in `tmp` from the sweep.
    _lock: File,
}

impl Mounted {
    fn new(store: &ImageStore, text: &str) -> Result<Self> {
        let image = store.known(text)?;
        let record = store
            .record(&image.id)
            .map_err(|error| error.context(format!("image {}", image.display_name())))?;
        let lock = store.begin_ingest()?;
        let hold = store.hold_record(&record)?;
        if !store.has(&image) {
            return Err(Error::new(
                ErrorKind::Image,
                format!("image {}: a layer of it is gone", image.display_name()),
            )
            .hint("pull or load the image again"));
        }
        let tmp = sys::file::dir::open(&store.tmp_dir())?;
        let name = unique_name();
        sys::file::dir::make_dir(&tmp, name.as_bytes(), 0o700)?;
        let path = store.tmp_dir().join(&name).join("root");
        // From here on dropping it undoes everything made.
        let this = Self { path, tmp, name, _hold: hold, _lock: lock };
        let layers: Vec<PathBuf> =
            record.layers.iter().rev().map(|layer| layer_dir(store.host(), layer)).collect();
        this.mount(&layers).map_err(|error| error.context(format!("mount {}", image.display_name())))?;
        Ok(this)
    }

    fn mount(&self, layers: &[PathBuf]) -> Result<()> {
        let made = sys::file::dir::open_at(&self.tmp, self.name.as_bytes())?;
        for name in ["root", "empty", "void"] {
            sys::file::dir::make_dir(&made, name.as_bytes(), 0o755)?;
        }
        // Before opening the layers: overlayfs takes only mounts of the caller's own namespace.
        sys::process::ns::unshare(Namespaces::MOUNT).map_err(|errno| errno.during("unshare(CLONE_NEWNS)"))?;
        sys::file::mount::make_root_slave().map_err(|errno| errno.during("mount(\"/\", MS_REC|MS_SLAVE)"))?;
        let mut lower =
            layers.iter().map(|layer| sys::file::dir::open(layer)).collect::<sys::Result<Vec<_>>>()?;
        // An overlay without an upper directory takes two lower ones at least.
        for name in ["empty", "void"].into_iter().take(2_usize.saturating_sub(lower.len())) {
            lower.push(sys::file::dir::open(&self.path.with_file_name(name))?);
        }
        let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
        let tree = sys::file::overlay::mount_read_only(&lower)?;
        let root = sys::file::dir::open(&self.path)?;
        sys::file::mount::attach(tree.as_fd(), root.as_fd())
            .map_err(|errno| errno.during("move_mount(overlay)"))
            .context(|| self.path.display())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        detach(&self.path);
        // Remains are swept when the store is opened next.
        let _ = sys::file::dir::remove_tree(&self.tmp, self.name.as_bytes());
    }
}

/// Takes the mount away, in the namespace of our own; where there is none yet, there is nothing to take.
fn detach(path: &Path) {
    use std::os::unix::ffi::OsStrExt;
    if let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) {
        let _ = sys::file::mount::detach(&path);
    }
}
