//! Tunnels: where their packets go, which headers they get, and which port those that come belong
//! to.
//!
//! Not for deciding whether a packet is tunnelled: translation does, and asks here. Not for ways
//! either: what is made and taken here are whole frames with outer headers, however they get onto
//! the network that carries them.
//!
//! * [`underlay`] is what the host's kernel knows of that network: routes, neighbours, addresses.
//! * [`ports`] finds the tunnel port of a packet that came.
//! * [`template`] are the outer headers of packets that go, ready but for what differs between
//!   packets.
//! * [`decap`] reads and strips the headers of packets that came.
//!
//! Law: values here never change; a change makes another ([`underlay::Underlay::after`]).
//!
//! Spec: RFC 7348, RFC 8926, RFC 6040 (ECN), RFC 6935 and 6936 (zero checksums over IPv6),
//! RFC 7637 §3.2 and RFC 6335 (the source port as entropy); Open vSwitch `ofproto/tunnel.c`.

pub mod decap;
pub mod ports;
pub mod template;
pub mod underlay;
