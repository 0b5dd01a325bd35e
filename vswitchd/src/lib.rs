//! The control process of the switch: it knows what should be, and sees to it that it is.
//!
//! The rooms, in the order in which a command meets them: [`rpc`] or, for `ovs-appctl`, [`unixctl`]
//! reads it, [`command`] carries it out by changing the [`model`], asking the [`host`] for devices,
//! and having [`control`] write the change to the [`store`] and tell the [`dataplane`] what [`plan`]
//! makes of it.
//!
//! Container networks are a part of the model; [`ipam`] knows their addresses, and a [`driver`] says what they
//! are in the switch.
//!
//! [`openflow`] is the second door: controllers and OpenFlow clients, whose changes to flows go past the
//! store to the datapath.
//!
//! One thread, one event loop (`main.rs`). No packet comes here, and none waits for us: the datapath
//! goes on while this process is away.
#![forbid(unsafe_code)]

pub mod command;
pub mod control;
pub mod coverage;
pub mod dataplane;
pub mod driver;
pub mod host;
pub mod ipam;
pub mod listen;
pub mod log;
pub mod model;
pub mod names;
pub mod openflow;
pub mod plan;
mod readiness;
pub mod rpc;
pub mod store;
pub mod unixctl;
