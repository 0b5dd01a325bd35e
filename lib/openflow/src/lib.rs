//! OpenFlow bytes to the switch's values and back.
//!
//! For the agent in `vswitchd` and for `vsctl`; every message is read and written. No sockets, no
//! clocks, no state of a connection: the caller keeps these. What a flow, a match or an action
//! *means* is `vswitch-flow`'s business, which bytes say it is this crate's.
//!
//! Law: no bytes make anything here panic, and nothing is allocated that the bytes at hand do not
//! pay for. Bytes that are not OpenFlow are refused with the type and code of the `OFPT_ERROR` that
//! the specification asks for ([`error::OfError`]). What is read can be written, and reads the same.
//!
//! Versions: 1.0 with Nicira's extensions (NXM), 1.3, 1.4, 1.5. Spec: OpenFlow 1.0.1, 1.3.5, 1.4.1
//! and 1.5.1;
//! Open vSwitch's `include/openflow/*.h` for the extensions.
#![forbid(unsafe_code)]

// Bytes.
pub mod elapsed;
pub mod error;
pub mod header;
mod property;
pub mod wire;

// What flows are made of.
pub mod action;
pub mod instruction;
pub mod oxm;
mod oxs;

// Messages, a file for each family.
pub mod async_config;
pub mod bundle;
pub mod config;
mod ct_flush;
pub mod features;
pub mod flow_mod;
pub mod flow_monitor;
pub mod flow_removed;
pub mod flow_stats;
pub mod group;
pub mod hello;
pub mod message;
pub mod meter;
pub mod multipart;
pub mod nicira;
pub mod packet_in;
pub mod packet_out;
pub mod port;
pub mod queue;
pub mod request_forward;
pub mod role;
pub mod table;

pub use error::{ErrorCode, OfError};
pub use header::{Framer, Header, Version};
pub use message::{Decoded, Dialect, Layout, Message};
pub use wire::{EncodeError, Reader, Writer};
