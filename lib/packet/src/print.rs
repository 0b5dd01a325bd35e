//! One line about a frame: what its headers are, from the outside in.
//!
//! For traces and test failures, not for the packet path. Prints any bytes; what is malformed ends
//! the line with the reason.

use std::fmt;

use crate::arp::Arp;
use crate::eth::{Eth, EtherType};
use crate::header::Malformed;
use crate::icmp::Icmp;
use crate::icmpv6::Icmpv6;
use crate::ipv4::{Ipv4, Protocol};
use crate::ipv6::Ipv6;
use crate::mpls::Mpls;
use crate::sctp::Sctp;
use crate::tcp::Tcp;
use crate::udp::Udp;
use crate::vlan::Vlan;

/// Tags and labels that are printed, each; more are not in honest packets.
const STACK_LEN: usize = 8;

/// Prints a frame's headers on one line.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a>(
    /// The bytes from the Ethernet header on.
    pub &'a [u8],
);

impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let eth = match Eth::new_checked(self.0) {
            Ok(eth) => eth,
            Err(error) => return write!(f, "Ethernet {error}"),
        };
        write!(f, "{eth}")?;
        let (mut ethertype, mut rest) = (eth.ethertype(), eth.payload());
        for _ in 0..STACK_LEN {
            if !ethertype.is_vlan() {
                break;
            }
            let tag = match Vlan::new_checked(rest) {
                Ok(tag) => tag,
                Err(error) => return write!(f, " | vlan {error}"),
            };
            write!(f, " | {tag}")?;
            ethertype = tag.ethertype();
            rest = rest.get(4..).unwrap_or_default();
        }
        match ethertype {
            EtherType::ARP | EtherType::RARP => layer(f, Arp::new_checked(rest)),
            EtherType::IPV4 => ipv4(f, rest),
            EtherType::IPV6 => ipv6(f, rest),
            ethertype if ethertype.is_mpls() => mpls(f, rest),
            _ => Ok(()),
        }
    }
}

fn layer<H: fmt::Display>(f: &mut fmt::Formatter<'_>, header: Result<H, Malformed>) -> fmt::Result {
    match header {
        Ok(header) => write!(f, " | {header}"),
        Err(error) => write!(f, " | {error}"),
    }
}

fn ipv4(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let ip = Ipv4::new_checked(bytes);
    layer(f, ip)?;
    match ip {
        Ok(ip) if ip.fragment_offset() == 0 => transport(f, ip.protocol(), ip.payload()),
        _ => Ok(()),
    }
}

fn ipv6(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let ip = Ipv6::new_checked(bytes);
    layer(f, ip)?;
    let Ok(ip) = ip else { return Ok(()) };
    match ip.extensions() {
        Ok(found) => {
            if let Some(fragment) = found.fragment {
                write!(f, " | fragment {} at {}", fragment.ident, fragment.offset)?;
            }
            let payload = ip.payload().get(found.offset..).unwrap_or_default();
            transport(f, found.protocol, payload)
        }
        Err(error) => write!(f, " | extension {error}"),
    }
}

fn mpls(f: &mut fmt::Formatter<'_>, mut bytes: &[u8]) -> fmt::Result {
    for _ in 0..STACK_LEN {
        let entry = Mpls::new_checked(bytes);
        layer(f, entry)?;
        match entry {
            Ok(entry) if !entry.repr().bottom => bytes = bytes.get(4..).unwrap_or_default(),
            _ => break,
        }
    }
    Ok(())
}

fn transport(f: &mut fmt::Formatter<'_>, protocol: Protocol, bytes: &[u8]) -> fmt::Result {
    match protocol {
        Protocol::TCP => layer(f, Tcp::new_checked(bytes)),
        Protocol::UDP => layer(f, Udp::new_checked(bytes)),
        Protocol::SCTP => layer(f, Sctp::new_checked(bytes)),
        Protocol::ICMP => layer(f, Icmp::new_checked(bytes)),
        Protocol::ICMPV6 => layer(f, Icmpv6::new_checked(bytes)),
        _ => Ok(()),
    }
}
