//! What the host's `/proc` tells of a container's processes: no JVM is started to ask for it.

use std::fs;

/// The command line, in the pid namespace of `pid`, that has this argument; empty where none can be seen.
pub fn command_line_with(pid: i64, argument: &str) -> Vec<String> {
    let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/pid")) else { return Vec::new() };
    let read = |pid: &str| -> Vec<String> {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    };
    let first = read(&pid.to_string());
    if first.iter().any(|part| part == argument) {
        return first;
    }
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().into_string().ok());
    let pids = pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let inside =
        pids.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|other| other == namespace));
    inside.map(|pid| read(&pid)).find(|line| line.iter().any(|part| part == argument)).unwrap_or_default()
}

/// The name of a process's program, as the kernel has it.
pub fn program(pid: i64) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// Whether a socket listens on this TCP port in the network of the process.
pub fn listens(pid: i64, port: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|table| {
        let sockets = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        sockets.lines().skip(1).any(|line| is_listening(line, port))
    })
}

/// One line of `/proc/net/tcp`: `sl local_address rem_address st …`, the state 0A being LISTEN.
fn is_listening(line: &str, port: u16) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next(), fields.nth(1));
    state == Some("0A") && local.is_some_and(|address| address.ends_with(&format!(":{port:04X}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_of_this_process_is_seen_and_a_closed_one_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = i64::from(std::process::id());
        assert!(listens(own, port));
        drop(listener);
        assert!(!listens(own, port));
    }

    #[test]
    fn a_connection_from_the_port_is_not_a_listener() {
        let line = "  1: 0100007F:2352 0100007F:D6A4 01 00000000:00000000 00:00000000 00000000  999 0 1";
        assert!(!is_listening(line, 0x2352));
        assert!(is_listening(&line.replacen(" 01 ", " 0A ", 1), 0x2352));
    }
}
