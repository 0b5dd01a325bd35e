//! A translation that explains itself, as `ofproto/trace` of Open vSwitch prints it.
//!
//! The text is for people. What scripts read, the actions, stands apart from it
//! ([`bridge_actions_text`]).

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use vswitch_dpapi::BridgeId;
use vswitch_flow::field::Format;
use vswitch_flow::{Action, Field, FlowKey, Match, OfPort};
use vswitch_packet::MacAddr;

use super::rule::Rule;
use super::tables::Tables;
use super::translate::translate;
use super::{DpAction, Translation};
use crate::port::PortIndex;

/// The lines of a trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    lines: Vec<String>,
}

impl Trace {
    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    fn push(&mut self, depth: usize, text: &str) {
        self.lines.push(format!("{:1$}{text}", "", 4 * depth));
    }

    pub(super) fn line(&mut self, depth: usize, text: &str) {
        self.push(depth, &format!("     >> {text}"));
    }

    pub(super) fn bridge(&mut self, depth: usize, name: &str) {
        let title = format!("bridge(\"{name}\")");
        self.push(0, "");
        self.push(depth, &title);
        self.push(depth, &"-".repeat(title.len()));
    }

    pub(super) fn rule(&mut self, depth: usize, rule: &Rule) {
        let flow = rule.flow();
        let matches = flow.matches.to_string();
        let comma = if matches.is_empty() { "" } else { ", " };
        let mut line = format!(
            "{:>2}. {matches}{comma}priority {}",
            flow.table, flow.priority
        );
        if flow.cookie != 0 {
            let _ = write!(line, ", cookie {:#x}", flow.cookie);
        }
        self.push(depth, &line);
        if flow.instructions.is_drop() {
            self.push(depth, "    drop");
        }
    }

    pub(super) fn action(&mut self, depth: usize, action: &Action) {
        self.push(depth, &format!("    {action}"));
    }
}

/// What would happen to a packet that comes in by a port: the lines that say why, and the answer.
#[must_use]
pub fn trace(tables: &Tables, key: &FlowKey, in_port: PortIndex) -> (Vec<String>, Translation) {
    let mut key = *key;
    let port = tables.port(in_port);
    key.set(Field::InPort, port.map_or(0, |port| port.of_port.0.into()));
    let mut trace = Trace::default();
    trace.push(0, &format!("Flow: {}", key_text(&key)));
    let translation = translate(tables, &key, in_port, Some(&mut trace));
    trace.push(0, "");
    let megaflow = Match::new(&key, &translation.mask);
    trace.push(0, &format!("Megaflow: {megaflow}"));
    (trace.lines, translation)
}

/// Datapath actions with ports as a user of `bridge` knows them: by OpenFlow number, and by name
/// where they are on another bridge.
#[must_use]
pub fn bridge_actions_text(tables: &Tables, bridge: BridgeId, actions: &[DpAction]) -> String {
    actions_text(actions, |index| match tables.port(index) {
        Some(port) if port.bridge == bridge => number_text(port.of_port),
        Some(port) => port.name.clone(),
        None => index.0.to_string(),
    })
}

/// Datapath actions as Open vSwitch spells them, with ports as `port` names them.
#[must_use]
pub fn actions_text(actions: &[DpAction], port: impl Fn(PortIndex) -> String) -> String {
    if actions.is_empty() {
        return "drop".to_owned();
    }
    let mut texts: Vec<String> = Vec::new();
    let mut open = "";
    for action in actions {
        let group = match action {
            DpAction::SetField { field, .. } => header_of(*field).0,
            _ => "",
        };
        match action {
            DpAction::SetField { field, value, mask } => {
                let text = set_text(*field, *value, *mask);
                match texts.last_mut().filter(|_| group == open) {
                    // Fields of one header are written together.
                    Some(last) => {
                        last.truncate(last.len() - 2);
                        let _ = write!(last, ",{text}))");
                    }
                    None => texts.push(format!("set({group}({text}))")),
                }
            }
            DpAction::Output(index) => texts.push(port(*index)),
            DpAction::PushVlan { tpid, tci } => {
                let service = if *tpid == super::vlan::TPID_CUSTOMER {
                    String::new()
                } else {
                    format!("tpid={tpid:#06x},")
                };
                texts.push(format!(
                    "push_vlan({service}vid={},pcp={})",
                    tci & 0xfff,
                    tci >> 13
                ));
            }
            DpAction::PopVlan => texts.push("pop_vlan".to_owned()),
        }
        open = group;
    }
    texts.join(",")
}

/// The header that has a field, and the field's name in it, as datapath flows spell them. The
/// bytes that IPv4 and IPv6 share are said to be of `ip`.
fn header_of(field: Field) -> (&'static str, &'static str) {
    match field {
        Field::EthSrc => ("eth", "src"),
        Field::EthDst => ("eth", "dst"),
        Field::Ipv4Src => ("ipv4", "src"),
        Field::Ipv4Dst => ("ipv4", "dst"),
        Field::Ipv6Src => ("ipv6", "src"),
        Field::Ipv6Dst => ("ipv6", "dst"),
        Field::Ipv6Label => ("ipv6", "label"),
        Field::IpTos => ("ip", "tos"),
        Field::IpTtl => ("ip", "ttl"),
        Field::ArpOp => ("arp", "op"),
        Field::ArpSpa => ("arp", "sip"),
        Field::ArpTpa => ("arp", "tip"),
        Field::ArpSha => ("arp", "sha"),
        Field::ArpTha => ("arp", "tha"),
        Field::TcpSrc => ("tcp", "src"),
        Field::TcpDst => ("tcp", "dst"),
        Field::UdpSrc => ("udp", "src"),
        Field::UdpDst => ("udp", "dst"),
        Field::SctpSrc => ("sctp", "src"),
        Field::SctpDst => ("sctp", "dst"),
        Field::IcmpType => ("icmp", "type"),
        Field::IcmpCode => ("icmp", "code"),
        Field::Icmp6Type => ("icmpv6", "type"),
        Field::Icmp6Code => ("icmpv6", "code"),
        Field::NdTarget => ("nd", "target"),
        Field::NdSll => ("nd", "sll"),
        Field::NdTll => ("nd", "tll"),
        Field::MplsLabel => ("mpls", "label"),
        Field::MplsTc => ("mpls", "tc"),
        Field::MplsTtl => ("mpls", "ttl"),
        other => ("field", other.info().name),
    }
}

fn set_text(field: Field, value: u128, mask: u128) -> String {
    let spell = |value: u128| match field.info().format {
        Format::Mac => {
            let [.., a, b, c, d, e, f] = value.to_be_bytes();
            MacAddr([a, b, c, d, e, f]).to_string()
        }
        Format::Ipv4 => Ipv4Addr::from(value as u32).to_string(),
        Format::Ipv6 => Ipv6Addr::from(value).to_string(),
        Format::Decimal => value.to_string(),
        _ => format!("{value:#x}"),
    };
    let name = header_of(field).1;
    if mask == field.info().max() {
        format!("{name}={}", spell(value))
    } else {
        format!("{name}={}/{}", spell(value), spell(mask))
    }
}

/// The fields that a packet has and that are not zero, as a match on them would be typed.
fn key_text(key: &FlowKey) -> String {
    let mut matches = Match::any();
    for field in Field::all() {
        let value = key.field(field);
        if value != 0 && field.info().prerequisite.holds(key) {
            matches = matches.with(field, value);
        }
    }
    matches.to_string()
}

fn number_text(port: OfPort) -> String {
    match port {
        OfPort::LOCAL => "LOCAL".to_owned(),
        OfPort(number) => number.to_string(),
    }
}
