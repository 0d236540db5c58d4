//! References as people and archives write them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| runtime::image::fuzz::reference(text));
