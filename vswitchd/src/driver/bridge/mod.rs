//! The driver `bridge`: each network is a bridge of the switch, each endpoint a TAP in its sandbox.
//!
//! Members of a network reach each other, and the host at the network's gateways, which are addresses of
//! the bridge's own device, which hears what members send to everybody. No other IP passes between that
//! device and the members, whatever the host's kernel would forward: two networks are apart, and nobody
//! leaves a network yet.

mod flows;
mod options;
mod plan;

pub use flows::{COOKIE, flows};
pub use options::Options;
pub use plan::{add_network, bridge_name, endpoint_of, local_addresses, port, port_name};
