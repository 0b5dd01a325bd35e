//! Who we are, and whom we believe.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

use crate::files::{self, Files, Part};
use crate::verify::SignedByCa;

/// The versions that are spoken.
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Files that make no identity.
#[derive(Debug, thiserror::Error)]
pub enum BadIdentity {
    /// The processor lacks instructions that the cryptography is written in.
    #[error(
        "TLS cannot be spoken on this machine: its processor lacks {}, of which \
         TLS here needs all of {}",
        lacks.join(" "),
        CPU_FEATURES
    )]
    Cpu {
        /// What is missing.
        lacks: Vec<&'static str>,
    },
    /// A file that cannot be read.
    #[error("the {part} {} cannot be read: {error}", path.display())]
    File {
        /// What it was to hold.
        part: Part,
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file that holds something else.
    #[error("{} holds no {part} in PEM", path.display())]
    NoPem {
        /// What it was to hold.
        part: Part,
        /// The file.
        path: PathBuf,
    },
    /// A key that only a person can open.
    #[error("the private key {} is encrypted: take its pass phrase away with `openssl pkey`", .0.display())]
    Encrypted(PathBuf),
    /// A key of a kind that is not known here.
    #[error(
        "the private key {} is none that can be used: RSA from 2048 bits, P-256, P-384 and Ed25519 can",
        .0.display()
    )]
    Key(PathBuf),
    /// Key and certificate are not one pair.
    #[error("the private key {} does not belong to the certificate {}", key.display(), certificate.display())]
    Mismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
    /// A certificate that cannot be read.
    #[error("the {part} {} cannot be used: {why}", path.display())]
    Certificate {
        /// Which.
        part: Part,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// A key with its certificate, and the authorities that are believed.
#[derive(Clone, Debug)]
pub struct Identity {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them is not what it should be, or this machine's processor cannot do it.
    pub fn load(files: &Files) -> Result<Self, BadIdentity> {
        let lacks = missing_cpu_features();
        if !lacks.is_empty() {
            return Err(BadIdentity::Cpu { lacks });
        }
        let provider = Arc::new(rustls_graviola::default_provider());
        let authorities = authorities(files)?;
        let chain = files::certificates(Part::Certificate, &files.certificate)?;
        let key = files::private_key(&files.private_key)?;
        if provider
            .key_provider
            .load_private_key(key.clone_key())
            .is_err()
        {
            return Err(BadIdentity::Key(files.private_key.clone()));
        }
        let ours = |error| match error {
            rustls::Error::InconsistentKeys(_) => BadIdentity::Mismatch {
                key: files.private_key.clone(),
                certificate: files.certificate.clone(),
            },
            error => bad(Part::Certificate, files, &error),
        };
        let believed =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities), provider.clone())
                .build()
                .map_err(|error| bad(Part::CaCert, files, &error))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(VERSIONS)
            .map_err(ours)?
            .with_client_cert_verifier(believed)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(ours)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(VERSIONS)
            .map_err(ours)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(SignedByCa::new(authorities, &provider)))
            .with_client_auth_cert(chain, key)
            .map_err(ours)?;
        client.resumption = Resumption::disabled();
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }

    /// A connection to a peer that listens.
    ///
    /// # Errors
    /// As rustls says.
    pub fn connect(&self, peer: IpAddr) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(Arc::clone(&self.client), peer.into())
    }

    /// A connection with a peer that came.
    ///
    /// # Errors
    /// As rustls says.
    pub fn accept(&self) -> Result<ServerConnection, rustls::Error> {
        ServerConnection::new(Arc::clone(&self.server))
    }
}

fn bad(part: Part, files: &Files, why: &dyn std::fmt::Display) -> BadIdentity {
    let path = match part {
        Part::PrivateKey => &files.private_key,
        Part::Certificate => &files.certificate,
        Part::CaCert => &files.ca_cert,
    };
    BadIdentity::Certificate {
        part,
        path: path.clone(),
        why: why.to_string(),
    }
}

fn authorities(files: &Files) -> Result<Arc<RootCertStore>, BadIdentity> {
    let mut store = RootCertStore::empty();
    for certificate in files::certificates(Part::CaCert, &files.ca_cert)? {
        store
            .add(certificate)
            .map_err(|error| bad(Part::CaCert, files, &error))?;
    }
    Ok(Arc::new(store))
}

/// What [`missing_cpu_features`] looks for; graviola ends the process without.
#[cfg(target_arch = "x86_64")]
const CPU_FEATURES: &str = "adx aes avx avx2 bmi1 pclmulqdq";
#[cfg(target_arch = "aarch64")]
const CPU_FEATURES: &str = "aes neon pmull sha2";

#[cfg(target_arch = "x86_64")]
fn missing_cpu_features() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    let features = [
        ("adx", has!("adx")),
        ("aes", has!("aes")),
        ("avx", has!("avx")),
        ("avx2", has!("avx2")),
        ("bmi1", has!("bmi1")),
        ("pclmulqdq", has!("pclmulqdq")),
    ];
    missing(&features)
}

#[cfg(target_arch = "aarch64")]
fn missing_cpu_features() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected as has;
    let features = [
        ("aes", has!("aes")),
        ("neon", has!("neon")),
        ("pmull", has!("pmull")),
        ("sha2", has!("sha2")),
    ];
    missing(&features)
}

fn missing(features: &[(&'static str, bool)]) -> Vec<&'static str> {
    let missing = features.iter().filter(|(_, there)| !there);
    missing.map(|(name, _)| *name).collect()
}
