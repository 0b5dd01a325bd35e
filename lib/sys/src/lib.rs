//! Kernel interfaces and shared memory: the only crate of the switch in which `unsafe` may be
//! written, so that every other crate can forbid it.
//!
//! Each module offers a safe face whose soundness does not depend on its caller. A block that is
//! unsafe names the invariant that it stands on and who keeps it.
#![allow(
    unsafe_code,
    reason = "this crate is the one room for unsafe; every block states its invariant"
)]

pub mod affinity;
pub mod alloc;
pub mod bpf;
pub mod clock;
pub mod memory;
mod mmsg;
pub mod netns;
pub mod packet_socket;
pub mod privilege;
pub mod random;
pub mod tap;
pub mod udp_socket;
pub mod xsk;
