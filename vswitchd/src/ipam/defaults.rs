//! The subnets that networks get which ask for none: those of Docker.

use std::fmt;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Of a subnet.
    pub fn of(subnet: &IpNet) -> Self {
        match subnet {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Blocks, each cut into subnets of one size, taken in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    blocks: Vec<(IpNet, u8)>,
}

/// Docker's blocks for networks of one host: 31 subnets.
const LOCAL: [([u8; 4], u8, u8); 7] = [
    ([172, 17, 0, 0], 16, 16),
    ([172, 18, 0, 0], 16, 16),
    ([172, 19, 0, 0], 16, 16),
    ([172, 20, 0, 0], 14, 16),
    ([172, 24, 0, 0], 14, 16),
    ([172, 28, 0, 0], 14, 16),
    ([192, 168, 0, 0], 16, 20),
];

/// Bits of a subnet of IPv6: what hosts that configure themselves need (RFC 4291 §2.5.4).
const V6_LEN: u8 = 64;

impl Defaults {
    /// Docker's for networks of one host. `site` are 40 bits of chance that no other site has (RFC 4193 §3.2),
    /// which make the block of IPv6.
    pub fn local(site: [u8; 5]) -> Self {
        let v4 = LOCAL.map(|(address, len, cut)| (v4(address, len), cut));
        let [a, b, c, d, e] = site;
        let block = Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let block = Ipv6Net::new_assert(block, 48);
        let mut blocks = v4.to_vec();
        blocks.push((IpNet::V6(block), V6_LEN));
        Self { blocks }
    }

    /// The first subnet of a family of which `taken` names nothing that overlaps it.
    pub(super) fn find(
        &self,
        family: Family,
        taken: impl Fn(&IpNet) -> Option<IpNet>,
    ) -> Option<IpNet> {
        let blocks = self.blocks.iter();
        let mut blocks = blocks.filter(|(block, _)| Family::of(block) == family);
        blocks.find_map(|(block, len)| {
            let mut candidate = IpNet::new(block.network(), *len).ok()?;
            loop {
                // What overlaps and is larger reaches further than the candidate: all of it is passed over.
                let passed = match taken(&candidate) {
                    None => return Some(candidate),
                    Some(other) if other.prefix_len() < *len => other,
                    Some(_) => candidate,
                };
                candidate = following(&passed, *len).filter(|next| block.contains(next))?;
            }
        })
    }
}

fn v4(address: [u8; 4], len: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(address), len))
}

/// The subnet of `len` bits that begins behind another.
fn following(subnet: &IpNet, len: u8) -> Option<IpNet> {
    match subnet.trunc() {
        IpNet::V4(net) => {
            let next = net.broadcast().to_bits().checked_add(1)?;
            IpNet::new(Ipv4Addr::from_bits(next).into(), len).ok()
        }
        IpNet::V6(net) => {
            let next = net.broadcast().to_bits().checked_add(1)?;
            IpNet::new(Ipv6Addr::from_bits(next).into(), len).ok()
        }
    }
}
