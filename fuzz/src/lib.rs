//! What the targets that read tars share: a mutation after which most headers still have their right checksum.
//!
//! Invariant: one input in sixteen is left as the fuzzer made it, so that wrong checksums are tried, too.

use libfuzzer_sys::fuzzer_mutate;

const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const SIZE: std::ops::Range<usize> = 124..136;

/// Mutates `data` in place, as libFuzzer would, and mends its headers. Gives the new length.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let size = fuzzer_mutate(data, size, max_size);
    if seed % 16 != 0 {
        mend(&mut data[..size]);
    }
    size
}

/// Gives each header that a reader of tar would come to its right checksum.
fn mend(mut rest: &mut [u8]) {
    while rest.len() >= BLOCK {
        let (header, after) = rest.split_at_mut(BLOCK);
        let mut skip = 0;
        // A block of zeros is an end, and no header.
        if header.iter().any(|byte| *byte != 0) {
            header[CHECKSUM].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            skip = size_of_content(header).next_multiple_of(BLOCK);
        }
        rest = after.get_mut(skip..).unwrap_or_default();
    }
}

/// What a header says of its content's size; one that is not in octal digits, or is larger than any input, counts as none.
fn size_of_content(header: &[u8]) -> usize {
    let digits = std::str::from_utf8(&header[SIZE]).unwrap_or_default();
    let size = usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8).unwrap_or(0);
    if size < 1 << 20 { size } else { 0 }
}
