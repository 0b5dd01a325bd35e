//! What can be said to the driver with `--opt`, in the words of Docker's driver of the same name.

use std::collections::BTreeMap;

use crate::model::containers::CnmError;
use crate::model::name::{self, Named};

/// The smallest MTU that IPv6 works with (RFC 8200 §5); below it a network could not have both families.
const MTU_MIN: u32 = 1280;

/// The largest that a TAP takes.
const MTU_MAX: u32 = 65_521;

const MTU: &str = "com.docker.network.driver.mtu";
const BRIDGE: &str = "com.docker.network.bridge.name";
const PREFIX: &str = "com.docker.network.container_iface_prefix";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const ANTISPOOF: &str = "vswitch.antispoof";
const NAMES: &str = "vswitch.dns";
const ALLOWED: [&str; 6] = [MTU, BRIDGE, PREFIX, ICC, ANTISPOOF, NAMES];

/// What a network says to its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the largest packet of layer 3.
    pub mtu: Option<u32>,
    /// The bridge's name.
    pub bridge: Option<String>,
    /// What interfaces are called in sandboxes, before their number.
    pub prefix: String,
    /// Members reach each other (inter-container communication).
    pub icc: bool,
    /// Endpoints are held to their own addresses.
    pub antispoof: bool,
    /// Names are served at the gateways.
    pub names: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mtu: None,
            bridge: None,
            prefix: "eth".into(),
            icc: true,
            antispoof: true,
            names: true,
        }
    }
}

impl Options {
    /// Reads them all.
    ///
    /// # Errors
    /// For an option that is not known here, or a value that it does not take.
    pub fn read(options: &BTreeMap<String, String>) -> Result<Self, CnmError> {
        let mut read = Self::default();
        for (key, value) in options {
            let fails = |why: &str| {
                Err(CnmError::Unfit(format!(
                    "failed to parse {key} value: {value:?} ({why})"
                )))
            };
            match key.as_str() {
                MTU => match value.parse() {
                    Ok(mtu) if (MTU_MIN..=MTU_MAX).contains(&mtu) => read.mtu = Some(mtu),
                    _ => return fails("it takes a number of bytes from 1280 to 65521"),
                },
                ICC | ANTISPOOF | NAMES => {
                    let Some(said) = boolean(value) else {
                        return fails("it takes true or false");
                    };
                    match key.as_str() {
                        ICC => read.icc = said,
                        NAMES => read.names = said,
                        _ => read.antispoof = said,
                    }
                }
                BRIDGE => {
                    if let Err(error) = name::check(Named::Bridge, value) {
                        return fails(&error.to_string());
                    }
                    read.bridge = Some(value.clone());
                }
                PREFIX => {
                    // Three bytes are left for the number.
                    let good = value.len() <= name::NAME_LEN_MAX - 3
                        && name::check(Named::Device, value).is_ok()
                        && !value.ends_with(|c: char| c.is_ascii_digit());
                    if !good {
                        return fails(
                            "it takes up to 12 bytes that a device's name may begin with, not ending in a digit",
                        );
                    }
                    read.prefix.clone_from(value);
                }
                _ => {
                    return Err(CnmError::Unfit(format!(
                        "the bridge driver has no option {key:?}; it has {}",
                        ALLOWED.join(", ")
                    )));
                }
            }
        }
        Ok(read)
    }

    /// Refuses whatever is said to the driver about an endpoint: there is nothing to say yet.
    pub fn check_endpoint(options: &BTreeMap<String, String>) -> Result<(), CnmError> {
        match options.keys().next() {
            Some(key) => Err(CnmError::Unfit(format!(
                "the bridge driver has no option {key:?} for an endpoint"
            ))),
            None => Ok(()),
        }
    }
}

/// What Go's `strconv.ParseBool` takes, by which Docker reads such options.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, value: &str) -> Result<Options, String> {
        let options = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Options::read(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read_or_refused_before_anything_is_made() {
        let options = read(MTU, "9000").expect("good");
        assert_eq!((options.mtu, options.prefix.as_str()), (Some(9000), "eth"));
        assert_eq!(read(PREFIX, "net").expect("good").prefix, "net");
        assert!(!read(ICC, "0").expect("good").icc);
        assert!(!read(ANTISPOOF, "false").expect("good").antispoof);
        assert_eq!(
            read(BRIDGE, "br0").expect("good").bridge.as_deref(),
            Some("br0")
        );
        for (key, value, why) in [
            (
                MTU,
                "-1",
                "failed to parse com.docker.network.driver.mtu value: \"-1\" (",
            ),
            (MTU, "1279", "1280 to 65521"),
            (MTU, "65522", "1280 to 65521"),
            (BRIDGE, "a name that is long", "longer than 15 bytes"),
            (PREFIX, "exactly13byte", "up to 12 bytes"),
            (PREFIX, "eth0", "not ending in a digit"),
            (ICC, "no", "it takes true or false"),
            (ANTISPOOF, "", "it takes true or false"),
            (
                "colour",
                "red",
                "the bridge driver has no option \"colour\"; it has com.docker",
            ),
        ] {
            let said = read(key, value).expect_err("refused");
            assert!(said.contains(why), "{said}");
        }
    }
}
