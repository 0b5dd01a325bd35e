//! Who has a port of the host: for refusals that name whom to ask.
//!
//! Only words for people; nothing is decided by them. Looked for in the namespace of the calling
//! thread, and, for the program, in `/proc`, where it is missing if it lives in another process
//! namespace.
//!
//! Spec: proc_net(5) (`/proc/net/udp`, `/proc/net/tcp`), proc_pid_fd(5).

use std::fs;
use std::path::Path;

use super::netlink::Netlink;

/// The state of a TCP socket that listens, as `/proc/net/tcp` writes it.
const LISTEN: &str = "0A";

/// Who has a UDP port at all of the host's addresses or at one, as it would stand behind "belongs
/// to"; `None` when nobody does.
pub fn of_udp(port: u16) -> Option<String> {
    if let Ok(Some(name)) = Netlink::open().and_then(|mut links| links.vxlan_on(port)) {
        return Some(format!("the kernel's VXLAN device {name}"));
    }
    // One that is connected hears only its peer.
    find(&["udp", "udp6"], port, |_, remote| is_zero(remote))
}

/// Who listens on a TCP port.
pub fn of_tcp(port: u16) -> Option<String> {
    find(&["tcp", "tcp6"], port, |state, _| state == LISTEN)
}

fn find(tables: &[&str], port: u16, is_meant: impl Fn(&str, &str) -> bool) -> Option<String> {
    tables.iter().find_map(|table| {
        let text = fs::read_to_string(Path::new("/proc/thread-self/net").join(table)).ok()?;
        let inode = text
            .lines()
            .skip(1)
            .find_map(|line| inode(line, port, &is_meant))?;
        Some(
            program(&inode)
                .unwrap_or_else(|| "a socket of the kernel or of another container".into()),
        )
    })
}

/// The inode of the socket in a line of such a table, if it is bound to the port and meant.
fn inode(line: &str, port: u16, is_meant: impl Fn(&str, &str) -> bool) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[_, local, remote, state, _, _, _, _, _, inode, ..] = words.as_slice() else {
        return None;
    };
    let (_, number) = local.rsplit_once(':')?;
    let is_here = u16::from_str_radix(number, 16) == Ok(port);
    (is_here && is_meant(state, remote)).then(|| inode.into())
}

fn is_zero(address: &str) -> bool {
    address.bytes().all(|byte| matches!(byte, b'0' | b':'))
}

/// The program that has a socket open.
fn program(inode: &str) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let has = |process: &Path| {
        let fds = fs::read_dir(process.join("fd")).into_iter().flatten();
        fds.flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        })
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.map(|entry| entry.path()).find_map(|process| {
        let pid: u32 = process.file_name()?.to_str()?.parse().ok()?;
        if !has(&process) {
            return None;
        }
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        Some(format!("the process {pid} ({})", name.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn the_process_that_has_a_port_is_named() {
        let own = format!("the process {}", std::process::id());
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = socket.local_addr().expect("bound").port();
        let holder = of_udp(port).expect("we have it");
        assert!(holder.starts_with(&own), "{holder}");
        let listener = TcpListener::bind("[::1]:0").expect("a socket");
        let port = listener.local_addr().expect("bound").port();
        let holder = of_tcp(port).expect("we have it");
        assert!(holder.starts_with(&own), "{holder}");
    }

    #[test]
    fn lines_that_are_none_say_nothing() {
        let line =
            "  1: 0100007F:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 77 2";
        let any = |_: &str, _: &str| true;
        assert_eq!(inode(line, 0x12b5, any).as_deref(), Some("77"));
        assert_eq!(inode(line, 0x12b6, any), None);
        for end in 0..line.len() - 4 {
            assert_eq!(inode(&line[..end], 0x12b5, any), None, "{end}");
        }
    }
}
