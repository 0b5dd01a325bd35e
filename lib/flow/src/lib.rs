//! The switch's language: fields, keys, masks, matches, actions, flows, groups and meters, and
//! their text.
//!
//! Everything that two programs must agree on when they speak of flows is here and is stated once:
//! [`field`] holds the one table from which widths, positions, masks, prerequisites, wire codes and
//! spelling follow. No I/O, no packets: `vswitch-datapath` reads headers into a key, OpenFlow bytes
//! are read by their own crate.
#![forbid(unsafe_code)]

pub mod action;
pub mod check;
pub mod conntrack;
pub mod field;
pub mod group;
pub mod key;
pub mod matches;
pub mod meter;
pub mod prefix;
pub mod rule;
pub mod sparse;
pub mod text;

pub use action::{Action, Instructions, OfPort, Subfield};
pub use conntrack::{CtFilter, CtTupleFilter};
pub use field::{Field, FieldInfo};
pub use group::{Bucket, Group, GroupKind, GroupMod};
pub use key::{CT_WORD, CT_WORDS, FlowKey, FlowMask, META_WORD, PACKET_WORDS, WORDS};
pub use matches::Match;
pub use meter::{Band, BandKind, Meter, MeterMod};
pub use prefix::{Prefix, PrefixError};
pub use rule::{FlowCommand, FlowFlags, FlowMod, FlowRule, FlowSelect};
pub use sparse::{MaskWords, SparseKey, SparseMask};
