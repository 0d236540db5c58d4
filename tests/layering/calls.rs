//! The calls that `sys` makes in one place alone, and the crates that it makes them by.

use super::sources::{code, names, sources};

/// Where `code` has one of `spellings`, or imports `name` from a crate that makes system calls.
fn places(code: &str, name: &str, spellings: &[&str]) -> usize {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let whole = |(at, _): &(usize, &str)| !code[..*at].ends_with(is_name);
    let calls: usize =
        spellings.iter().map(|spelling| code.match_indices(spelling).filter(whole).count()).sum();
    let starts = ["use rustix::", "use nix::", "use libc::"];
    let imports = starts.iter().flat_map(|start| code.match_indices(start)).filter(|(at, _)| {
        let statement = code[*at..].split(';').next().unwrap_or_default();
        statement.split(|character| !is_name(character)).any(|word| word == name)
    });
    calls + imports.count()
}

/// A second call of one of these is a second way of doing it, with retries, flags and SAFETY lines of its own.
#[test]
fn sys_makes_each_of_these_calls_in_one_place() {
    const ONCE: [(&str, &[&str]); 8] = [
        ("openat2", &["fs::openat2(", "SYS_openat2,"]),
        ("clone3", &["SYS_clone3,"]),
        ("setns", &["SYS_setns,", "libc::setns(", "sched::setns(", "thread::move_into_"]),
        ("poll", &["event::poll(", "libc::poll(", "libc::ppoll(", "SYS_poll,", "SYS_ppoll,", "poll::ppoll("]),
        ("pidfd_send_signal", &["SYS_pidfd_send_signal,", "process::pidfd_send_signal("]),
        ("sethostname", &["system::sethostname(", "libc::sethostname(", "unistd::sethostname("]),
        ("memfd_create", &["fs::memfd_create(", "libc::memfd_create("]),
        ("tcsetattr", &["raw.make_raw(", "termios::cfmakeraw("]),
    ];
    let files = sources("runtime/src/sys");
    for (name, spellings) in ONCE {
        let found: Vec<_> = files
            .iter()
            .map(|(file, text)| (file, places(&code(text), name, spellings)))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert!(matches!(found[..], [(_, 1)]), "{name} is called in {found:?}: one place is to call it");
    }
}

/// The rule stands at the top of `sys/mod.rs`: `nix` is for what `rustix` lacks.
#[test]
fn sys_names_nix_for_signals_peers_and_errnos_alone() {
    let places = ["io/socket.rs", "mod.rs", "process/interrupt.rs", "process/signal.rs"];
    let expected = places.map(|place| format!("runtime/src/sys/{place}"));
    let mut found: Vec<String> = sources("runtime/src/sys")
        .into_iter()
        .filter(|(_, text)| names(&code(text), "nix"))
        .map(|(file, _)| file)
        .collect();
    found.sort();
    assert_eq!(found, expected);
}

/// A small file is replaced by `own::replace` and `own::replace_by`. Who renames otherwise moves a thing that is there.
#[test]
fn one_function_replaces_a_file_by_rename() {
    const MOVES: [(&str, usize); 7] = [
        // To the trash, to be removed there.
        ("runtime/src/image/disk.rs", 1),
        ("runtime/src/image/layer/unpack.rs", 1),
        ("runtime/src/pod/store/edit.rs", 1),
        // A layer gets its name; what is no layer goes to the trash.
        ("runtime/src/image/layer/layers.rs", 2),
        // A log is rotated.
        ("runtime/src/pod/monitor/log.rs", 2),
        ("runtime/src/sys/file/dir.rs", 2),
        // A lock file gets its name once it is locked.
        ("runtime/src/sys/process/daemon.rs", 1),
    ];
    const REPLACE: (&str, usize) = ("runtime/src/sys/file/own.rs", 1);
    let mut wrong = Vec::new();
    for (file, text) in sources("runtime/src") {
        let code = code(&text);
        let calls = ["fs::rename(", "dir::rename(", "fs::renameat(", "fs::renameat_with(", "libc::rename"];
        let count: usize = calls.iter().map(|call| code.matches(call).count()).sum();
        let known = MOVES.iter().chain([&REPLACE]).find(|(known, _)| *known == file);
        if count > known.map_or(0, |(_, known)| *known) && !file.ends_with("/tests.rs") {
            wrong.push(format!("{file} renames {count} times"));
        }
    }
    assert!(wrong.is_empty(), "a file is replaced by sys::file::own alone: {}", wrong.join(", "));
}

#[test]
fn a_second_call_is_seen() {
    let again =
        "fn openat2(a: i32) { rustix::fs::openat2(a) }\nuse rustix::event::{\n    PollFd, poll,\n};\n";
    assert_eq!(places(again, "openat2", &["fs::openat2("]), 1);
    assert_eq!(places(again, "poll", &["event::poll("]), 1);
}
