//! A translation that explains itself, as `ofproto/trace` of Open vSwitch prints it.
//!
//! The text is for people, but scripts read it too, so it is Open vSwitch's to the letter where it
//! has the same thing to say. What is done in the end stands apart from it ([`actions_text`]).

mod tracking;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use vswitch_dpapi::{BridgeId, TunnelKind};
use vswitch_flow::field::Format;
use vswitch_flow::text::{Named, Names};
use vswitch_flow::{
    Action, CT_WORD, Field, FlowKey, FlowMask, META_WORD, Match, OfPort, PACKET_WORDS,
};
use vswitch_packet::{EtherType, MacAddr};

use super::freeze::Frozen;
use super::rule::Rule;
use super::tables::Tables;
use super::translate::{MAX_DEPTH, MAX_ENTRIES, resume, translate_in, translate_out};
use super::{DpAction, Errand, ToRouter, Translation};
use crate::counters::DropReason;
use crate::port::PortIndex;

pub use tracking::resume_tracked;

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
    Error,
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
    /// What the ports of the bridge are called, if numbers are not wanted.
    names: Option<Arc<Names>>,
    /// The packet as it was wherever translation stopped, by the stop's number.
    stops: BTreeMap<u32, FlowKey>,
    /// Why the packet is dropped whatever was decided.
    failure: Option<&'static str>,
    /// There is a packet, which teaches.
    teaches: bool,
}

impl Trace {
    /// One that calls ports by these names, if there are some, of a packet that teaches or does not.
    fn new(names: Option<Arc<Names>>, teaches: bool) -> Self {
        Self {
            names,
            teaches,
            ..Self::default()
        }
    }

    /// Whether there is a packet, which teaches.
    pub(super) fn teaches(&self) -> bool {
        self.teaches
    }

    fn match_text(&self, matches: &Match) -> String {
        match &self.names {
            Some(names) => Named(matches, names).to_string(),
            None => matches.to_string(),
        }
    }

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
        let matches = self.match_text(&flow.matches);
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

    pub(super) fn bucket(&mut self, node: Node, id: u32) -> Node {
        self.add(node, Kind::Action, format!("bucket {id}"))
    }

    /// An output does not happen.
    pub(super) fn dropped(&mut self, node: Node, reason: DropReason) {
        let (kind, text) = match reason {
            // The line above says it.
            DropReason::RuleDrop | DropReason::NoFlow => return,
            DropReason::OutputUnknown => (Kind::Remark, "Nonexistent output port"),
            DropReason::OutputIngress => (Kind::Remark, "skipping output to input port"),
            DropReason::NoBucket => (Kind::Detail, "no live bucket"),
            DropReason::FdbSamePort => (Kind::Detail, "learned port is input port, dropping"),
            DropReason::ReservedMac => (
                Kind::Detail,
                "packet has reserved destination MAC, dropping",
            ),
            DropReason::MirrorPort => (Kind::Remark, "input port is mirror output port, dropping"),
            DropReason::VlanNotAllowed => (
                Kind::Remark,
                "disallowed VLAN VID for this input port, dropping",
            ),
            other => {
                self.remark(node, format!("dropped: {}", other.sentence()));
                return;
            }
        };
        self.add(node, kind, text.to_owned());
    }

    pub(super) fn action(&mut self, node: Node, text: String) -> Node {
        self.add(node, Kind::Action, text)
    }

    /// Whether a line is a bridge's name.
    pub(super) fn is_bridge(&self, node: Node) -> bool {
        let at = (node.0 as usize).checked_sub(1);
        let line = at.and_then(|at| self.lines.get(at));
        line.is_some_and(|line| line.kind == Kind::Bridge)
    }

    /// An action that is about to be carried out.
    pub(super) fn performs(&mut self, node: Node, action: &Action) {
        let text = match &self.names {
            Some(names) => Named(action, names).to_string(),
            None => action.to_string(),
        };
        self.action(node, text);
    }

    /// The packet is dropped whatever was decided.
    pub(super) fn gives_up(&mut self, node: Node, reason: DropReason) {
        let (text, failure) = match reason {
            DropReason::TooDeep => (
                format!("over max translation depth {MAX_DEPTH}"),
                "Recursion too deep",
            ),
            DropReason::TooMuchWork => (
                format!("over {MAX_ENTRIES} resubmit actions"),
                "Too many resubmits",
            ),
            other => (other.sentence().to_owned(), other.sentence()),
        };
        self.add(node, Kind::Error, text);
        self.failure = Some(failure);
    }

    /// Translation stops here, to go on with the packet as it is now.
    pub(super) fn stops(&mut self, id: u32, key: &FlowKey) {
        let mut key = *key;
        key.set(Field::RecircId, id.into());
        self.stops.insert(id, key);
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
                Kind::Error => format!("{indent} >>>> {} <<<<", line.text),
                _ => format!("{indent}{}", line.text),
            });
            if line.kind == Kind::Bridge {
                out.push(format!("{indent}{}", "-".repeat(line.text.len())));
            }
            self.print(&line.under, level + 2 * step, out);
        }
    }
}

/// Where a packet's way begins.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// It comes to a bridge by a port of this number, which the bridge need not have.
    Port(BridgeId, OfPort),
    /// A controller sends it, as if it had come by this port, with actions of its own.
    PacketOut(BridgeId, OfPort, &'a [Action]),
    /// Its headers have been read again.
    Stop(&'a Frozen),
}

/// A packet's way up to where it ends, or where its headers are read again.
#[derive(Debug)]
pub struct Stretch {
    /// What happens, line by line; the line with the datapath's actions is not among them.
    pub lines: Vec<String>,
    /// The answer.
    pub translation: Translation,
    /// The packet at each stop, by the stop's number, as far as it is known then.
    pub stops: BTreeMap<u32, FlowKey>,
    /// Why nothing comes of it, if translation ended before its time.
    pub failure: Option<&'static str>,
}

/// What would happen to a packet: the lines that say why, and the answer. They say what it teaches
/// if it `teaches`. `None` without such a bridge.
#[must_use]
pub fn trace(
    tables: &Tables,
    key: &FlowKey,
    start: Start<'_>,
    names: Option<Arc<Names>>,
    teaches: bool,
) -> Option<Stretch> {
    let mut trace = Trace::new(names, teaches);
    let mut begin = *key;
    let translation = match start {
        Start::Port(bridge, port) => {
            begin.set(Field::InPort, port.0.into());
            translate_in(tables, bridge, &begin, port, Some(&mut trace))?
        }
        Start::PacketOut(bridge, port, actions) => {
            begin.set(Field::InPort, port.0.into());
            translate_out(tables, bridge, &begin, port, actions, Some(&mut trace))?
        }
        Start::Stop(frozen) => {
            begin = frozen.key(key);
            resume(tables, key, frozen, Some(&mut trace))
        }
    };
    let flow_text = |key: &FlowKey| match key.field(Field::RecircId) {
        0 => trace.match_text(&shown(key)),
        id => format!("recirc_id={id:#x},eth,{}", trace.match_text(&shown(key))),
    };
    let first = flow_text(&begin);
    // An output in the action set is a change that no field shows.
    let unset = u128::from(OfPort::UNSET.0);
    let changed = |end: &FlowKey| end.field(Field::ActsetOutput) != unset;
    let last = trace.end.map(|end| (flow_text(&end), changed(&end)));
    let last = last.filter(|(last, changed)| *changed || *last != first);
    let last = last.map(|(last, _)| last);
    let mut lines = vec![format!("Flow: {first}")];
    lines.extend(trace.lines());
    lines.push(String::new());
    lines.push(format!(
        "Final flow: {}",
        last.as_deref().unwrap_or("unchanged")
    ));
    let (mut tracked, mut mask) = (FlowMask::default(), translation.mask);
    mask.set(Field::RecircId, 0);
    for at in CT_WORD..PACKET_WORDS {
        tracked.words[at] = std::mem::take(&mut mask.words[at]);
    }
    let tracked = match tracked == FlowMask::default() {
        true => String::new(),
        false => format!("{},", trace.match_text(&Match::new(&begin, &tracked))),
    };
    let megaflow = trace.match_text(&Match::new(&begin, &mask));
    let id = match begin.field(Field::RecircId) {
        0 => "0".to_owned(),
        id => format!("{id:#x}"),
    };
    lines.push(format!("Megaflow: recirc_id={id},{tracked}eth,{megaflow}"));
    Some(Stretch {
        lines,
        translation,
        stops: trace.stops,
        failure: trace.failure,
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
                 rule_cookie={},controller_id={},max_len={}))",
                punt.to.reason as u8,
                u8::from(punt.continuation.is_some()),
                punt.continuation.as_ref().map_or(0, |frozen| frozen.id),
                match punt.cookie {
                    0 | u64::MAX => "0".to_owned(),
                    cookie => format!("{cookie:#x}"),
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
            DpAction::Ct(ct) => {
                texts.push(tracking::ct_text(ct));
                let ways = [&ct.table, &ct.rest].into_iter().flatten();
                texts.extend(ways.map(|frozen| format!("recirc({:#x})", frozen.id)));
            }
            DpAction::CtClear => texts.push("ct_clear".to_owned()),
            DpAction::Encap(template) => texts.push(super::tunnel::push_text(template, &port)),
            DpAction::Decap { kind, udp_port, .. } => texts.push(match kind {
                TunnelKind::Vxlan => format!("tnl_pop(vxlan_sys_{udp_port})"),
                TunnelKind::Geneve => format!("tnl_pop(genev_sys_{udp_port})"),
            }),
            DpAction::Router(what) => texts.push(router_text(what, &port)),
            DpAction::FitRoute(mtu, what) => {
                texts.push(format!("check_mtu({mtu},gt({}))", router_text(what, &port)))
            }
        }
        open = group;
    }
    // What is done to a copy stands in brackets; cutting a packet that is then sent on and is whole
    // again afterwards needs none.
    let text = texts.join(",");
    text.replace("clone(,", "clone(").replace(",)", ")")
}

fn router_text(what: &ToRouter, port: impl Fn(PortIndex) -> String) -> String {
    let text = match what.errand {
        Errand::Hear => "answer".to_owned(),
        Errand::Refuse(trouble) => format!("refuse={}", trouble.reason().name()),
        Errand::Wait { out, next } => format!("wait={next},out={}", port(out)),
        Errand::TooBig { out } => format!("refuse=too_big,out={}", port(out)),
        Errand::Cut { out, next } => format!("cut,next={next},out={}", port(out)),
    };
    format!("router({},{text})", port(what.port))
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

/// A packet's fields as a match on them: those of headers that it has, and what the pipeline has
/// written where it is not zero.
fn shown(key: &FlowKey) -> Match {
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
    Match::new(key, &mask)
}

/// Whether a field is several registers.
fn is_several(field: Field) -> bool {
    field >= Field::Xreg0 && field <= Field::Xxreg3
}
