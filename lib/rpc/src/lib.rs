//! What `vsctl` and `vswitchd` say to each other: JSON-RPC 2.0, one object per line, over the unix
//! stream socket `RUNDIR/vswitchd.sock`.
//!
//! It holds the words only. Sockets, waiting and threads belong to the two programs. How a reply
//! looks on a terminal belongs to `vsctl`, except for the looks that Open vSwitch has given it:
//! both programs print those, so they are made in [`text`].
//!
//! Law:
//! - A method is one row in [`method`]: its name, the type of its parameters and of its reply. Both
//!   programs compile against that row, so a changed type breaks the build and not a user.
//! - A reply is structured. Text appears only where the text *is* the answer: a flow, its actions,
//!   the lines of a trace, what `ovs-appctl` would print.
//! - Unknown parameters are refused, so that a misspelt one never counts as absent.
//! - A refusal is one sentence for a person, see [`error::Refusal`].
//!
//! ```text
//! → {"jsonrpc":"2.0","id":1,"method":"fdb-show","params":{"bridge":"br0"}}
//! ← {"jsonrpc":"2.0","id":1,"result":[{"of_port":3,"port":"sw3","vlan":0,"mac":"…","age_s":1}]}
//! ← {"jsonrpc":"2.0","id":1,"error":{"code":2,"message":"there is no bridge br0"}}
//! ```
//!
//! Spec: <https://www.jsonrpc.org/specification>. Batches and notifications are not offered.
#![forbid(unsafe_code)]

pub mod bridge;
pub mod datapath;
pub mod dpctl;
pub mod envelope;
pub mod error;
pub mod flow;
pub mod frame;
pub mod method;
pub mod mirror;
pub mod network;
pub mod port;
pub mod route;
pub mod router;
pub mod sandbox;
pub mod show;
pub mod ssl;
pub mod text;
pub mod uplink;

pub use envelope::{Request, Response};
pub use error::{Code, Refusal};
pub use method::{Call, Method};

/// The name of the socket inside the run directory.
pub const SOCKET_NAME: &str = "vswitchd.sock";

/// The run directory of a switch nobody gave another.
pub const DEFAULT_RUNDIR: &str = "/run/vswitch";

/// The environment variable that names the run directory.
pub const RUNDIR_VARIABLE: &str = "VSWITCH_RUNDIR";

/// The OpenFlow number of a bridge's own port, `LOCAL`, as OpenFlow 1.3 counts.
pub const LOCAL_PORT: u32 = 0xffff_fffe;
