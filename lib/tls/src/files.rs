//! The three files of an identity, and reading them.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::BadIdentity;

/// Bytes of a file that are read: more than any list of authorities needs, and no more, whatever a path
/// leads to.
const SIZE_MAX: u64 = 1 << 20;

/// Where the parts of an identity are, each in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Files {
    /// The private key: PKCS #8, or RSA's and EC's own forms. RSA from 2048 bits, P-256, P-384 or Ed25519.
    pub private_key: PathBuf,
    /// The certificate of that key; others that lead to the authority may follow.
    pub certificate: PathBuf,
    /// The authorities whose word is taken.
    pub ca_cert: PathBuf,
}

/// What a file is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A private key.
    PrivateKey,
    /// Our certificate.
    Certificate,
    /// Certificates of authorities.
    CaCert,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrivateKey => "private key",
            Self::Certificate => "certificate",
            Self::CaCert => "CA certificate",
        })
    }
}

fn read(part: Part, path: &Path) -> Result<Vec<u8>, BadIdentity> {
    let read = || {
        // A FIFO would have us wait until somebody writes, and a terminal until somebody types, be it that
        // one has come to where a file was. So it is asked of what was opened, not of the path.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let kind = file.metadata()?.file_type();
        // Opening a directory works, and reading it is an error that says so.
        if !kind.is_file() && !kind.is_dir() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > SIZE_MAX {
            return Err(io::Error::other("it is longer than 1 MiB"));
        }
        Ok(bytes)
    };
    read().map_err(|error| BadIdentity::File {
        part,
        path: path.into(),
        error,
    })
}

/// The certificates of a file, at least one.
pub(crate) fn certificates(
    part: Part,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, BadIdentity> {
    let bytes = read(part, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(BadIdentity::NoPem {
            part,
            path: path.into(),
        }),
    }
}

/// The first private key of a file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, BadIdentity> {
    let part = Part::PrivateKey;
    let bytes = read(part, path)?;
    let encrypted = bytes.windows(9).any(|word| word == b"ENCRYPTED");
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound if encrypted => BadIdentity::Encrypted(path.into()),
        _ => BadIdentity::NoPem {
            part,
            path: path.into(),
        },
    })
}
