//! How the switch proves to controllers who it is: files on the machine where `vswitchd` runs.

use serde::{Deserialize, Serialize};

/// `set-ssl`: names the files. All three are read and have to fit together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSsl {
    /// The full path of the private key, in PEM.
    pub private_key: String,
    /// The full path of its certificate, in PEM.
    pub certificate: String,
    /// The full path of the certificates of the authorities whose word is taken, in PEM.
    pub ca_cert: String,
}

/// `get-ssl`: the files, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadSsl {}

/// `del-ssl`: takes the files away. Nobody comes over TLS any more; connections that exist stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelSsl {}
