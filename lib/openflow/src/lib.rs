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
//! Versions: 1.0 with Nicira's extensions (NXM), 1.3, 1.4. Spec: OpenFlow 1.0.1, 1.3.5 and 1.4.1;
//! Open vSwitch's `include/openflow/*.h` for the extensions.
#![forbid(unsafe_code)]

pub mod action;
pub mod error;
pub mod header;
pub mod instruction;
pub mod oxm;
pub mod wire;

pub use error::{ErrorCode, OfError};
pub use header::{Framer, Header, Version};
pub use wire::{EncodeError, Reader, Writer};
