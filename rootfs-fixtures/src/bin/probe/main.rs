//! What a container's program sees and does, for podrun's tests: `probe [report]` prints what it sees as
//! JSON, the other verbs do one thing that a test needs done.
//!
//! Invariant: it needs nothing but itself, neither a library nor a shell nor /etc.

mod act;
mod report;

use std::process::ExitCode;

const USAGE: &str = "\
usage: probe [report]               print as JSON what this process sees
       probe serve PORT TEXT        answer each HTTP request on PORT with TEXT (IPv4 and IPv6)
       probe get HOST PORT [PATH]   print the body that HTTP on HOST:PORT answers with
       probe udp-echo PORT          send each datagram back
       probe udp-ask HOST PORT FROM TEXT
                                    send TEXT as a datagram from the port FROM, print the answer
       probe send LINK HEX...       send frames as they are, which takes the right to (NET_RAW)
       probe sleep [SECONDS]        sleep (for ever), end with 143 on SIGTERM
       probe ignore-term            print ready, ignore SIGTERM
       probe exit N                 end with N
       probe kill-self N            end by signal N
       probe fork-bomb N            start N children that sleep, print how many could be started
       probe eat-memory MB          write to MB of memory, print the sum, hold it
       probe write-log LINES [LEN]  print LINES numbered lines of LEN bytes, as fast as it goes
       probe write-bytes N          print N bytes without a newline
       probe open PATH [write]      open a file or device, print ok or the error
       probe write PATH TEXT        write TEXT to a file, print ok or the error
       probe read PATH              print a file
       probe connect HOST PORT      open a TCP connection, print ok or the error";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [] | ["report"] => report::print(),
        ["serve", port, text] => act::serve(port, text),
        ["get", host, port] => act::get(host, port, "/"),
        ["get", host, port, path] => act::get(host, port, path),
        ["udp-echo", port] => act::udp_echo(port),
        ["udp-ask", host, port, from, text] => act::udp_ask(host, port, from, text),
        ["send", link, frames @ ..] => act::send(link, frames),
        ["sleep"] => act::sleep("1000000"),
        ["sleep", seconds] => act::sleep(seconds),
        ["ignore-term"] => act::ignore_term(),
        ["exit", code] => return act::exit(code),
        ["kill-self", signal] => act::kill_self(signal),
        ["fork-bomb", count] => act::fork_bomb(count),
        ["eat-memory", megabytes] => act::eat_memory(megabytes),
        ["write-log", lines] => act::write_log(lines, "64"),
        ["write-log", lines, length] => act::write_log(lines, length),
        ["write-bytes", count] => act::write_bytes(count),
        ["open", path] => act::open(path, false),
        ["open", path, "write"] => act::open(path, true),
        ["write", path, text] => act::write(path, text),
        ["read", path] => act::read(path),
        ["connect", host, port] => act::connect(host, port),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error:#}");
            ExitCode::FAILURE
        }
    }
}
