//! What a registry's answer says in headers that are parsed: WWW-Authenticate, Retry-After, Link.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| runtime::image::fuzz::headers(text));
