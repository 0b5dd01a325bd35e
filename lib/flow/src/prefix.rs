//! A prefix of IP addresses: `10.0.0.0/8`, `2001:db8::/32`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address and how many of its leading bits count. The address may have others too: an interface's
/// address is one with the prefix of its network.
///
/// Whoever reads one, a text or a message, gets a length that fits the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Bits that count; at most 32 or 128.
    pub len: u8,
}

/// What a message says.
#[derive(Deserialize)]
#[serde(rename = "Prefix")]
struct Unchecked {
    address: IpAddr,
    len: u8,
}

impl TryFrom<Unchecked> for Prefix {
    type Error = PrefixError;

    fn try_from(Unchecked { address, len }: Unchecked) -> Result<Self, PrefixError> {
        let max = address_bits(address);
        if len <= max {
            return Ok(Self { address, len });
        }
        Err(PrefixError::Len {
            text: format!("{address}/{len}"),
            max,
        })
    }
}

/// Why a text or a message is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// What stands before the slash is no address.
    #[error("'{0}' is no IPv4 or IPv6 address")]
    Address(String),
    /// What stands after it is no length.
    #[error("the length of '{text}' must be a number from 0 to {max}")]
    Len {
        /// All of the text.
        text: String,
        /// Bits of such an address.
        max: u8,
    },
}

/// Bits of an address.
#[must_use]
pub const fn address_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Prefix {
    /// All addresses of a family.
    #[must_use]
    pub const fn all(v4: bool) -> Self {
        let address = if v4 {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        Self { address, len: 0 }
    }

    /// One address.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self {
            address,
            len: address_bits(address),
        }
    }

    /// The address left-aligned in 128 bits.
    #[must_use]
    pub fn bits(&self) -> u128 {
        left_aligned(self.address)
    }

    /// Without the bits that do not count.
    #[must_use]
    pub fn network(&self) -> Self {
        let bits = self.bits() & mask(self.len);
        let address = match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from((bits >> 96) as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(bits)),
        };
        Self {
            address,
            len: self.len,
        }
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && (self.bits() ^ left_aligned(address)) & mask(self.len) == 0
    }

    /// Whether some address is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        if self.len <= other.len {
            self.contains(other.address)
        } else {
            other.contains(self.address)
        }
    }

    /// The last address in it: of IPv4 networks the broadcast address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        let bits = self.bits() | !mask(self.len);
        match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from((bits >> 96) as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(bits)),
        }
    }
}

/// An address left-aligned in 128 bits.
#[must_use]
pub fn left_aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The first `len` of 128 bits.
const fn mask(len: u8) -> u128 {
    match len {
        0 => 0,
        1..=127 => u128::MAX << (128 - len),
        _ => u128::MAX,
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// An address and a length, or an address alone, which is a prefix of all its bits.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| PrefixError::Address(address.to_owned()))?;
        let Some(len) = len else {
            return Ok(Self::host(address));
        };
        let max = address_bits(address);
        let digits = !len.is_empty() && len.bytes().all(|byte| byte.is_ascii_digit());
        let len = len.parse().ok().filter(|_| digits);
        let prefix = len.and_then(|len| Self::try_from(Unchecked { address, len }).ok());
        prefix.ok_or_else(|| PrefixError::Len {
            text: text.to_owned(),
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn texts_are_read_and_written() {
        for text in ["10.1.2.3/8", "0.0.0.0/0", "2001:db8::1/64", "::/0"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("10.1.2.3").to_string(), "10.1.2.3/32");
        assert_eq!(prefix("::1").to_string(), "::1/128");
        for text in [
            "",
            "/8",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "::/+1",
            "::/-1",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        let error = "10.0.0.0/33".parse::<Prefix>().unwrap_err().to_string();
        assert_eq!(
            error,
            "the length of '10.0.0.0/33' must be a number from 0 to 32"
        );
    }

    #[test]
    fn networks_contain_and_overlap() {
        let net = prefix("10.1.2.3/8");
        assert_eq!(net.network(), prefix("10.0.0.0/8"));
        assert_eq!(net.last(), prefix("10.255.255.255").address);
        assert!(net.contains(prefix("10.9.9.9").address));
        assert!(!net.contains(prefix("11.0.0.0").address));
        assert!(!prefix("::/0").contains(net.address));
        assert!(net.overlaps(&prefix("10.1.0.0/16")));
        assert!(prefix("10.1.0.0/16").overlaps(&net));
        assert!(!net.overlaps(&prefix("11.0.0.0/16")));
        assert_eq!(
            prefix("2001:db8::/127").last(),
            prefix("2001:db8::1").address
        );
    }
}
