//! Addresses: which subnets networks have, and which address of a subnet belongs to whom.
//!
//! Pure: no file, socket, clock or chance; routes of the host are handed in. Not for what an address is used
//! for: that is the [`model`](crate::model)'s, which asks here and remembers what it got. All of [`Ipam`]
//! follows from that memory: after a restart it is asked for again, pool by pool and address by address.
//!
//! Law: pools do not overlap; an address is given once until it is released; what a subnet keeps for itself
//! (the network's address, IPv4's broadcast, IPv6's routers' anycast) is never given, except where a subnet
//! has two addresses or one (RFC 3021, RFC 6164).
//!
//! Addresses are given *next-fit*: the search goes on behind the last one given, so that an address that has
//! just been released rests as long as the pool allows, and neighbours' memories of it grow old.
//!
//! Cost: O(log n) for an address, n being the runs of neighbouring addresses that are given; O(pools) for a pool.
//!
//! Spec: libnetwork's `docs/ipam.md`, whose texts the refusals have.

mod defaults;
mod pool;
mod spans;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

pub use defaults::{Defaults, Family};
pub use pool::Pool;

/// Why an address or a pool was not given. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// The subnet is not written as one.
    #[error("invalid subnet {subnet}: it should be {right}")]
    HostBits {
        /// As it was asked for.
        subnet: IpNet,
        /// Without the bits of a host.
        right: IpNet,
    },
    /// The part to give addresses from is no part.
    #[error("invalid ip-range {range}: {why}")]
    Range {
        /// The part.
        range: IpNet,
        /// What is wrong with it.
        why: RangeFault,
    },
    /// Another network has addresses of it.
    #[error("Pool overlaps with other one on this address space: {subnet} overlaps {other}")]
    Overlap {
        /// What was asked for.
        subnet: IpNet,
        /// The pool that is there.
        other: IpNet,
    },
    /// The host reaches others by these addresses.
    #[error("the subnet {subnet} overlaps {route}, to which the host has a route")]
    Route {
        /// What was asked for.
        subnet: IpNet,
        /// The destination of the host's route.
        route: IpNet,
    },
    /// All subnets that are given without being asked for are in use.
    #[error(
        "could not find an available, non-overlapping {0} address pool among the defaults to assign \
         to the network"
    )]
    NoPool(Family),
    /// There is no such pool.
    #[error("there is no address pool {0}")]
    Unknown(IpNet),
    /// All addresses are given.
    #[error("no available addresses on the pool {0}")]
    Exhausted(IpNet),
    /// Somebody has the address, or the subnet keeps it for itself.
    #[error("Address already in use: {0}")]
    InUse(IpAddr),
    /// The address is of another subnet.
    #[error("Invalid address {0}: It does not belong to any of this network's subnets")]
    Outside(IpAddr),
}

/// What is wrong with a part of a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeFault {
    /// It is more than the subnet.
    #[error("CIDR block is bigger than its parent subnet {0}")]
    Bigger(IpNet),
    /// It lies elsewhere.
    #[error("parent subnet {0} doesn't contain ip-range")]
    Elsewhere(IpNet),
    /// It is not written as one.
    #[error("it should be {0}")]
    HostBits(IpNet),
}

/// All pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ipam {
    pools: BTreeMap<IpNet, Pool>,
}

/// Whether two subnets have an address in common.
pub fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

impl Ipam {
    /// Makes a pool of a subnet, which is its name from then on. Addresses that nobody asks for by name are
    /// given from `range`. `routes` are the destinations that the host reaches by other ways.
    pub fn add(
        &mut self,
        subnet: IpNet,
        range: Option<IpNet>,
        routes: &[IpNet],
    ) -> Result<(), IpamError> {
        let pool = Pool::new(subnet, range)?;
        if let Some(other) = self.overlapping(&subnet) {
            return Err(IpamError::Overlap { subnet, other });
        }
        if let Some(route) = routes.iter().find(|route| is_in_the_way(&subnet, route)) {
            let route = *route;
            return Err(IpamError::Route { subnet, route });
        }
        self.pools.insert(subnet, pool);
        Ok(())
    }

    /// A subnet of the defaults that is free, and that the host does not reach by other ways.
    pub fn choose(
        &self,
        defaults: &Defaults,
        family: Family,
        routes: &[IpNet],
    ) -> Result<IpNet, IpamError> {
        // One that is in use is left whole, and so are all that lie within a pool or route with it.
        let taken = |subnet: &IpNet| {
            let route = routes.iter().find(|route| is_in_the_way(subnet, route));
            self.overlapping(subnet).or_else(|| route.copied())
        };
        defaults
            .find(family, taken)
            .ok_or(IpamError::NoPool(family))
    }

    /// Takes a pool away with all that was given of it.
    pub fn remove(&mut self, subnet: &IpNet) -> Result<(), IpamError> {
        match self.pools.remove(subnet) {
            Some(_) => Ok(()),
            None => Err(IpamError::Unknown(*subnet)),
        }
    }

    /// Gives any address of a pool.
    pub fn give(&mut self, subnet: &IpNet) -> Result<IpAddr, IpamError> {
        self.pool_mut(subnet)?.give()
    }

    /// Gives this address of a pool.
    pub fn take(&mut self, subnet: &IpNet, address: IpAddr) -> Result<(), IpamError> {
        self.pool_mut(subnet)?.take(address)
    }

    /// Takes an address back. One that was not given is nobody's already.
    pub fn release(&mut self, subnet: &IpNet, address: IpAddr) -> Result<(), IpamError> {
        self.pool_mut(subnet)?.release(address);
        Ok(())
    }

    /// A pool.
    pub fn pool(&self, subnet: &IpNet) -> Option<&Pool> {
        self.pools.get(subnet)
    }

    /// Has the search of a pool go on at an address, as before a restart.
    pub fn resume(&mut self, subnet: &IpNet, next: IpAddr) -> Result<(), IpamError> {
        self.pool_mut(subnet)?.resume(next);
        Ok(())
    }

    fn pool_mut(&mut self, subnet: &IpNet) -> Result<&mut Pool, IpamError> {
        self.pools
            .get_mut(subnet)
            .ok_or(IpamError::Unknown(*subnet))
    }

    /// A pool with an address in common.
    fn overlapping(&self, subnet: &IpNet) -> Option<IpNet> {
        self.pools
            .keys()
            .find(|pool| overlap(pool, subnet))
            .copied()
    }
}

/// Whether a route takes addresses of a subnet elsewhere. The one to everywhere takes none: it is what remains.
fn is_in_the_way(subnet: &IpNet, route: &IpNet) -> bool {
    route.prefix_len() > 0 && overlap(subnet, route)
}

#[cfg(test)]
mod tests;
