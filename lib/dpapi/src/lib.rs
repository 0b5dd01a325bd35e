//! The contract between `vswitchd` and `vswitch-datapath`.
//!
//! `vswitchd` connects to the datapath's unix socket, says which version it speaks, and then sends
//! requests, one at a time; every request has one reply. A connection that asks for [`Request::Events`]
//! is told what happens instead. What should be is sent whole
//! ([`Desired`]) and the datapath changes only what differs (architecture decision 3). Kernel
//! descriptors travel beside a message as `SCM_RIGHTS`.
//!
//! Messages are postcard-encoded and length-prefixed ([`frame`]). A change of any message needs a
//! new [`VERSION`]: the golden frames under `tests/` fail otherwise.
#![forbid(unsafe_code)]

pub mod change;
pub mod conntrack;
pub mod desired;
pub mod event;
pub mod frame;
pub mod message;
pub mod router;
pub mod tunnel;

pub use change::{Change, ChangeRefusal};
pub use conntrack::{CtEntry, CtEvent, CtSettings};
pub use desired::{
    Attachment, BridgeId, BridgeSpec, Desired, FailMode, FlowLimit, Fragments, MirrorSpec,
    PortConfig, PortId, PortKind, PortSpec, VlanMode, VlanSpec, XskMode,
};
pub use event::{Event, PacketIn, Removal};
pub use frame::{Connection, FrameError};
pub use message::{Reply, Request};
pub use router::{RouteSpec, RouteTarget, RouterId, RouterPortSpec, RouterSpec};
pub use tunnel::{Endpoint, TunnelKey, TunnelKind, TunnelSpec, TunnelTos, TunnelWay};
pub use tunnel::{Underlay, UnderlayChange};

/// The contract's version. One number with one meaning: both sides were built for the same
/// messages.
pub const VERSION: u32 = 12;
