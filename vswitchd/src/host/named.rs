//! Network namespaces with a name, as `ip netns` makes them: a file in `/run/netns` on which the namespace is
//! mounted, so that it lives without a process.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount,
};
use vswitch_sys::netns::Netns;

use super::netlink::Netlink;
use super::place::{NAMED, NamespaceId};

/// Makes a namespace with its loopback device up.
///
/// # Errors
/// When the name is taken, or the kernel refuses; nothing is left behind.
pub fn make(path: &Path) -> io::Result<()> {
    share(Path::new(NAMED))?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(path)?;
    let made = Netns::create(|| -> io::Result<()> {
        let mut links = Netlink::open()?;
        if let Some(loopback) = links.link_named("lo")? {
            links.set_up(loopback.ifindex, true)?;
        }
        mount_bind("/proc/thread-self/ns/net", path)?;
        Ok(())
    })
    .and_then(|done| done);
    if made.is_err() {
        let _ = std::fs::remove_file(path);
    }
    made
}

/// Whether a namespace is behind a name, and not only a file that one was mounted on.
pub fn is_there(path: &Path) -> bool {
    let parent = path.parent().map(NamespaceId::at);
    match (NamespaceId::at(path), parent) {
        // What is mounted lies on another file system than the directory.
        (Ok(file), Some(Ok(directory))) => !file.is_beside(&directory),
        _ => false,
    }
}

/// Takes a name away, and the namespace with it unless somebody is in it. One that is not there is gone.
pub fn remove(path: &Path) -> io::Result<()> {
    match unmount(path, UnmountFlags::DETACH) {
        // Nothing is mounted there, or nothing is there.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the directory of names one whose mounts other mount namespaces see too, as `ip netns` does: a name
/// that is removed here must not live on there.
fn share(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)?;
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    match mount_change(directory, shared) {
        // It is no mount yet.
        Err(Errno::INVAL) => {
            mount_bind_recursive(directory, directory)?;
            mount_change(directory, shared)?;
        }
        result => result?,
    }
    Ok(())
}
