//! Why a change of the model was refused, as sentences for people.

use std::path::PathBuf;

use vswitch_rpc::port::Kind;
use vswitch_rpc::{Code, Refusal};

use super::name::Named;

/// A change that would leave the switch inconsistent, or was not understood. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// A name the kernel would not take.
    #[error("the {} name {name:?} is not allowed: {why}", what.word())]
    Name {
        /// What was to be named.
        what: Named,
        /// As it was typed.
        name: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// There is no such bridge.
    #[error("there is no bridge {name}")]
    NoBridge {
        /// The one asked for.
        name: String,
        /// Those there are.
        have: Vec<String>,
    },
    /// The bridge has no such port.
    #[error("bridge {bridge} has no port {name}")]
    NoPort {
        /// Where it was looked for.
        bridge: String,
        /// The one asked for.
        name: String,
        /// Those there are.
        have: Vec<String>,
    },
    /// The bridge has no such mirror.
    #[error("bridge {bridge} has no mirror {name}")]
    NoMirror {
        /// Where it was looked for.
        bridge: String,
        /// The one asked for.
        name: String,
        /// Those there are.
        have: Vec<String>,
    },
    /// The name belongs to a bridge.
    #[error("there is a bridge {0} already")]
    BridgeExists(String),
    /// The name belongs to a port.
    #[error("there is a port {name} already, on bridge {bridge}")]
    PortExists {
        /// The name.
        name: String,
        /// Who has it.
        bridge: String,
    },
    /// The name belongs to a mirror.
    #[error("bridge {bridge} has a mirror {name} already")]
    MirrorExists {
        /// The bridge.
        bridge: String,
        /// The mirror.
        name: String,
    },
    /// LOCAL comes and goes with its bridge.
    #[error("{0} is the LOCAL port of its bridge and goes only with it")]
    LocalStays(String),
    /// A key nobody knows.
    #[error("{what} has no setting {key:?}")]
    UnknownKey {
        /// What was to be set.
        what: String,
        /// The key.
        key: String,
        /// The keys there are.
        allowed: Vec<&'static str>,
    },
    /// A value that the key does not take.
    #[error("{key}={value} is not possible: {key} takes {takes}")]
    Value {
        /// The key.
        key: &'static str,
        /// As it was typed.
        value: String,
        /// What would be understood.
        takes: &'static str,
    },
    /// Settings of a tunnel that contradict each other.
    #[error("{0}")]
    Tunnel(String),
    /// A tunnel whose packets another port has.
    #[error("{0}")]
    TunnelTaken(String),
    /// The key is for ports of other kinds.
    #[error("a port of type {kind} has no setting {key:?}")]
    KeyOfOtherKind {
        /// The key.
        key: &'static str,
        /// The port's kind.
        kind: Kind,
        /// The keys it has.
        allowed: Vec<&'static str>,
    },
    /// The key cannot be changed.
    #[error("{key} cannot be changed while the port exists")]
    Fixed {
        /// The key.
        key: &'static str,
        /// The keys that can.
        allowed: Vec<&'static str>,
    },
    /// VLAN settings that contradict each other.
    #[error("{0}")]
    Vlan(&'static str),
    /// A setting that the kind cannot do without.
    #[error("a port of type {kind} needs {key}: {takes}")]
    Needs {
        /// The port's kind.
        kind: Kind,
        /// What is missing.
        key: &'static str,
        /// What it takes.
        takes: &'static str,
    },
    /// The number belongs to another port.
    #[error("of_port={number} is taken by {port}")]
    OfPortTaken {
        /// The number.
        number: u32,
        /// Who has it.
        port: String,
    },
    /// All numbers are given.
    #[error("bridge {0} has no OpenFlow port number left")]
    OfPortsExhausted(String),
    /// The datapath's numbers are given.
    #[error("the switch has all of its 65,535 ports")]
    PortsExhausted,
    /// The uplink is one already.
    #[error("{0} is an uplink already")]
    UplinkExists(String),
    /// Nobody asked for the uplink.
    #[error("there is no uplink {name} that was added by hand")]
    NoUplink {
        /// The one asked for.
        name: String,
        /// Those there are.
        have: Vec<String>,
    },
    /// A mirror that copies nothing or to nowhere.
    #[error("{0}")]
    Mirror(&'static str),
    /// A port that a mirror still names.
    #[error("port {port} is in use by mirror {mirror}")]
    UsedByMirror {
        /// The port.
        port: String,
        /// The mirror.
        mirror: String,
    },
    /// What a container network wants of the switch.
    #[error("{0}")]
    Network(String),
    /// What belongs to a container network goes with it.
    #[error("{what} belongs to the network {network}")]
    OfNetwork {
        /// A bridge or a port.
        what: String,
        /// The network.
        network: String,
    },
    /// A path that depends on where a process runs.
    #[error("{} is not possible: the path has to begin with /", .0.display())]
    Relative(PathBuf),
    /// There is no such router.
    #[error("there is no router {name}")]
    NoRouter {
        /// The one asked for.
        name: String,
        /// Those there are.
        have: Vec<String>,
    },
    /// The name belongs to a router.
    #[error("there is a router {0} already")]
    RouterExists(String),
    /// There is no such router's port.
    #[error("there is no router's port {name}")]
    NoRouterPort {
        /// The one asked for.
        name: String,
        /// Those there are.
        have: Vec<String>,
    },
    /// A router that still has ports.
    #[error("router {router} has the port {port}")]
    RouterInUse {
        /// The router.
        router: String,
        /// One of its ports.
        port: String,
    },
    /// A router's port that contradicts itself or another one.
    #[error("{0}")]
    Router(String),
    /// A patch port whose peer is itself, or belongs to somebody else.
    #[error("{0}")]
    Peer(String),
}

impl From<ModelError> for Refusal {
    fn from(error: ModelError) -> Self {
        let message = error.to_string();
        match error {
            ModelError::NoBridge { have, .. }
            | ModelError::NoPort { have, .. }
            | ModelError::NoMirror { have, .. }
            | ModelError::NoUplink { have, .. }
            | ModelError::NoRouter { have, .. }
            | ModelError::NoRouterPort { have, .. } => {
                Self::new(Code::NotFound, message).allowed(have)
            }
            ModelError::BridgeExists(_)
            | ModelError::PortExists { .. }
            | ModelError::MirrorExists { .. }
            | ModelError::TunnelTaken(_)
            | ModelError::RouterExists(_)
            | ModelError::OfPortTaken { .. } => Self::new(Code::Exists, message),
            ModelError::UplinkExists(ref device) => Self::new(Code::Exists, message)
                .hint(format!("vsctl uplink rm {device} first, to change it")),
            ModelError::UnknownKey { allowed, .. } | ModelError::KeyOfOtherKind { allowed, .. } => {
                Self::new(Code::Refused, message).allowed(allowed)
            }
            ModelError::Fixed { allowed, .. } => Self::new(Code::Refused, message)
                .allowed(allowed)
                .hint("remove the port with del-port and add it again"),
            ModelError::LocalStays(bridge) => Self::new(Code::Refused, message)
                .hint(format!("vsctl del-br {bridge} removes the bridge")),
            ModelError::OfNetwork { ref network, .. } => {
                let hint = format!("see `vsctl network inspect {network}`");
                Self::new(Code::Refused, message).hint(hint)
            }
            ModelError::UsedByMirror { ref mirror, .. } => {
                let hint = format!("remove the mirror {mirror} with del-mirror first");
                Self::new(Code::Refused, message).hint(hint)
            }
            ModelError::RouterInUse { ref port, .. } => {
                let hint = format!("vsctl router port rm {port} removes the port");
                Self::new(Code::Refused, message).hint(hint)
            }
            ModelError::Name { .. }
            | ModelError::Router(_)
            | ModelError::Value { .. }
            | ModelError::Tunnel(_)
            | ModelError::Vlan(_)
            | ModelError::Needs { .. }
            | ModelError::OfPortsExhausted(_)
            | ModelError::PortsExhausted
            | ModelError::Mirror(_)
            | ModelError::Network(_)
            | ModelError::Relative(_)
            | ModelError::Peer(_) => Self::new(Code::Refused, message),
        }
    }
}
