//! Who moves the packets of container networks: a folder for each driver.
//!
//! A driver is asked before anything is made whether it can do what a network wants (`options`), and says
//! what a network and an endpoint are in the words of the switch: bridges, ports and flows (`plan`). Pure: the
//! kernel's part is done with what it says, by [`command`](crate::command).

pub mod bridge;
