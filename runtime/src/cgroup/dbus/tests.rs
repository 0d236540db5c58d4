//! The client of systemd's D-Bus, beside a peer of the test's own.

use std::io::{BufRead as _, BufReader};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;

use super::*;

const METHOD: Method<'_> =
    Method { destination: "a.b", path: "/a", interface: "a.c", member: "Do", signature: "s" };

#[cfg(target_endian = "little")]
#[test]
fn a_call_is_laid_out_as_the_specification_has_it() {
    let mut body = Writer::default();
    body.text("hi");
    let expected: Vec<u8> = [
        &b"l\x01\0\x01\x07\0\0\0\x09\0\0\0"[..],
        // The fields' length: without the padding after the last one.
        b"\x47\0\0\0",
        b"\x01\x01o\0\x02\0\0\0/a\0\0\0\0\0\0",
        b"\x02\x01s\0\x03\0\0\0a.c\0\0\0\0\0",
        b"\x03\x01s\0\x02\0\0\0Do\0\0\0\0\0\0",
        b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0",
        b"\x08\x01g\0\x01s\0",
        b"\0",
        b"\x02\0\0\0hi\0",
    ]
    .concat();
    assert_eq!(call(METHOD, 9, &body), expected);
}

#[cfg(target_endian = "little")]
#[test]
fn properties_are_an_array_of_structures() {
    let mut body = Writer::default();
    body.properties(&[
        ("P", Value::Processes(vec![7])),
        ("N", Value::Number(1)),
        ("B", Value::Bytes(vec![3])),
        ("D", Value::Boolean(true)),
    ]);
    let expected: Vec<u8> = [
        &b"\x54\0\0\0\0\0\0\0"[..],
        b"\x01\0\0\0P\0\x02au\0\0\0\x04\0\0\0\x07\0\0\0\0\0\0\0",
        b"\x01\0\0\0N\0\x01t\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0",
    ]
    .concat();
    // The rest by reading it: where it begins depends on all that comes before.
    assert_eq!(body.0.get(8..expected.len()), expected.get(8..));
    let mut reader = Reader { bytes: &body.0, at: expected.len() };
    reader.align(8);
    assert_eq!((reader.text().unwrap(), reader.signature().unwrap()), ("B".into(), "ay".into()));
    assert_eq!((reader.u32().unwrap(), reader.u8().unwrap()), (1, 3));
    reader.align(8);
    assert_eq!((reader.text().unwrap(), reader.signature().unwrap()), ("D".into(), "b".into()));
    assert_eq!((reader.u32().unwrap(), reader.at), (1, body.0.len()));
    let length = Reader { bytes: &body.0, at: 0 }.u32().unwrap();
    assert_eq!(usize::try_from(length).unwrap(), body.0.len() - 8);
}

/// An answer of `kind` to call 1, with strings.
fn answer(kind: u8, member: &str, error: &str, texts: &[&str]) -> Vec<u8> {
    let mut body = Writer::default();
    texts.iter().for_each(|text| body.text(text));
    let mut message = Writer::default();
    message.0.extend([ORDER, kind, 0, 1]);
    message.u32(length(body.0.len()));
    message.u32(77);
    message.array(8, |fields| {
        fields.align(8);
        fields.0.push(REPLY_SERIAL);
        fields.signature("u");
        fields.u32(1);
        fields.field(MEMBER, "s", member);
        fields.field(ERROR_NAME, "s", error);
        fields.field(SIGNATURE, "g", &"s".repeat(texts.len()));
    });
    message.align(8);
    message.0.extend(&body.0);
    message.0
}

/// Asks something of a server that says `bytes`, and nothing after them.
fn call_at(bytes: Vec<u8>, ask: impl FnOnce(&mut Connection) -> Result<Vec<String>>) -> Result<Vec<String>> {
    call_with(PATIENCE, bytes, ask)
}

fn call_with(
    patience: Duration,
    bytes: Vec<u8>,
    ask: impl FnOnce(&mut Connection) -> Result<Vec<String>>,
) -> Result<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("\0AUTH EXTERNAL ") && line.ends_with("\r\n"), "{line:?}");
        line.clear();
        stream.read_line(&mut line).unwrap();
        assert_eq!(line, "BEGIN\r\n");
        stream.get_mut().write_all(b"OK 0123\r\n").unwrap();
        // Where it is refused in the middle the other end has gone.
        let _ = stream.get_mut().write_all(&bytes);
        // A silent server keeps the connection open; so does one that has answered: a socket closed before the
        // call arrives would refuse it, and one closed with the call unread would discard the answer.
        if !bytes.is_empty() {
            let _ = stream.get_mut().shutdown(Shutdown::Write);
        }
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let asked = Connection::open_for(&path, patience).and_then(|mut connection| ask(&mut connection));
    server.join().unwrap();
    asked
}

fn called(bytes: Vec<u8>) -> Result<Vec<String>> {
    call_at(bytes, |connection| connection.call(METHOD, &Writer::default()))
}

#[test]
fn an_answer_is_found_among_signals_and_a_signal_that_came_before_is_kept() {
    let said = [
        answer(SIGNAL, "JobRemoved", "", &["/job/2", "failed"]),
        answer(SIGNAL, "JobRemoved", "", &["/job/1", "done"]),
        answer(RETURN, "", "", &["/job/1"]),
    ];
    let heard = call_at(said.concat(), |connection| {
        let job = connection.call(METHOD, &Writer::default())?;
        connection.wait_for("JobRemoved", |texts| texts.first() == job.first())
    });
    assert_eq!(heard.unwrap(), ["/job/1", "done"]);
}

#[test]
fn who_says_nothing_or_too_much_is_not_waited_for() {
    let late = call_with(Duration::from_millis(200), Vec::new(), |connection| {
        connection.call(METHOD, &Writer::default())
    });
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
    let endless = answer(SIGNAL, "UnitNew", "", &["x"]).repeat(MOST_SIGNALS + 1);
    let error = called(endless).unwrap_err();
    assert!(error.message().contains("more than anybody asked for"), "{error}");
}

#[test]
fn a_refusal_is_said_in_systemds_words() {
    let said =
        answer(FAILURE, "", "org.freedesktop.systemd1.UnitExists", &["Unit x.scope was already loaded."]);
    let error = called(said).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert_eq!(error.message(), "D-Bus: a.c.Do: Unit x.scope was already loaded");
}

#[test]
fn what_is_no_message_is_an_error() {
    let good = answer(RETURN, "", "", &["x"]);
    assert_eq!(called(good.clone()).unwrap(), ["x"]);
    let spoilt = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // The byte order, the version, a body and a header that are too long, an unknown header field.
    for bytes in
        [spoilt(0, b'x'), spoilt(3, 2), spoilt(7, 9), spoilt(15, 9), spoilt(18, b'z'), good[..20].to_vec()]
    {
        assert!(called(bytes.clone()).is_err(), "{bytes:?}");
    }
}
