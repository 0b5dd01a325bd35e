//! TLS between a switch and those who drive it: what both sides take as a proof of who the other is.
//!
//! `vswitchd` (the `ssl:` and `pssl:` controllers of a bridge) and `vsctl` (`ssl:` switches) use the same
//! [`Identity`], made of the three files that Open vSwitch has: a private key, the certificate that goes with
//! it, and the certificates of the authorities whose word is taken ([`Files`]). Not for sockets: who has one
//! moves the bytes of a connection of rustls.
//!
//! Law:
//! - Both sides prove themselves, always. A peer is who an authority of ours says it is; its name and address
//!   are not compared with its certificate, as with Open vSwitch, where switches have no names.
//! - TLS 1.2 and 1.3, the cipher suites of rustls. No session is resumed, so that a peer is looked at again
//!   each time, with the authorities of today.
//! - What cannot be used is refused in one sentence that names the file ([`BadIdentity`]); why a peer was
//!   refused, or refuses us, is another ([`explain()`]).
//!
//! Threads: none. Cost: a handshake signs once and checks a chain, about a millisecond.
//!
//! Spec: RFC 8446, RFC 5246, RFC 5280; `ovs-pki(8)` for the files.
#![forbid(unsafe_code)]

mod explain;
mod files;
mod identity;
mod verify;

pub use explain::explain;
pub use files::Files;
pub use identity::{BadIdentity, Identity};
pub use rustls;
