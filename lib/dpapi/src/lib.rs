//! The contract between `vswitchd` and `vswitch-datapath`.
//!
//! `vswitchd` connects to the datapath's unix socket, says which version it speaks, and then sends
//! requests, one at a time; every request has one reply. What should be is sent whole
//! ([`Desired`]) and the datapath changes only what differs (architecture decision 3). Kernel
//! descriptors travel beside a message as `SCM_RIGHTS`.
//!
//! Messages are postcard-encoded and length-prefixed ([`frame`]). A change of any message needs a
//! new [`VERSION`]: the golden frames under `tests/` fail otherwise.
#![forbid(unsafe_code)]

pub mod desired;
pub mod frame;
pub mod message;

pub use desired::{
    Attachment, BridgeId, BridgeSpec, Desired, FailMode, MirrorSpec, PortId, PortKind, PortSpec,
    VlanMode, VlanSpec, XskMode,
};
pub use frame::{Connection, FrameError};
pub use message::{Reply, Request};

/// The contract's version. One number with one meaning: both sides were built for the same
/// messages.
pub const VERSION: u32 = 1;
