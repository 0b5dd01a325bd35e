//! The simulated switch: everything between the ports, in one thread, under the test's clock.
//!
//! * `bridges` — patches, mirrors, the limit of learning
//! * `switching` — learning, VLANs, ageing, moves
//! * `offloads` — packets that ports cannot take as they are
//! * `workers` — several workers, ports that fail, frames that run out
//! * `cache` — what caches must not change
//! * `lives` — flows that come, count and go: timeouts, learning, removal
//! * `groups` — groups and meters
//! * `tracking` — connections, address translation, fragments
//! * `translating` — address translation at routers' ports
//! * `tunnels` — VXLAN and Geneve through a bridge
//! * `routing` — routers: forwarding, errors, routes, VLANs, isolation
//! * `neighbours` — who is where: questions, queues, floods, expiry, claims
//! * `gateway` — what routers say: echoes, advertisements, addresses
//! * `attacks` — what comes that nobody asked for
//! * `controllers` — packets to and from controllers
#![forbid(unsafe_code)]

mod attacks;
mod bridges;
mod cache;
mod controllers;
mod gateway;
mod groups;
mod lives;
mod neighbours;
mod offloads;
mod routing;
mod switching;
mod tracking;
mod translating;
mod tunnels;
mod workers;

use vswitch_packet::build;

/// A station's address.
fn mac(station: u8) -> [u8; 6] {
    [0x02, 0, 0, 0, 0, station]
}
