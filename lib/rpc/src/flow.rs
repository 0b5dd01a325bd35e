//! Flows and what they do to a packet. Flows are written as `ovs-ofctl` writes them.

use serde::{Deserialize, Serialize};

/// `add-flow`: adds a flow, or replaces the one with the same table, priority and match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddFlow {
    /// The bridge.
    pub bridge: String,
    /// `priority=10,in_port=1,actions=output:2`.
    pub flow: String,
}

/// `del-flows`: removes flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelFlows {
    /// The bridge.
    pub bridge: String,
    /// Only flows that are at least as specific as this match.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Only the flow with exactly this match and priority.
    #[serde(default)]
    pub strict: bool,
}

/// `dump-flows`: the flows of a bridge, by table, then highest priority first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpFlows {
    /// The bridge.
    pub bridge: String,
    /// Only flows that are at least as specific as this match.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// One flow with its counters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The table it is in.
    pub table: u8,
    /// Higher is asked first.
    pub priority: u16,
    /// The owner's mark.
    pub cookie: u64,
    /// Seconds since it was added.
    pub duration_s: f64,
    /// Packets it matched.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The match, empty for one that takes everything: `in_port=1,ip`.
    #[serde(rename = "match")]
    pub matches: String,
    /// The actions without the word: `output:2`.
    pub actions: String,
    /// The flow as `add-flow` takes it, without counters.
    pub text: String,
}

/// `trace`: what would happen to a packet. Only with a packet, given or made, is anything learned or
/// told to controllers; it is sent nowhere, and no flow counts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The bridge.
    pub bridge: String,
    /// The packet's fields in flow syntax: `in_port=1,dl_src=...,ip,nw_dst=10.0.0.2`.
    pub flow: String,
    /// The packet's bytes in hexadecimal; its headers then count, not those of the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// Make a packet with the flow's headers.
    #[serde(default)]
    pub generate: bool,
    /// Call ports by their names.
    #[serde(default)]
    pub names: bool,
    /// What connection tracking finds, each time that the packet comes to it: `trk,est`. Afterwards
    /// it finds new connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ct_next: Vec<String>,
}

/// The answer to `trace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// What happened, in order, indented by depth; the line `Datapath actions: ...` is not among
    /// them.
    pub lines: Vec<String>,
    /// What is done to the packet in the end: `2,set(...),3` or `drop`. Numbers of ports are those of
    /// the packet process.
    pub datapath_actions: String,
    /// Why the packet is dropped all the same, a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}
