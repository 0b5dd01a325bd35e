//! The file by which `ovs-appctl` finds us: `RUNDIR/ovs-vswitchd.pid`.
//!
//! It holds our number and is write-locked by us, in the way of fcntl(2): `ovs-appctl` asks the
//! kernel who holds the lock, and takes the file for a dead process's unless it is the one written
//! in it.
//!
//! Law: such a lock belongs to the process and goes with the *first* descriptor of the file that
//! the process closes, whichever that is. So nothing else in this process may open the file; the
//! descriptor stays open as long as the [`PidFile`] does.
//!
//! Spec: fcntl(2) "Advisory record locking", `read_pidfile` in `lib/daemon-unix.c` of Open vSwitch.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// How often the file may be replaced under our hands before we give up.
const TRIES: usize = 10;

/// The file with its lock. It is removed in the end.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    _held: File,
}

/// Why the file is not ours.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// Another process lives by it.
    #[error("process {pid} holds {path}, as an ovs-vswitchd does; end it or take another --rundir")]
    Held {
        /// The file.
        path: String,
        /// What is written in it.
        pid: String,
    },
    /// The kernel would not.
    #[error("{path} cannot be used: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
}

impl PidFile {
    /// Writes `pid`, which is ours, into the file at `path` and holds it. Also tells the number
    /// that a dead process left there.
    pub fn hold(path: &Path, pid: u32) -> Result<(Self, Option<u32>), PidFileError> {
        let failed = |error| PidFileError::Io {
            path: path.display().to_string(),
            error,
        };
        for _ in 0..TRIES {
            if let Some((held, before)) = try_hold(path, pid).map_err(failed)? {
                let file = Self {
                    path: path.into(),
                    _held: held,
                };
                return Ok((file, before));
            }
            if let Some(pid) = holder(path).map_err(failed)? {
                let path = path.display().to_string();
                return Err(PidFileError::Held { path, pid });
            }
        }
        Err(failed(io::ErrorKind::ResourceBusy.into()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the pidfile could not be removed");
        }
    }
}

/// The locked file with our number and the number that was in it before. `None` when somebody else
/// has the lock, or has removed the file while we were about to take it.
fn try_hold(path: &Path, pid: u32) -> io::Result<Option<(File, Option<u32>)>> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)?;
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::AGAIN | Errno::ACCESS) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    match std::fs::metadata(path) {
        Ok(there) if there.ino() == file.metadata()?.ino() => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(None),
    }
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{pid}")?;
    Ok(Some((file, text.trim().parse().ok())))
}

/// What is written in a file that another process has locked; `None` when it is gone. Opening and
/// closing it is safe here: we have no lock on it to lose.
fn holder(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const CHILD: &str = "VSWITCH_TEST_PIDFILE";

    /// Not a test: the other process, when a test below has started it. A lock does not stand in
    /// the way of the process that has it, so it takes two to see one.
    #[test]
    fn other_process() {
        let Some(path) = std::env::var_os(CHILD) else {
            return;
        };
        match PidFile::hold(Path::new(&path), std::process::id()) {
            Ok((_file, before)) => {
                println!("held before={before:?}");
                // Until the test closes our input.
                let _ = io::stdin().read(&mut [0]);
            }
            Err(error) => println!("refused: {error}"),
        }
    }

    fn start_other(path: &Path) -> std::process::Child {
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "unixctl::pidfile::tests::other_process",
                "--nocapture",
            ])
            .env(CHILD, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// What the other process says of the file.
    fn other(path: &Path) -> String {
        let output = start_other(path).wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let said = text.split('\n').find_map(|line| {
            line.find("held")
                .or(line.find("refused"))
                .map(|at| &line[at..])
        });
        said.expect("the other process speaks").to_owned()
    }

    #[test]
    fn a_held_file_is_refused_to_others_and_is_free_and_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ovs-vswitchd.pid");
        let (file, before) = PidFile::hold(&path, std::process::id()).unwrap();
        assert_eq!(before, None);
        let ours = std::process::id();
        let refused = other(&path);
        let expected = format!("refused: process {ours} holds ");
        assert!(refused.starts_with(&expected), "{refused}");
        drop(file);
        assert!(!path.exists());
        assert_eq!(other(&path), "held before=None");
    }

    #[test]
    fn the_kernel_names_the_holder_as_the_process_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ovs-vswitchd.pid");
        let (_file, _) = PidFile::hold(&path, std::process::id()).unwrap();
        let inode = path.metadata().unwrap().ino().to_string();
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        // `1: POSIX  ADVISORY  WRITE 4711 00:1f:12345 0 EOF`
        let line = locks.lines().find(|line| {
            let file = line.split_whitespace().nth(5).unwrap_or_default();
            file.rsplit(':').next() == Some(&inode)
        });
        let line = line.unwrap_or_else(|| panic!("no lock on inode {inode} in\n{locks}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        let ours = std::process::id().to_string();
        assert_eq!(words[1..5], ["POSIX", "ADVISORY", "WRITE", &ours]);
    }

    #[test]
    fn the_number_of_a_killed_process_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ovs-vswitchd.pid");
        let mut other = start_other(&path);
        let mut said = [0; 1];
        let mut seen = Vec::new();
        let out = other.stdout.as_mut().unwrap();
        while !seen.ends_with(b"held before=None") {
            out.read_exact(&mut said).expect("it speaks");
            seen.push(said[0]);
        }
        other.kill().unwrap();
        other.wait().unwrap();
        let (_file, before) = PidFile::hold(&path, std::process::id()).unwrap();
        assert_eq!(before, Some(other.id()));
    }
}
