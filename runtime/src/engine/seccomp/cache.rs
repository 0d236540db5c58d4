//! Compiled programs on disk, keyed by their inputs.
//!
//! Invariant: a file is used only if it is whole and for this very profile, library and architecture; any other
//! counts as absent, and is replaced. Failing to keep a program costs time and nothing else.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use oci_spec::runtime::LinuxSeccomp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::error::Result;
use crate::sys::file::{dir, own};
use crate::sys::kernel::libseccomp;
use crate::sys::kernel::seccomp::Instruction;

/// The first bytes of a file. The digit changes with the compiler or the layout.
const MAGIC: &[u8; 8] = b"podrbpf1";
/// The magic, the key, and the digest of the instructions.
const HEADER: usize = 8 + 32 + 32;
/// How many programs are kept; a profile has one for each set of rights that it tells apart.
const MOST: usize = 64;

/// All that a program depends on. The rest of `linux.seccomp` is about its installation.
#[derive(Serialize)]
struct Source<'a> {
    library: (u32, u32, u32),
    native: u32,
    default: (u32, Option<u32>),
    architectures: &'a Option<Vec<oci_spec::runtime::Arch>>,
    syscalls: &'a Option<Vec<oci_spec::runtime::LinuxSyscall>>,
}

fn key(seccomp: &LinuxSeccomp) -> [u8; 32] {
    let source = Source {
        library: libseccomp::version(),
        native: libseccomp::native(),
        default: (seccomp.default_action().into(), seccomp.default_errno_ret()),
        architectures: seccomp.architectures(),
        syscalls: seccomp.syscalls(),
    };
    let text = serde_json::to_vec(&source).expect("it has no map and no float");
    Sha256::new().chain_update(MAGIC).chain_update(text).finalize().into()
}

/// The profile's program: from `folder`, or compiled and kept there.
pub(super) fn program(seccomp: &LinuxSeccomp, folder: &Path) -> Result<Vec<Instruction>> {
    let key = key(seccomp);
    let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some(program) = read(&folder.join(&name), &key) {
        return Ok(program);
    }
    let program = super::compile(seccomp)?;
    // A full or read-only disk is no reason against a container.
    let _ = keep(folder, &name, &encode(&key, &program));
    Ok(program)
}

fn encode(key: &[u8; 32], program: &[Instruction]) -> Vec<u8> {
    let instructions: Vec<u8> = program.iter().flat_map(|instruction| instruction.encode()).collect();
    [MAGIC.as_slice(), key, &Sha256::digest(&instructions), &instructions].concat()
}

/// One open and one read; `None` unless the file is whole and `key`'s.
fn read(path: &Path, key: &[u8; 32]) -> Option<Vec<Instruction>> {
    let mut bytes = vec![0; HEADER + Instruction::SIZE * Instruction::MAX + 1];
    let length = File::open(path).and_then(|mut file| file.read(&mut bytes)).ok()?;
    decode(bytes.get(..length)?, key)
}

fn decode(bytes: &[u8], key: &[u8; 32]) -> Option<Vec<Instruction>> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (own, rest) = rest.split_first_chunk::<32>()?;
    let (digest, instructions) = rest.split_first_chunk::<32>()?;
    let whole = magic == MAGIC && own == key && Sha256::digest(instructions)[..] == digest[..];
    let program = Instruction::decode(instructions).filter(|_| whole)?;
    (1..=Instruction::MAX).contains(&program.len()).then_some(program)
}

/// Publishes a file at once or not at all: it has no name before it is whole.
fn keep(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    own::directories(folder, own::PRIVATE)?;
    let at = dir::open(folder)?;
    let mut file = File::from(dir::create_unnamed(&at)?);
    file.write_all(bytes)?;
    make_room(folder)?;
    match dir::publish(&file, &at, name.as_bytes()) {
        Err(error) if error.is_taken() => {
            // A torn file, or another process was faster: its file is equally good.
            if read(&folder.join(name), &key_of(bytes)).is_none() {
                dir::remove_file(&at, name.as_bytes())?;
                dir::publish(&file, &at, name.as_bytes())?;
            }
            Ok(())
        }
        other => Ok(other?),
    }
}

fn key_of(bytes: &[u8]) -> [u8; 32] {
    bytes.get(8..40).and_then(|key| key.try_into().ok()).unwrap_or_default()
}

/// Removes the files that were read longest ago, as far as the file system notes that, until one more fits.
fn make_room(folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Ok(metadata) = entry.metadata() {
            files.push((metadata.atime().max(metadata.mtime()), entry.path()));
        }
    }
    files.sort();
    for (_, path) in files.iter().take((files.len() + 1).saturating_sub(MOST)) {
        // Another process may make room at the same time.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(errno: u32) -> LinuxSeccomp {
        let value = serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno,
            "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}],
        });
        serde_json::from_value(value).unwrap()
    }

    fn files(folder: &Path) -> Vec<std::path::PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_program_is_compiled_once_and_read_after_that() {
        let folder = tempfile::tempdir().unwrap();
        let compiled = program(&profile(1), folder.path()).unwrap();
        let [file] = &files(folder.path())[..] else { panic!("one file is kept") };
        // Its own digest and another program: the file is used as it is.
        let other = vec![Instruction::answer(crate::sys::kernel::seccomp::Action::ENOSYS)];
        std::fs::write(file, encode(&key(&profile(1)), &other)).unwrap();
        assert_eq!(program(&profile(1), folder.path()).unwrap(), other);
        assert_ne!(compiled, other);
    }

    #[test]
    fn a_torn_or_foreign_file_is_compiled_anew_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let compiled = program(&profile(1), folder.path()).unwrap();
        let file = files(folder.path()).remove(0);
        let whole = std::fs::read(&file).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let foreign = encode(&key(&profile(2)), &compiled);
        let trailing = [whole.as_slice(), b"more"].concat();
        for bad in
            [b"".as_slice(), &whole[..whole.len() - 8], &whole[..HEADER], &flipped, &foreign, &trailing]
        {
            std::fs::write(&file, bad).unwrap();
            assert_eq!(program(&profile(1), folder.path()).unwrap(), compiled);
            assert_eq!(std::fs::read(&file).unwrap(), whole);
        }
    }

    #[test]
    fn writers_at_once_leave_one_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let compiled = program(&profile(1), folder.path()).unwrap();
        std::fs::remove_file(files(folder.path()).remove(0)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(program(&profile(1), folder.path()).unwrap(), compiled));
            }
        });
        assert_eq!(files(folder.path()).len(), 1);
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        for errno in 1..100 {
            program(&profile(errno), folder.path()).unwrap();
        }
        assert_eq!(files(folder.path()).len(), MOST);
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_time_only() {
        assert!(program(&profile(1), Path::new("/proc/no/such/folder")).is_ok());
    }
}
