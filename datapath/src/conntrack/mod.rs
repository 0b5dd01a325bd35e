//! Connections: which packets belong together, and what their addresses become.

pub mod alg;
#[cfg(test)]
mod desk;
pub mod fragments;
pub mod nat;
pub mod parse;
pub mod request;
pub mod rewrite;
pub mod seen;
pub mod tuple;
