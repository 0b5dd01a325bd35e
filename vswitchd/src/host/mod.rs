//! What the kernel holds for the switch: devices, sockets, namespaces.
//!
//! The rooms: [`netlink`] asks and changes links, [`place`] says where they are, [`device`] makes
//! and keeps what a port needs, [`holder`] tells who has a UDP port, [`holder`] tells who has a UDP port, [`watch`]
//! hears of changes that others make. Nothing here knows
//! bridges or the datapath; the only word shared with it is what an attachment is.

pub mod device;
pub mod holder;
pub mod netlink;
pub mod network;
pub mod place;
pub mod watch;

pub use device::{Device, DeviceError};
pub use network::Follow;
pub use watch::{News, Watch};
