//! The packet process of the virtual switch, in the order in which a packet meets the modules.
#![forbid(unsafe_code)]

// Where packets come and go.
pub mod buffer;
pub mod offload;
pub mod port;

// Steps, in order; they never call each other.
pub mod extract;

pub mod cache;

pub mod pipeline;

pub mod action;
mod field;

// What decides about them.
pub mod conntrack;
pub mod fdb;
pub mod gateway;
pub mod neigh;
pub mod route;
pub mod tunnel;

// What all of them count and tell time by.
pub mod counters;
pub mod rate;
pub mod tick;

// What drives them.
pub mod control;
pub mod worker;
