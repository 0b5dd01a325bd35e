//! Who we are to a switch at `ssl:`: the files that `-p`, `-c` and `-C` name.

use std::net::SocketAddr;
use std::path::PathBuf;

use vswitch_tls::rustls::ClientConnection;
use vswitch_tls::{Files, Identity};

use super::Trouble;

/// The files as they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Papers {
    /// The private key.
    pub private_key: Option<PathBuf>,
    /// The certificate.
    pub certificate: Option<PathBuf>,
    /// The authorities whose word is taken.
    pub ca_cert: Option<PathBuf>,
}

impl Papers {
    /// The TLS side of a connection to a switch.
    pub fn connect(&self, address: SocketAddr) -> Result<ClientConnection, Trouble> {
        let (Some(private_key), Some(certificate), Some(ca_cert)) =
            (&self.private_key, &self.certificate, &self.ca_cert)
        else {
            return Err(Trouble::Argument(format!(
                "ssl:{address} needs a private key, its certificate and a CA certificate: \
                 name their files with -p, -c and -C"
            )));
        };
        let identity = Identity::load(&Files {
            private_key: private_key.clone(),
            certificate: certificate.clone(),
            ca_cert: ca_cert.clone(),
        });
        let identity = identity.map_err(|error| Trouble::Argument(error.to_string()))?;
        identity
            .connect(address.ip())
            .map_err(|error| Trouble::Argument(error.to_string()))
    }
}
