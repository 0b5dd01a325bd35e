//! Where a device is: its network namespace, as people name it and as the kernel knows it.
//!
//! Law: no namespace is kept open. An open descriptor keeps a container's namespace, with all its
//! devices, alive after the container has gone, so a [`Place`] holds words and numbers and is
//! opened for a moment at a time.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use vswitch_sys::netns::Netns;

use super::netlink::Netlink;

/// Where names of namespaces live (`ip netns`).
pub(super) const NAMED: &str = "/run/netns";

/// The kernel's identity of a namespace: device and inode of its file. Unique among those that
/// live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespaceId(u64, u64);

impl NamespaceId {
    /// Of an open namespace.
    pub fn of(netns: BorrowedFd<'_>) -> io::Result<Self> {
        let stat = rustix::fs::fstat(netns)?;
        Ok(Self(stat.st_dev, stat.st_ino))
    }

    /// Of the namespace that a path leads to.
    pub fn at(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::stat(path)?;
        Ok(Self(stat.st_dev, stat.st_ino))
    }

    /// Whether both are files of one file system, so that neither is mounted on the other.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Of the calling thread's namespace.
    pub fn own() -> io::Result<Self> {
        Self::at(Path::new("/proc/thread-self/ns/net"))
    }
}

impl fmt::Display for NamespaceId {
    /// As `/proc/PID/ns/net` reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.1)
    }
}

/// A network namespace that can be opened again as long as it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The one `vswitchd` is in.
    #[default]
    Own,
    /// Another.
    Other {
        /// A file that stands for it.
        path: PathBuf,
        /// What people call it.
        label: String,
    },
}

impl Place {
    /// Reads the value of `netns=`: a name, a path, or the number of a process.
    pub fn parse(text: &str) -> Self {
        let path = if text.contains('/') {
            PathBuf::from(text)
        } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            PathBuf::from(format!("/proc/{text}/ns/net"))
        } else {
            Path::new(NAMED).join(text)
        };
        Self::Other {
            path,
            label: text.into(),
        }
    }

    /// The place of an open namespace: its name where it has one, a process in it otherwise.
    /// `last` is where it probably is, which saves the search.
    pub fn find(netns: BorrowedFd<'_>, last: &Self) -> io::Result<Self> {
        let id = NamespaceId::of(netns)?;
        if id == NamespaceId::own()? {
            return Ok(Self::Own);
        }
        let inside = |path: &PathBuf| NamespaceId::at(path).ok() == Some(id);
        match last {
            Self::Other { path, .. } if inside(path) => return Ok(last.clone()),
            _ => {}
        }
        let path = candidates().find(inside).ok_or_else(|| {
            let text = format!("no process and no name leads to {id}");
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        Ok(Self::behind(path, id))
    }

    /// The place behind a path.
    fn behind(path: PathBuf, id: NamespaceId) -> Self {
        let label = match path.strip_prefix(NAMED) {
            Ok(name) => name.display().to_string(),
            Err(_) => id.to_string(),
        };
        Self::Other { path, label }
    }

    /// A file that stands for it; `None` for our own.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Own => None,
            Self::Other { path, .. } => Some(path),
        }
    }

    /// What people call it; `None` for our own.
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Own => None,
            Self::Other { label, .. } => Some(label),
        }
    }

    /// Opens it, for a moment.
    pub fn open(&self) -> io::Result<Netns> {
        match self {
            Self::Own => Netns::current(),
            Self::Other { path, .. } => Netns::at(path),
        }
    }

    /// Whether it is the same namespace as another, however each is written.
    pub fn is_same(&self, other: &Self) -> bool {
        let id = |place: &Self| NamespaceId::of(place.open()?.as_fd());
        self == other || matches!((id(self), id(other)), (Ok(a), Ok(b)) if a == b)
    }

    /// Does something inside it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        match self {
            Self::Own => Ok(work()),
            Self::Other { .. } => self.open()?.run(work),
        }
    }

    /// Asks or changes links inside it.
    pub fn with_links<T: Send>(
        &self,
        work: impl FnOnce(&mut Netlink) -> io::Result<T> + Send,
    ) -> io::Result<T> {
        self.run(|| work(&mut Netlink::open()?))?
    }

    /// Sees to it that news of its devices come to our own namespace.
    pub fn listen(&self) -> io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Other { .. } => {
                let netns = self.open()?;
                Netlink::open()?.number_namespace(netns.as_fd())
            }
        }
    }
}

/// Every namespace but `but`, once each.
pub fn others(but: NamespaceId) -> Vec<Place> {
    let mut seen = std::collections::BTreeSet::from([but]);
    candidates()
        .filter_map(|path| {
            let id = NamespaceId::at(&path).ok()?;
            seen.insert(id).then(|| Place::behind(path, id))
        })
        .collect()
}

/// Files that stand for namespaces: names first, then processes.
fn candidates() -> impl Iterator<Item = PathBuf> {
    let entries = |dir: &str| {
        let read = std::fs::read_dir(dir).into_iter().flatten();
        read.filter_map(Result::ok).map(|entry| entry.path())
    };
    let processes = entries("/proc").filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    });
    entries(NAMED).chain(processes.map(|path| path.join("ns/net")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_named_by_name_path_or_process() {
        let path = |text: &str| match Place::parse(text) {
            Place::Other { path, .. } => path,
            Place::Own => panic!("{text} is not our own"),
        };
        assert_eq!(path("blue"), Path::new("/run/netns/blue"));
        assert_eq!(path("42"), Path::new("/proc/42/ns/net"));
        assert_eq!(path("/tmp/ns"), Path::new("/tmp/ns"));
    }

    #[test]
    fn our_own_namespace_is_recognised() {
        let own = Netns::current().expect("open");
        assert_eq!(
            Place::find(own.as_fd(), &Place::Own).expect("found"),
            Place::Own
        );
    }
}
