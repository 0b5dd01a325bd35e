//! Header views, builders and checksums.
//!
//! Not for I/O, and not for judging a packet's way: views say what bytes mean, the flow key
//! (`datapath/src/extract.rs`) says what the switch makes of them.
//!
//! Every header file has the same shape: a view over borrowed bytes with getters and setters, made
//! from a list of fields; `check` for what the lengths inside must be; a `Repr` of plain values that
//! can always be written; `Display`; tests with real bytes. Views neither copy nor allocate.
//!
//! Law: no bytes make anything here panic. `new_checked` says whether the bytes are the header,
//! lengths included; past the end of its bytes even an unchecked view reads zero.
#![forbid(unsafe_code)]

pub mod checksum;
mod header;

// Link layer.
pub mod arp;
pub mod eth;
pub mod mpls;
pub mod vlan;
// Network layer.
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
// Transport layer.
pub mod sctp;
pub mod tcp;
pub mod udp;
// Tunnels.
pub mod geneve;
pub mod vxlan;

// Whole frames.
pub mod build;
pub mod print;

pub use eth::EtherType;
pub use header::{MacAddr, Malformed};
pub use ipv4::Protocol;
