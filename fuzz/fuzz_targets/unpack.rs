//! The unpacker, which makes files. `scripts/fuzz.sh` starts it as root in a root of its own, with nothing of the host in
//! it that can be written to; what lies beside the layer's directory has to be as before after each layer.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use runtime::image::fuzz::Unpacking;

static UNPACKING: OnceLock<Unpacking> = OnceLock::new();

fuzz_target!(init: {
    let folder = std::env::var_os("PODRUN_FUZZ_FOLDER").map(PathBuf::from);
    let folder = folder.expect("PODRUN_FUZZ_FOLDER names an empty folder: `make fuzz` has one in a root of its own");
    UNPACKING.get_or_init(|| Unpacking::new(Path::new(&folder)));
}, |tar: &[u8]| UNPACKING.get().expect("it was made first").run(tar));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    podrun_fuzz::mutate(data, size, max_size, seed)
});
