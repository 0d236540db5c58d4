//! The home directory of the container's user, by the container's own passwd: for a process that is told none.
//!
//! Invariant: nothing here allocates. The file is the container's: a regular one inside its root, read once and
//! up to a bound; its only result is one checked path. Whatever is wrong with it, there is a home: `/`.

use std::os::fd::AsFd as _;

use super::State;
use crate::sys::child::exec::{HOME_MAX, Home};
use crate::sys::file::fs;

/// As much of the file as is read: containerd's bound.
const FILE_MAX: usize = 10 << 20;
/// The longest line that is looked at: a path, and as much beside it.
const LINE_MAX: usize = 2 * HOME_MAX;

/// Sets `home` by the passwd line of `uid`; without a line or a file it stays `/`.
pub(super) fn find(uid: u32, home: &Home, state: &State<'_>) {
    let opened = state.root().and_then(|root| fs::open_regular_in_root(root, c"etc/passwd"));
    let Ok(Some(file)) = opened else { return };
    let mut lines = Lines::new(uid);
    let (mut chunk, mut left) = ([0; 4096], FILE_MAX);
    while let Ok(count @ 1..) = fs::read(file.as_fd(), &mut chunk) {
        for byte in chunk.iter().take(count.min(left)) {
            if let Some(found) = lines.take(*byte) {
                return home.set(found);
            }
        }
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
    if let Some(found) = lines.take(b'\n') {
        home.set(found);
    }
}

/// A passwd, a byte at a time.
struct Lines {
    uid: u32,
    line: [u8; LINE_MAX],
    /// How long the line is, more than there is room for too.
    len: usize,
}

impl Lines {
    fn new(uid: u32) -> Self {
        Self { uid, line: [0; LINE_MAX], len: 0 }
    }

    /// The home directory, once the line of the user is whole; an empty one, where that names none.
    fn take(&mut self, byte: u8) -> Option<&[u8]> {
        if byte != b'\n' {
            if let Some(place) = self.line.get_mut(self.len) {
                *place = byte;
            }
            self.len = self.len.saturating_add(1);
            return None;
        }
        let line = self.line.get(..std::mem::take(&mut self.len))?;
        let mut fields = line.split(|byte| *byte == b':');
        let uid = fields.nth(2).and_then(|uid| str::from_utf8(uid).ok()?.parse::<u32>().ok());
        let home = fields.nth(2).filter(|_| uid == Some(self.uid))?;
        let is_path = home.starts_with(b"/") && !home.iter().any(u8::is_ascii_control);
        Some(if is_path { home } else { b"" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(passwd: &[u8], uid: u32) -> Option<String> {
        let mut lines = Lines::new(uid);
        for byte in passwd {
            if let Some(home) = lines.take(*byte) {
                return Some(String::from_utf8_lossy(home).into_owned());
            }
        }
        None
    }

    #[test]
    fn the_first_line_of_the_user_says_it() {
        let passwd =
            b"root:x:0:0:root:/root:/bin/sh\nevil\n:x:7\nwww:x:33:34::/var/www:/bin/sh\nb:x:33:1::/b:\n\
                       rel:x:5:5::relative:\nctl:x:6:6::/a\tb:\nnone:x:8:8:::\nshort:x:9:9::/nine\n";
        for (uid, home) in [
            (0, Some("/root")),
            (33, Some("/var/www")),
            (5, Some("")),
            (6, Some("")),
            (8, Some("")),
            (9, Some("/nine")),
            (7, None),
            (1000, None),
        ] {
            assert_eq!(found(passwd, uid).as_deref(), home, "{uid}");
        }
    }

    #[test]
    fn a_line_without_end_is_passed_over() {
        let long = [&b"a:x:1:1::/"[..], &[b'a'; LINE_MAX], b":\nb:x:1:1::/b:\n"].concat();
        assert_eq!(found(&long, 1).as_deref(), Some("/b"));
        assert_eq!(found(&[b':'; 3 * LINE_MAX], 0), None);
    }
}
