//! Authorities that sign certificates, for the proofs of TLS.
//!
//! Everything is made anew each time and lies in the test's own directory. Keys are of P-256, by the same
//! cryptography as the switch's, so that the proofs need no other.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{P256, SigningKey};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyIdMethod, PublicKeyData,
    SerialNumber, SignatureAlgorithm,
};

/// Where the files of a member are; any of them can be handed to a program.
#[derive(Clone, Debug)]
pub struct Papers {
    /// The private key.
    pub key: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// The certificate of the authority that signed it.
    pub ca: PathBuf,
}

impl Papers {
    /// The files as texts, in the order of `set-ssl`.
    pub fn words(&self) -> Result<[&str; 3]> {
        Ok([word(&self.key)?, word(&self.certificate)?, word(&self.ca)?])
    }
}

fn word(path: &Path) -> Result<&str> {
    path.to_str().context("a path of text")
}

/// An authority.
pub struct Authority {
    directory: PathBuf,
    name: String,
    params: CertificateParams,
    key: Key,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one, whose files go to `directory`.
    pub fn new(directory: &Path, name: &str) -> Result<Self> {
        let key = Key::new()?;
        let mut params = params(name)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        let authority = Self {
            directory: directory.into(),
            name: name.into(),
            params,
            key,
        };
        fs::write(authority.ca(), certificate.pem())?;
        Ok(authority)
    }

    /// Its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.join(format!("{}.pem", self.name))
    }

    /// Makes a key and signs a certificate for it.
    pub fn sign(&self, name: &str) -> Result<Papers> {
        self.sign_until(name, 2999)
    }

    /// The same, valid until the end of a year.
    pub fn sign_until(&self, name: &str, year: i32) -> Result<Papers> {
        let key = Key::new()?;
        let mut params = params(name)?;
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer)?;
        let file = |what: &str| self.directory.join(format!("{name}-{what}.pem"));
        let papers = Papers {
            key: file("privkey"),
            certificate: file("cert"),
            ca: self.ca(),
        };
        fs::write(&papers.key, key.pem()?)?;
        fs::write(&papers.certificate, certificate.pem())?;
        Ok(papers)
    }
}

fn params(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2999, 12, 31);
    // Unique enough: an authority gives each name once.
    let number: Vec<u8> = name.bytes().take(16).collect();
    params.serial_number = Some(SerialNumber::from(number));
    params.key_identifier_method = KeyIdMethod::PreSpecified(name.as_bytes().to_vec());
    Ok(params)
}

/// A key of P-256.
struct Key {
    secret: SigningKey<P256>,
    /// The public point, uncompressed.
    public: Vec<u8>,
}

/// Bytes of an uncompressed point, which end the key's public form (RFC 5480 §2.2).
const POINT_SIZE: usize = 65;

impl Key {
    fn new() -> Result<Self> {
        let wrong = |error| anyhow!("no key could be made: {error:?}");
        let secret = SigningKey::generate().map_err(wrong)?;
        let mut buffer = [0; 256];
        let info = secret.to_spki_der(&mut buffer).map_err(wrong)?;
        let at = info.len().checked_sub(POINT_SIZE).context("a short key")?;
        let public = info[at..].to_vec();
        Ok(Self { secret, public })
    }

    fn pem(&self) -> Result<String> {
        let mut buffer = [0; 512];
        let der = self.secret.to_pkcs8_der(&mut buffer);
        let der = der.map_err(|error| anyhow!("the key cannot be written: {error:?}"))?;
        Ok(pem::encode(&pem::Pem::new("PRIVATE KEY", der)))
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut buffer = [0; 256];
        let signature = self.secret.sign_asn1::<Sha256>(&[message], &mut buffer);
        signature
            .map(<[u8]>::to_vec)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
