//! Connections: which packets belong together, and what their addresses become.

pub mod request;
pub mod seen;
pub mod tuple;
