//! What the proofs that run real processes stand on: a sandbox, namespaces, devices, the switch's
//! processes, and traffic whose content is checked.
//!
//! Everything a test makes lives inside a [`sandbox`]: private network, mount and process
//! namespaces that the kernel takes away with the last process, so that a test that panics, is
//! interrupted or is killed leaves nothing behind. The guards (`Drop`) below only keep one test out
//! of the next one's way.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "proofs of real processes wait and measure in wall time"
)]

pub mod authority;
pub mod connections;
pub mod device;
pub mod netns;
pub mod openflow;
pub mod ovs;
pub mod process;
pub mod programs;
pub mod sandbox;
pub mod service;
pub mod sim;
pub mod topology;
pub mod traffic;
pub mod transcript;
pub mod wait;
