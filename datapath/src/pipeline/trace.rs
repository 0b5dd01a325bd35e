//! A translation that explains itself, as `ofproto/trace` of Open vSwitch prints it.
//!
//! The text is for people. What scripts read, the actions, stands apart from it
//! ([`bridge_actions_text`]).

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use vswitch_dpapi::BridgeId;
use vswitch_flow::field::Format;
use vswitch_flow::{Field, FlowKey, FlowMask, META_WORD, Match, OfPort};
use vswitch_packet::{EtherType, MacAddr};

use super::rule::Rule;
use super::tables::Tables;
use super::translate::translate;
use super::{DpAction, Translation};
use crate::port::PortIndex;

/// A line of a trace, under which others stand. The default one is the trace itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Node(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bridge,
    Table,
    Action,
    Detail,
    Remark,
}

impl Kind {
    /// Lines under which nothing, or only a bucket's actions, stand.
    fn is_terminal(self) -> bool {
        !matches!(self, Self::Bridge | Self::Table)
    }
}

#[derive(Clone, Debug)]
struct Line {
    kind: Kind,
    text: String,
    under: Vec<usize>,
}

/// What a translation says of itself.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    lines: Vec<Line>,
    top: Vec<usize>,
    /// The packet as it was at the end.
    end: Option<FlowKey>,
}

impl Trace {
    fn add(&mut self, node: Node, kind: Kind, text: String) -> Node {
        let number = self.lines.len();
        self.lines.push(Line {
            kind,
            text,
            under: Vec::new(),
        });
        let parent = (node.0 as usize)
            .checked_sub(1)
            .and_then(|at| self.lines.get_mut(at));
        parent
            .map_or(&mut self.top, |line| &mut line.under)
            .push(number);
        Node(number as u32 + 1)
    }

    pub(super) fn detail(&mut self, node: Node, text: String) {
        self.add(node, Kind::Detail, text);
    }

    pub(super) fn remark(&mut self, node: Node, text: String) {
        self.add(node, Kind::Remark, text);
    }

    pub(super) fn bridge(&mut self, node: Node, name: &str) -> Node {
        self.add(node, Kind::Bridge, format!("bridge(\"{name}\")"))
    }

    pub(super) fn rule(&mut self, node: Node, rule: &Rule) -> Node {
        let flow = rule.flow();
        let matches = flow.matches.to_string();
        let comma = if matches.is_empty() { "" } else { ", " };
        let mut text = format!(
            "{:>2}. {matches}{comma}priority {}",
            flow.table, flow.priority
        );
        if flow.cookie != 0 {
            let _ = write!(text, ", cookie {:#x}", flow.cookie);
        }
        let node = self.add(node, Kind::Table, text);
        if flow.instructions.is_drop() {
            self.action(node, "drop".to_owned());
        }
        node
    }

    pub(super) fn no_match(&mut self, node: Node, table: u8) {
        let node = self.add(node, Kind::Table, format!("{table:>2}. No match."));
        self.action(node, "drop".to_owned());
    }

    pub(super) fn set(&mut self, node: Node) -> Node {
        self.add(node, Kind::Table, "--. Executing action set:".to_owned())
    }

    pub(super) fn bucket(&mut self, node: Node, at: usize) -> Node {
        self.add(node, Kind::Action, format!("bucket {at}"))
    }

    pub(super) fn action(&mut self, node: Node, text: String) -> Node {
        self.add(node, Kind::Action, text)
    }

    pub(super) fn end(&mut self, key: &FlowKey) {
        self.end = Some(*key);
    }

    /// The lines, indented as Open vSwitch indents them: a table that ends the list it stands in goes
    /// no further to the right, so that a chain of tables stays readable.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.print(&self.top, 0, &mut lines);
        lines
    }

    fn print(&self, numbers: &[usize], level: usize, out: &mut Vec<String>) {
        for (place, &number) in numbers.iter().enumerate() {
            let Some(line) = self.lines.get(number) else {
                continue;
            };
            if line.kind == Kind::Bridge {
                out.push(String::new());
            }
            let step = usize::from(place + 1 < numbers.len() || line.kind.is_terminal());
            let indent = " ".repeat(4 * (level + step));
            out.push(match line.kind {
                Kind::Detail => format!("{indent} -> {}", line.text),
                Kind::Remark => format!("{indent} >> {}", line.text),
                _ => format!("{indent}{}", line.text),
            });
            if line.kind == Kind::Bridge {
                out.push(format!("{indent}{}", "-".repeat(line.text.len())));
            }
            self.print(&line.under, level + 2 * step, out);
        }
    }
}

/// What would happen to a packet that comes in by a port: the lines that say why, and the answer.
#[must_use]
pub fn trace(tables: &Tables, key: &FlowKey, in_port: PortIndex) -> (Vec<String>, Translation) {
    let mut key = *key;
    let port = tables.port(in_port);
    key.set(Field::InPort, port.map_or(0, |port| port.of_port.0.into()));
    let mut trace = Trace::default();
    let translation = translate(tables, &key, in_port, Some(&mut trace));
    let mut lines = vec![format!("Flow: {}", key_text(&key))];
    lines.extend(trace.lines());
    lines.push(String::new());
    let last = match trace.end {
        Some(end) if end != key => key_text(&end),
        _ => "unchanged".to_owned(),
    };
    lines.push(format!("Final flow: {last}"));
    let mut mask = translation.mask;
    mask.set(Field::RecircId, 0);
    let megaflow = Match::new(&key, &mask);
    lines.push(format!("Megaflow: recirc_id=0,eth,{megaflow}"));
    (lines, translation)
}

/// Datapath actions with ports as a user of `bridge` knows them: by OpenFlow number, and by name
/// where they are on another bridge.
#[must_use]
pub fn bridge_actions_text(
    tables: &Tables,
    bridge: BridgeId,
    ethertype: u16,
    actions: &[DpAction],
) -> String {
    actions_text(actions, ethertype, |index| match tables.port(index) {
        Some(port) if port.bridge == bridge => number_text(port.of_port),
        Some(port) => port.name.clone(),
        None => index.0.to_string(),
    })
}

/// Datapath actions as Open vSwitch spells them, for packets of an Ethernet type, with ports as `port`
/// names them.
#[must_use]
pub fn actions_text(
    actions: &[DpAction],
    ethertype: u16,
    port: impl Fn(PortIndex) -> String,
) -> String {
    if actions.is_empty() {
        return "drop".to_owned();
    }
    let mut texts: Vec<String> = Vec::new();
    let mut open = "";
    let mut left = actions;
    while let [action, rest @ ..] = left {
        left = rest;
        // An output that sends less than all of the packet needs no brackets.
        if let [
            DpAction::Truncate(len),
            DpAction::Output(index),
            DpAction::Restore,
            rest @ ..,
        ] = left
            && *action == DpAction::Save
        {
            left = rest;
            texts.push(format!("trunc({len}),{}", port(*index)));
            open = "";
            continue;
        }
        let group = match action {
            DpAction::SetField { field, .. } => header_of(*field, ethertype).0,
            _ => "",
        };
        match action {
            DpAction::SetField { field, value, mask } => {
                let text = set_text(*field, ethertype, *value, *mask);
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
            DpAction::Controller(punt) => texts.push(format!(
                "userspace(pid=0,controller(reason={},dont_send=0,continuation={},recirc_id={},\
                 rule_cookie={:#x},controller_id={},max_len={}))",
                punt.to.reason as u8,
                u8::from(punt.continuation.is_some()),
                punt.continuation.as_ref().map_or(0, |frozen| frozen.id),
                if punt.cookie == u64::MAX {
                    0
                } else {
                    punt.cookie
                },
                punt.to.id,
                punt.to.max_len
            )),
            DpAction::Truncate(len) => texts.push(format!("trunc({len})")),
            DpAction::PushMpls { ethertype, entry } => texts.push(format!(
                "push_mpls(label={},tc={},ttl={},bos={},eth_type={ethertype:#x})",
                entry >> 12,
                entry >> 9 & 7,
                entry & 0xff,
                entry >> 8 & 1
            )),
            DpAction::PopMpls(ethertype) => {
                texts.push(format!("pop_mpls(eth_type={ethertype:#x})"));
            }
            DpAction::PushPbb { tag } => texts.push(format!(
                "push_pbb(isid={:#x},pcp={})",
                tag & 0xff_ffff,
                tag >> 29
            )),
            DpAction::PopPbb => texts.push("pop_pbb".to_owned()),
            DpAction::CopyTtlOut => texts.push("copy_ttl_out".to_owned()),
            DpAction::CopyTtlIn => texts.push("copy_ttl_in".to_owned()),
            DpAction::Save => texts.push("clone(".to_owned()),
            DpAction::Restore => texts.push(")".to_owned()),
            DpAction::Recirculate(frozen) => texts.push(format!("recirc({:#x})", frozen.id)),
            DpAction::CheckLarger { len, larger, other } => texts.push(format!(
                "check_pkt_len(size={len},gt(recirc({:#x})),le(recirc({:#x})))",
                larger.id, other.id
            )),
            DpAction::Meter(meter) => texts.push(format!("meter({})", meter.meter().id)),
        }
        open = group;
    }
    // What is done to a copy stands in brackets; cutting a packet that is then sent on and is whole
    // again afterwards needs none.
    let text = texts.join(",");
    text.replace("clone(,", "clone(").replace(",)", ")")
}

/// The header that has a field in packets of an Ethernet type, and the field's name in it, as datapath
/// flows spell them.
fn header_of(field: Field, ethertype: u16) -> (&'static str, &'static str) {
    if ethertype == EtherType::IPV6.0 {
        match field {
            Field::IpTos => return ("ipv6", "tclass"),
            Field::IpTtl => return ("ipv6", "hlimit"),
            Field::IpProto => return ("ipv6", "proto"),
            _ => {}
        }
    }
    match field {
        Field::EthSrc => ("eth", "src"),
        Field::EthDst => ("eth", "dst"),
        Field::Ipv4Src => ("ipv4", "src"),
        Field::Ipv4Dst => ("ipv4", "dst"),
        Field::Ipv6Src => ("ipv6", "src"),
        Field::Ipv6Dst => ("ipv6", "dst"),
        Field::Ipv6Label => ("ipv6", "label"),
        Field::IpTos => ("ipv4", "tos"),
        Field::IpTtl => ("ipv4", "ttl"),
        Field::IpProto => ("ipv4", "proto"),
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
        Field::MplsBos => ("mpls", "bos"),
        other => ("field", other.info().name),
    }
}

fn set_text(field: Field, ethertype: u16, value: u128, mask: u128) -> String {
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
    let name = header_of(field, ethertype).1;
    if mask == field.info().max() {
        format!("{name}={}", spell(value))
    } else {
        format!("{name}={}/{}", spell(value), spell(mask))
    }
}

/// A packet's fields as a match on them would be typed: those of headers that it has, and what the
/// pipeline has written where it is not zero.
fn key_text(key: &FlowKey) -> String {
    let mut mask = FlowMask::default();
    for field in Field::all() {
        let row = field.info();
        let header = usize::from(row.word) < META_WORD;
        let other = matches!(
            field,
            Field::RecircId
                | Field::PbbIsid
                | Field::Ipv6ExtHeaders
                | Field::VlanTpid
                | Field::InnerVlanTci
                | Field::InnerVlanTpid
                | Field::MplsLse1
                | Field::MplsLse2
                | Field::ActsetOutput
        );
        let shown = match (header, other) {
            (true, false) => true,
            (true, true) => false,
            (false, _) => !other && !is_several(field) && key.field(field) != 0,
        };
        if shown && row.prerequisite.holds(key) {
            mask.set(field, row.max());
        }
    }
    Match::new(key, &mask).to_string()
}

/// Whether a field is several registers.
fn is_several(field: Field) -> bool {
    field >= Field::Xreg0 && field <= Field::Xxreg3
}

fn number_text(port: OfPort) -> String {
    match port {
        OfPort::LOCAL => "LOCAL".to_owned(),
        OfPort(number) => number.to_string(),
    }
}
