//! The switch's language: fields, keys, masks, matches and actions, and their text.
//!
//! Everything that two programs must agree on when they speak of flows is here and is stated once:
//! [`field`] holds the one table from which widths, positions, masks, prerequisites, wire codes and
//! spelling follow. No I/O, no packets: `vswitch-datapath` reads headers into a key, OpenFlow bytes
//! are read by their own crate.
#![forbid(unsafe_code)]

pub mod action;
pub mod field;
pub mod key;
pub mod matches;
pub mod sparse;
pub mod text;

pub use action::{Action, OfPort};
pub use field::{Field, FieldInfo};
pub use key::{FlowKey, FlowMask, WORDS};
pub use matches::{FlowRule, Match};
pub use sparse::{SparseKey, SparseMask};
