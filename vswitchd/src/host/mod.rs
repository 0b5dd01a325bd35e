//! What the kernel holds for the switch: devices, sockets, namespaces.
//!
//! The rooms: [`netlink`] asks and changes links, [`addresses`] what hosts have on them, [`named`] makes
//! namespaces, [`place`] says where they are, [`device`] makes and keeps what a port needs, [`holder`] tells who
//! has a UDP port, [`watch`] hears of changes that others make, [`network`] reads and follows addresses,
//! routes and neighbours. Nothing here knows bridges or the datapath; the only words shared with it are what
//! an attachment and what a route is.

pub mod addresses;
pub mod device;
pub mod holder;
pub mod named;
pub mod netlink;
pub mod network;
pub mod place;
pub mod resolv;
pub mod watch;

pub use device::{Device, DeviceError};
pub use network::Follow;
pub use watch::{News, Watch};
