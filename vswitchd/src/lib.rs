#![forbid(unsafe_code)]

pub mod host;
pub mod model;
pub mod store;
