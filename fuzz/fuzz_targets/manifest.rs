//! Indexes, manifests and configs, OCI's and Docker's, and the list in an archive of `docker save`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| runtime::image::fuzz::documents(document));
