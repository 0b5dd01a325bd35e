//! What should be: bridges, ports, mirrors and their settings, and the rules they obey; and the container
//! networks that bridges are made for ([`containers`]).
//!
//! Pure: no file, socket, device, clock or chance. Whoever changes the switch takes a copy, changes
//! the copy, carries the difference out, and keeps the copy when all of that has worked.
//!
//! Law: a [`Switch`] that any sequence of its methods made is consistent. Names are legal and
//! unique over the whole switch, OpenFlow numbers are unique in their bridge and do not change, and
//! every setting has a value its port can have. The only name that may point nowhere is a patch
//! port's peer, which may come later.

pub mod bridge;
pub mod containers;
pub mod key;
pub mod mirror;
pub mod name;
mod nat;
pub mod port;
pub mod refusal;
pub mod router;
pub mod ssl;
pub mod switch;
pub mod target;
pub mod tunnel;
pub mod uplink;

pub use bridge::{Bridge, BridgeSettings};
pub use mirror::Mirror;
pub use port::{Port, PortSettings};
pub use refusal::ModelError;
pub use router::Router;
pub use ssl::Ssl;
pub use switch::Switch;
pub use target::Target;
pub use uplink::{Steer, Uplink};
