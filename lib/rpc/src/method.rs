//! Every method, one row each: the name on the wire, its parameters, its reply.
//!
//! A parameter type is also the method's marker: [`Method`] ties it to its name and reply, and
//! [`Call`] is the sum of them, which `vswitchd` matches on.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Code, Refusal};
use crate::{
    bridge, datapath, dpctl, flow, mirror, network, port, router, sandbox, show, ssl, uplink,
};

/// Settings as they were typed: `key=value`. `vswitchd` knows the keys and refuses the others with
/// the list of those it allows.
pub type Options = BTreeMap<String, String>;

/// The parameters of one method.
pub trait Method: Serialize + DeserializeOwned {
    /// The name on the wire.
    const NAME: &'static str;
    /// What comes back.
    type Reply: Serialize + DeserializeOwned;
}

/// The reply of a command that has nothing to tell but that it is done: the change is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// The reply of a command that removes things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// How many were removed.
    pub removed: u64,
}

/// `shutdown`: ends both processes and gives every device back. The answer comes when the devices
/// are back; the connection stays open until `vswitchd` has ended, which is how a caller sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {}

/// `appctl`: a command as `ovs-appctl` gives it, answered with the lines that it prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appctl {
    /// `fdb/show`.
    pub command: String,
    /// What follows the command.
    #[serde(default)]
    pub args: Vec<String>,
}

macro_rules! methods {
    ($($variant:ident($params:ty) = $name:literal -> $reply:ty;)*) => {
        /// A call that has been read: which method, with which parameters.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Call {
            $(
                #[doc = concat!("`", $name, "`")]
                $variant($params),
            )*
        }

        /// The names of all methods, in the order of the table.
        pub const NAMES: &[&str] = &[$($name),*];

        impl Call {
            /// Reads the parameters of the method with this name.
            pub fn parse(name: &str, params: Value) -> Result<Self, Refusal> {
                match name {
                    $($name => read(name, params).map(Self::$variant),)*
                    _ => Err(Refusal::new(
                        Code::UnknownMethod,
                        format!("there is no method {name:?}"),
                    )
                    .allowed(NAMES.iter().copied())),
                }
            }

            /// The name on the wire.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }

            /// The parameters as they go on the wire.
            pub fn params(&self) -> Value {
                match self {
                    $(Self::$variant(params) => serde_json::to_value(params),)*
                }
                .expect("parameters are structs of strings, numbers and string maps")
            }
        }

        $(
            impl Method for $params {
                const NAME: &'static str = $name;
                type Reply = $reply;
            }

            impl From<$params> for Call {
                fn from(params: $params) -> Self {
                    Self::$variant(params)
                }
            }
        )*
    };
}

fn read<T: DeserializeOwned>(name: &str, params: Value) -> Result<T, Refusal> {
    // serde would also read a struct from an array, by position; a caller must say what is what.
    if !params.is_object() {
        let text = format!("the parameters of {name} must be an object");
        return Err(Refusal::new(Code::InvalidParams, text));
    }
    serde_json::from_value(params)
        .map_err(|error| Refusal::new(Code::InvalidParams, format!("{name}: {error}")))
}

methods! {
    Show(show::Show) = "show" -> show::Switch;
    Shutdown(Shutdown) = "shutdown" -> Done;

    AddBr(bridge::AddBr) = "add-br" -> Done;
    DelBr(bridge::DelBr) = "del-br" -> Done;
    ListBr(bridge::ListBr) = "list-br" -> Vec<String>;
    SetBr(bridge::SetBr) = "set-br" -> Done;
    ReadBr(bridge::ReadBr) = "get-br" -> Options;

    AddPort(port::AddPort) = "add-port" -> port::Added;
    DelPort(port::DelPort) = "del-port" -> Done;
    ListPorts(port::ListPorts) = "list-ports" -> Vec<String>;
    SetPort(port::SetPort) = "set-port" -> Done;
    ReadPort(port::ReadPort) = "get-port" -> Options;
    DumpPorts(port::DumpPorts) = "ports" -> Vec<port::Counters>;

    AddMirror(mirror::AddMirror) = "add-mirror" -> Done;
    DelMirror(mirror::DelMirror) = "del-mirror" -> Done;

    SetSsl(ssl::SetSsl) = "set-ssl" -> Done;
    ReadSsl(ssl::ReadSsl) = "get-ssl" -> Option<ssl::SetSsl>;
    DelSsl(ssl::DelSsl) = "del-ssl" -> Done;
    AddRouter(router::AddRouter) = "router-add" -> Done;
    DelRouter(router::DelRouter) = "router-rm" -> Done;
    ShowRouters(router::ShowRouters) = "router-show" -> Vec<router::Info>;
    Leases(router::Leases) = "router-leases" -> Vec<router::Lease>;
    AddRouterPort(router::AddRouterPort) = "router-port-add" -> Done;
    DelRouterPort(router::DelRouterPort) = "router-port-rm" -> Done;
    SetRouterPort(router::SetRouterPort) = "router-port-set" -> Done;
    AddRoutes(router::AddRoutes) = "route-add" -> router::Added;
    DelRoutes(router::DelRoutes) = "route-del" -> Removed;
    ShowRoutes(router::ShowRoutes) = "route-show" -> router::Routes;
    FindRoute(router::FindRoute) = "route-get" -> router::Found;
    ShowNeighbours(router::ShowNeighbours) = "neigh-show" -> router::Neighbours;
    FlushNeighbours(router::FlushNeighbours) = "neigh-flush" -> Removed;

    UplinkAdd(uplink::UplinkAdd) = "uplink-add" -> uplink::Info;
    UplinkRm(uplink::UplinkRm) = "uplink-rm" -> Done;
    UplinkLs(uplink::UplinkLs) = "uplink-ls" -> Vec<uplink::Info>;

    NetworkCreate(network::NetworkCreate) = "network-create" -> network::Created;
    NetworkLs(network::NetworkLs) = "network-ls" -> Vec<network::Network>;
    NetworkInspect(network::NetworkInspect) = "network-inspect" -> network::Network;
    NetworkRm(network::NetworkRm) = "network-rm" -> Done;
    NetworkPrune(network::NetworkPrune) = "network-prune" -> Vec<String>;
    NetworkConnect(network::NetworkConnect) = "network-connect" -> network::Endpoint;
    NetworkDisconnect(network::NetworkDisconnect) = "network-disconnect" -> Done;
    NetworkExplain(network::NetworkExplain) = "network-explain" -> network::Explained;
    EndpointLs(network::EndpointLs) = "endpoint-ls" -> Vec<network::Endpoint>;
    EndpointInspect(network::EndpointInspect) = "endpoint-inspect" -> network::Endpoint;
    SandboxCreate(sandbox::SandboxCreate) = "sandbox-create" -> network::Created;
    SandboxLs(sandbox::SandboxLs) = "sandbox-ls" -> Vec<sandbox::Sandbox>;
    SandboxRm(sandbox::SandboxRm) = "sandbox-rm" -> Done;
    SandboxExec(sandbox::SandboxExec) = "sandbox-exec" -> sandbox::Place;

    FdbShow(bridge::FdbShow) = "fdb-show" -> Vec<bridge::FdbEntry>;
    FdbFlush(bridge::FdbFlush) = "fdb-flush" -> Done;
    FdbStats(bridge::FdbStats) = "fdb-stats" -> bridge::FdbCounters;

    AddFlow(flow::AddFlow) = "add-flow" -> Done;
    DelFlows(flow::DelFlows) = "del-flows" -> Removed;
    DumpFlows(flow::DumpFlows) = "dump-flows" -> Vec<flow::Row>;
    Trace(flow::Trace) = "trace" -> flow::Story;

    DpctlShow(datapath::DpctlShow) = "dpctl-show" -> datapath::Datapath;
    DpctlDumpFlows(datapath::DpctlDumpFlows) = "dpctl-dump-flows" -> Vec<datapath::CachedFlow>;
    Dpctl(dpctl::Dpctl) = "dpctl" -> dpctl::Answer;
    PmdStats(datapath::PmdStats) = "pmd-stats" -> Vec<datapath::WorkerStats>;
    PmdRxq(datapath::PmdRxq) = "pmd-rxq" -> Vec<datapath::WorkerQueues>;
    Drops(datapath::Drops) = "drops" -> Vec<datapath::DropRow>;

    Appctl(Appctl) = "appctl" -> Vec<String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case_and_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for name in NAMES {
            assert!(seen.insert(name), "{name} occurs twice");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{name}"
            );
        }
    }

    #[test]
    fn an_unknown_method_is_answered_with_those_there_are() {
        let refusal = Call::parse("fdb/show", Value::Null).unwrap_err();
        assert_eq!(refusal.code, Code::UnknownMethod);
        assert!(refusal.data.allowed.iter().any(|name| name == "fdb-show"));
    }

    #[test]
    fn a_call_survives_the_wire() {
        let call = Call::from(datapath::Drops { all: true });
        assert_eq!(Call::parse(call.name(), call.params()).unwrap(), call);
    }
}
