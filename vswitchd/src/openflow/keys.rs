//! Who we are towards peers that speak TLS: files that a person names and may replace at any time.
//!
//! The files are looked at for each connection and read again when one of them has changed, so that new
//! certificates need no command. Connections that exist stay as they are.
//!
//! Cost: three `stat` for a connection.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vswitch_tls::{BadIdentity, Files, Identity};

/// Why nobody can be met over TLS.
#[derive(Debug, thiserror::Error)]
pub enum NoIdentity {
    /// No files were named.
    #[error(
        "there is no private key with certificate and CA certificate; `vsctl set-ssl` names them"
    )]
    Unset,
    /// The files are not what they should be.
    #[error(transparent)]
    Bad(#[from] BadIdentity),
}

/// Where our identity comes from.
#[derive(Debug, Default)]
pub struct Keys(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    files: Option<Files>,
    read: Option<(Stamps, Identity)>,
}

/// By what a file that was replaced is told from the one before.
type Stamp = (u64, u64, i64, i64, u64);
type Stamps = [Option<Stamp>; 3];

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata: io::Result<Metadata> = std::fs::metadata(path);
    let is = metadata.ok()?;
    let changed = (is.mtime(), is.mtime_nsec());
    Some((is.dev(), is.ino(), changed.0, changed.1, is.len()))
}

impl Keys {
    /// Names the files, or takes them away.
    pub fn set(&self, files: Option<Files>) {
        let mut state = self.state();
        if state.files != files {
            *state = State { files, read: None };
        }
    }

    /// Who we are now.
    ///
    /// # Errors
    /// When no files were named, or they are not what they should be.
    pub fn identity(&self) -> Result<Identity, NoIdentity> {
        let mut state = self.state();
        let files = state.files.clone().ok_or(NoIdentity::Unset)?;
        let stamps =
            [&files.private_key, &files.certificate, &files.ca_cert].map(|path| stamp(path));
        if let Some((read, identity)) = &state.read
            && *read == stamps
        {
            return Ok(identity.clone());
        }
        let identity = Identity::load(&files)?;
        state.read = Some((stamps, identity.clone()));
        Ok(identity)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked has left a whole state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::openflow::authority::Authority;

    use super::*;

    #[test]
    fn files_that_were_replaced_are_read_again() {
        let place = tempfile::tempdir().unwrap();
        let ca = Authority::new(place.path(), "ca").unwrap();
        let papers = ca.sign("a").unwrap();
        let keys = Keys::default();
        let sentence = keys.identity().unwrap_err().to_string();
        assert!(sentence.contains("vsctl set-ssl"), "{sentence}");
        keys.set(Some(Files {
            private_key: papers.key.clone(),
            certificate: papers.certificate.clone(),
            ca_cert: papers.ca.clone(),
        }));
        keys.identity().expect("good files");
        std::fs::write(&papers.certificate, "nothing").unwrap();
        assert!(matches!(
            keys.identity(),
            Err(NoIdentity::Bad(BadIdentity::NoPem { .. }))
        ));
        ca.sign("a").unwrap();
        keys.identity().expect("good files again");
        keys.set(None);
        assert!(matches!(keys.identity(), Err(NoIdentity::Unset)));
    }
}
