//! One subnet and who has which of its addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::spans::Spans;
use super::{IpamError, RangeFault};

/// The addresses of a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    subnet: IpNet,
    /// First and last of what is given without being asked for.
    range: (u128, u128),
    /// What is given, and what the subnet keeps for itself.
    taken: Spans,
    /// Where the search begins.
    next: u128,
}

impl Pool {
    /// Nothing is given yet.
    pub(super) fn new(subnet: IpNet, range: Option<IpNet>) -> Result<Self, IpamError> {
        let right = subnet.trunc();
        if right != subnet {
            return Err(IpamError::HostBits { subnet, right });
        }
        if let Some(range) = range {
            check_range(subnet, range)?;
        }
        let part = range.unwrap_or(subnet);
        let range = (number(part.network()), number(part.broadcast()));
        let mut pool = Self {
            subnet,
            range,
            taken: Spans::default(),
            next: range.0,
        };
        for own in pool.own() {
            pool.taken.insert(own);
        }
        Ok(pool)
    }

    /// The subnet.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// How many addresses are given.
    pub fn given(&self) -> u128 {
        self.taken.len() - self.own().count() as u128
    }

    /// Where the search for the next address begins.
    pub fn next(&self) -> IpAddr {
        self.address(self.next)
    }

    /// What the subnet keeps for itself.
    fn own(&self) -> impl Iterator<Item = u128> + use<> {
        let (first, last) = (
            number(self.subnet.network()),
            number(self.subnet.broadcast()),
        );
        let small = last - first < 2;
        let v4 = matches!(self.subnet, IpNet::V4(_));
        let first = (!small).then_some(first);
        first.into_iter().chain((!small && v4).then_some(last))
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.subnet {
            // A number of this pool has no more bits than its addresses.
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
            IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number)),
        }
    }

    pub(super) fn give(&mut self) -> Result<IpAddr, IpamError> {
        let (first, last) = self.range;
        let behind = self.taken.first_free(self.next, last);
        let found = match (behind, self.next.checked_sub(1)) {
            (Some(found), _) => Some(found),
            (None, Some(before)) if before >= first => self.taken.first_free(first, before),
            (None, _) => None,
        };
        let found = found.ok_or(IpamError::Exhausted(self.subnet))?;
        self.taken.insert(found);
        self.next = if found < last { found + 1 } else { first };
        Ok(self.address(found))
    }

    pub(super) fn take(&mut self, address: IpAddr) -> Result<(), IpamError> {
        if !self.subnet.contains(&address) {
            return Err(IpamError::Outside(address));
        }
        if !self.taken.insert(number(address)) {
            return Err(IpamError::InUse(address));
        }
        Ok(())
    }

    pub(super) fn release(&mut self, address: IpAddr) {
        let number = number(address);
        if self.subnet.contains(&address) && !self.own().any(|own| own == number) {
            self.taken.remove(number);
        }
    }

    pub(super) fn resume(&mut self, next: IpAddr) {
        let (first, last) = self.range;
        let next = number(next);
        let same = matches!(self.subnet, IpNet::V4(_)) == (next <= u128::from(u32::MAX))
            || matches!(self.subnet, IpNet::V6(_));
        if same && (first..=last).contains(&next) {
            self.next = next;
        }
    }
}

fn check_range(subnet: IpNet, range: IpNet) -> Result<(), IpamError> {
    let same_family = matches!(subnet, IpNet::V4(_)) == matches!(range, IpNet::V4(_));
    let why = if same_family && range.prefix_len() < subnet.prefix_len() {
        RangeFault::Bigger(subnet)
    } else if !subnet.contains(&range) {
        RangeFault::Elsewhere(subnet)
    } else if range.trunc() != range {
        RangeFault::HostBits(range.trunc())
    } else {
        return Ok(());
    };
    Err(IpamError::Range { range, why })
}

/// An address as a number; those of IPv4 below 2^32.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}
