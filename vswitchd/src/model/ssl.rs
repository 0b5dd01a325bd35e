//! The files by which the switch proves to controllers who it is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vswitch_tls::Files;

use super::refusal::ModelError;

/// Paths of files in PEM. What is in them is read when a connection needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ssl {
    /// The private key.
    pub private_key: PathBuf,
    /// The certificate of that key.
    pub certificate: PathBuf,
    /// The authorities whose word is taken.
    pub ca_cert: PathBuf,
}

impl Ssl {
    /// Refuses paths that mean something else in another directory.
    pub fn check(&self) -> Result<(), ModelError> {
        for path in [&self.private_key, &self.certificate, &self.ca_cert] {
            if !Path::is_absolute(path) {
                return Err(ModelError::Relative(path.clone()));
            }
        }
        Ok(())
    }

    /// The files.
    pub fn files(&self) -> Files {
        Files {
            private_key: self.private_key.clone(),
            certificate: self.certificate.clone(),
            ca_cert: self.ca_cert.clone(),
        }
    }
}
