//! The OpenFlow agent: what controllers and OpenFlow clients say of a bridge becomes the datapath's,
//! and what the datapath tells becomes messages to them.

pub mod tables;
