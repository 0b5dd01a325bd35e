//! Network namespaces: naming one and entering it.
//!
//! For whatever must act inside another namespace: sockets stay in the namespace in which they
//! were made, so a thread enters, makes the socket and ends. A new namespace ([`Netns::create`]) has no name;
//! whoever makes one gives it a name that people can use, or it goes with its last user.
//!
//! Law: a namespace is a property of a *thread*. Only a thread that was started for the purpose
//! enters one ([`Netns::run`]), so no thread of a pool ever finds itself elsewhere and nothing has
//! to be moved back.
//!
//! Needs `CAP_SYS_ADMIN`. Spec: setns(2), namespaces(7), ip-netns(8).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// `SIOCGSKNS` of linux/sockios.h
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// An open network namespace. It lives at least as long as this value, whatever happens to its
/// name.
#[derive(Debug)]
pub struct Netns {
    file: File,
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Self::at(Path::new("/proc/thread-self/ns/net"))
    }

    /// Makes a namespace and runs `work` inside, on a thread of its own, and waits for it. The namespace goes
    /// when nothing is left that holds it: `work` sees to that.
    ///
    /// # Errors
    /// When there is no thread or no namespace to be had; then `work` never ran.
    ///
    /// # Panics
    /// When `work` does.
    pub fn create<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, || {
                    // SAFETY: unsharing the network namespace of a thread that was started for it changes
                    // no memory and no descriptor.
                    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
                    Ok(work())
                })?;
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// The namespace that `ip netns` calls `name`.
    pub fn named(name: &str) -> io::Result<Self> {
        let mut components = Path::new(name).components();
        let plain = matches!(
            (components.next(), components.next()),
            (Some(std::path::Component::Normal(_)), None)
        );
        if !plain || name.contains('/') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a namespace's name is one file name",
            ));
        }
        Self::at(&PathBuf::from("/run/netns").join(name))
    }

    /// The namespace of the process `pid`.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Self::at(&PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    /// The namespace behind a path, such as a bind mount of `/proc/…/ns/net`.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
        })
    }

    /// The namespace in which a socket was made, which is where it stays.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN` there, `ENOTTY` when the descriptor is no socket.
    pub fn of_socket(socket: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: `SIOCGSKNS` takes no argument and reads no memory of ours.
        let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
        Ok(Self::from(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// A second handle on the same namespace.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
        })
    }

    /// Moves the calling thread into the namespace, for the rest of that thread's life.
    pub fn enter(&self) -> io::Result<()> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// Runs `work` inside the namespace, on a thread of its own, and waits for it. Processes that
    /// `work` starts begin inside it too.
    ///
    /// # Errors
    /// When there is no thread to be had or the namespace cannot be entered; then `work` never ran.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, || {
                    self.enter()?;
                    Ok(work())
                })?;
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

/// Gives the calling thread mounts of its own: what it mounts from now on, nobody else sees. For a process with
/// one thread that is about to become another program.
///
/// # Errors
/// What the kernel answers: `EPERM` without `CAP_SYS_ADMIN`.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: unsharing the mount namespace of a thread changes no memory and no descriptor; names of files
    // mean the same as before until the thread mounts something.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    let downstream = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", downstream)?;
    Ok(())
}

/// A namespace that the kernel handed out, as [`crate::tap::device_namespace`] does.
impl From<OwnedFd> for Netns {
    fn from(fd: OwnedFd) -> Self {
        Self { file: fd.into() }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn identity() -> u64 {
        std::fs::metadata("/proc/thread-self/ns/net")
            .expect("every thread has a namespace")
            .ino()
    }

    #[test]
    fn work_runs_inside_and_the_caller_stays_outside() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: entering a namespace needs root");
            return;
        }
        let outside = identity();
        let (inside, netns) = std::thread::spawn(|| {
            // SAFETY: unsharing the network namespace changes no memory and no descriptor.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("root may unshare");
            (identity(), Netns::current().expect("it is open"))
        })
        .join()
        .expect("the thread ended well");
        assert_ne!(inside, outside);
        assert_eq!(netns.run(identity).expect("root may enter"), inside);
        assert_eq!(identity(), outside);
    }

    #[test]
    fn a_socket_tells_where_it_was_made() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        match Netns::of_socket(socket.as_fd()) {
            Ok(netns) => {
                let found = netns.file.metadata();
                assert_eq!(found.expect("open").ino(), identity());
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                assert!(!rustix::process::geteuid().is_root());
            }
        }
        let file = File::open("/dev/null").expect("open");
        assert!(Netns::of_socket(file.as_fd()).is_err());
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_directory_of_names() {
        for name in ["", "..", ".", "a/b", "/etc/passwd", "a/"] {
            let refusal = Netns::named(name).expect_err("refused").kind();
            assert_eq!(refusal, io::ErrorKind::InvalidInput, "{name:?}");
        }
    }
}
