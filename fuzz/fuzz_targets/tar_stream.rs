//! The reader of tar streams alone.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|tar: &[u8]| runtime::image::fuzz::tar_stream(tar));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    podrun_fuzz::mutate(data, size, max_size, seed)
});
