//! The resolv.conf(5) of a sandbox that we made, where `ip netns exec` looks for it: a file in `/etc/netns`
//! that takes the place of the host's own inside.
//!
//! Law: a file that somebody else has put there stays. One is written in place, because processes inside have
//! it mounted.
//!
//! Spec: ip-netns(8).

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Where `ip netns` looks.
const ROOT: &str = "/etc/netns";

/// What our files begin with.
const MARK: &str = "# Written by vswitchd";

/// Name servers that resolvers look at (`MAXNS`).
const SERVERS_MAX: usize = 3;

fn place(root: &Path, name: &str) -> PathBuf {
    root.join(name).join("resolv.conf")
}

/// Whether the file is ours, or not there.
fn is_free(path: &Path) -> io::Result<bool> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes.starts_with(MARK.as_bytes())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Has the named namespace ask these servers for names.
///
/// # Errors
/// Those of the file system.
pub fn write(name: &str, servers: &[IpAddr]) -> io::Result<()> {
    write_in(Path::new(ROOT), name, servers)
}

fn write_in(root: &Path, name: &str, servers: &[IpAddr]) -> io::Result<()> {
    let path = place(root, name);
    if !is_free(&path)? {
        return Ok(());
    }
    let mut text = format!("{MARK}: name servers of the container networks that {name} is on.\n");
    for server in servers.iter().take(SERVERS_MAX) {
        text += &format!("nameserver {server}\n");
    }
    // Names without a dot are names of members.
    text += "options ndots:0\n";
    fs::create_dir_all(root.join(name))?;
    fs::write(path, text)
}

/// Takes the file away.
///
/// # Errors
/// Those of the file system.
pub fn remove(name: &str) -> io::Result<()> {
    remove_in(Path::new(ROOT), name)
}

fn remove_in(root: &Path, name: &str) -> io::Result<()> {
    let path = place(root, name);
    if !path.exists() || !is_free(&path)? {
        return Ok(());
    }
    fs::remove_file(path)?;
    // Somebody else may have files for it too, or for others.
    for directory in [root.join(name), root.to_owned()] {
        let _ = fs::remove_dir(directory);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_stay() {
        let folder = tempfile::tempdir().expect("a directory");
        let root = folder.path().join("netns");
        let server: IpAddr = "10.1.0.1".parse().expect("an address");
        write_in(&root, "c1", &[server]).expect("written");
        write_in(&root, "c1", &[server; 5]).expect("written again");
        let text = fs::read_to_string(place(&root, "c1")).expect("a file");
        assert_eq!(text.matches("nameserver 10.1.0.1\n").count(), 3);
        remove_in(&root, "c1").expect("removed");
        assert!(!root.exists());
        fs::create_dir_all(root.join("c1")).expect("a directory");
        fs::write(place(&root, "c1"), "nameserver 192.0.2.1\n").expect("a file");
        write_in(&root, "c1", &[server]).expect("left alone");
        remove_in(&root, "c1").expect("left alone");
        let text = fs::read_to_string(place(&root, "c1")).expect("a file");
        assert_eq!(text, "nameserver 192.0.2.1\n");
    }
}
