//! What the kernel holds for the switch: devices, sockets, namespaces.
//!
//! The rooms: [`netlink`] asks and changes links, [`place`] says where they are, [`device`] makes
//! and keeps what a port needs, [`watch`] hears of changes that others make. Nothing here knows
//! bridges or the datapath; the only word shared with it is what an attachment is.

pub mod device;
pub mod netlink;
pub mod place;
pub mod watch;

pub use device::{Device, DeviceError};
pub use watch::{News, Watch};
