//! `ofproto/trace`: a bridge and a flow as OpenFlow writes it, or a flow as the packet process
//! writes it, perhaps behind the packet process's name; then perhaps a packet's bytes.
//! `ofproto/trace-packet-out` has actions besides, as a controller would send the packet.
//!
//! A flow of the packet process is turned into one of the bridge that its port is on. Masks in it
//! are overlooked: one packet has the values, whatever else would match.
//!
//! Spec: `parse_flow_and_packet` in `ofproto/ofproto-dpif-trace.c`, `lib/odp-util.c` of Open vSwitch.

use vswitch_dpapi::BridgeId;
use vswitch_dpapi::message::{TraceFrame, TraceRequest};
use vswitch_flow::check::{Checker, Fault};
use vswitch_flow::text::{ParseError, parse_actions, parse_match};
use vswitch_flow::{Action, FlowMask, Match, OfPort};
use vswitch_rpc::text;

use super::AppctlError;
use super::arguments::is_datapath;
use crate::command::flow::PAYLOAD;
use crate::command::frame::{self, FrameError};
use crate::command::tracking::{BadState, state_bits};
use crate::control::Control;
use crate::openflow::refuse;

/// Most bytes that `--l7-len` makes.
const PAYLOAD_MAX: usize = 64_000;

/// Why there is nothing to trace, in the words of Open vSwitch where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// An option nobody knows.
    #[error("{0}: unknown option")]
    Option(String),
    /// An option that lacks what belongs to it.
    #[error("Missing argument for option {0}")]
    NoArgument(String),
    /// A payload nobody sends.
    #[error("{0}: too much L7 data")]
    Payload(String),
    /// More than a bridge, a flow and a packet.
    #[error("too many arguments")]
    TooMany,
    /// Nothing.
    #[error("Syntax error")]
    Nothing,
    /// A flow of a bridge alone.
    #[error("syntax error at {0} (or the bridge name was omitted)")]
    NoBridge(String),
    /// No such bridge.
    #[error("{0}: unknown bridge")]
    UnknownBridge(String),
    /// The flow of a bridge cannot be read.
    #[error("Bad openflow flow syntax: {0}")]
    BadFlow(ParseError),
    /// The flow of the packet process cannot be read.
    #[error("syntax error at {0}")]
    Syntax(String),
    /// No packet process of this name.
    #[error("Cannot find the datapath")]
    NoDatapath,
    /// The packet process has no such port.
    #[error("no OpenFlow port for datapath port {0}")]
    NoPort(String),
    /// The bytes are no packet.
    #[error(transparent)]
    Packet(#[from] FrameError),
    /// The actions cannot be read.
    #[error(transparent)]
    Actions(ParseError),
    /// Tracking cannot find that.
    #[error(transparent)]
    State(#[from] BadState),
    /// The actions cannot be done.
    #[error("Bad actions: {}", refuse::fault(.0))]
    BadActions(Fault),
}

/// Where a packet begins its way.
#[derive(Debug, PartialEq, Eq)]
enum Start<'a> {
    Bridge(&'a str, &'a str),
    Datapath(&'a str),
}

/// What is to be traced.
#[derive(Debug, PartialEq, Eq)]
struct Call<'a> {
    start: Start<'a>,
    frame: TraceFrame,
    names: bool,
    /// Actions have to find what they work on.
    consistent: bool,
    /// What tracking finds, each time that it is asked.
    ct_next: Vec<u8>,
}

impl<'a> Call<'a> {
    /// Reads the words of a command; `for_actions` if it has actions besides, which are not among them.
    fn read(args: &'a [String], for_actions: bool) -> Result<Self, TraceError> {
        let (mut generate, mut names, mut consistent) = (false, false, false);
        let mut payload = frame::payload(PAYLOAD);
        let (mut words, mut ct_next) = (Vec::new(), Vec::new());
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            let mut argument = || {
                let next = args.next();
                next.ok_or_else(|| TraceError::NoArgument(arg.into()))
            };
            match arg {
                "-generate" | "--generate" => generate = true,
                "-names" | "--names" => names = true,
                "-consistent" | "--consistent" if for_actions => consistent = true,
                "--ct-next" => ct_next.push(state_bits(argument()?)?),
                "--l7" => payload = frame::read_bytes(argument()?)?,
                "--l7-len" => {
                    let text = argument()?;
                    let len = text.parse().ok().filter(|len| *len <= PAYLOAD_MAX);
                    let len = len.ok_or_else(|| TraceError::Payload(text.into()))?;
                    payload = frame::payload(len);
                }
                option if option.starts_with('-') => {
                    return Err(TraceError::Option(option.into()));
                }
                _ if words.len() >= 3 => return Err(TraceError::TooMany),
                word => words.push(word),
            }
        }
        let mut frame = TraceFrame::None;
        if generate {
            frame = TraceFrame::Made(payload);
        } else if let [_, .., last] = *words {
            match frame::read_frame(last) {
                Ok(bytes) => {
                    frame = TraceFrame::Bytes(bytes);
                    words.pop();
                }
                Err(why) if words.len() > 2 => return Err(why.into()),
                Err(_) => {}
            }
        }
        let start = match *words {
            [flow] if is_datapath_flow(flow) => Start::Datapath(flow),
            [other] => return Err(TraceError::NoBridge(other.into())),
            [datapath, flow] if is_datapath_flow(flow) => {
                if !is_datapath(datapath) {
                    return Err(TraceError::NoDatapath);
                }
                Start::Datapath(flow)
            }
            [bridge, flow] => Start::Bridge(bridge, flow),
            _ => return Err(TraceError::Nothing),
        };
        Ok(Self {
            start,
            frame,
            names,
            consistent,
            ct_next,
        })
    }
}

/// Whether this is a flow of the packet process: each of its parts is a word with parentheses.
fn is_datapath_flow(word: &str) -> bool {
    groups(word).is_ok_and(|groups| !groups.is_empty())
}

/// `a(b),c(d(e))` as `(a, b)`, `(c, d(e))`; the error is where it is not of that shape.
fn groups(text: &str) -> Result<Vec<(&str, &str)>, &str> {
    let mut groups = Vec::new();
    let mut rest = text.trim_start_matches([',', ' ']);
    while !rest.is_empty() {
        let open = rest.find('(').ok_or(rest)?;
        let (name, after) = rest.split_at(open);
        let mut depth = 0_usize;
        let close = after.find(|letter| {
            match letter {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        });
        let close = close.ok_or(rest)?;
        if name.is_empty() || name.contains(['=', ',', ' ']) {
            return Err(rest);
        }
        groups.push((name, &after[1..close]));
        rest = after[close + 1..].trim_start_matches([',', ' ']);
    }
    Ok(groups)
}

/// The OpenFlow name of a group's part; `None` for those that have none here.
fn field(group: &str, part: &str) -> Option<&'static str> {
    Some(match (group, part) {
        ("eth", "src") => "dl_src",
        ("eth", "dst") => "dl_dst",
        ("eth_type", "") => "dl_type",
        ("vlan", "vid") => "dl_vlan",
        ("vlan", "pcp") => "dl_vlan_pcp",
        ("ipv4", "src") => "nw_src",
        ("ipv4", "dst") => "nw_dst",
        ("ipv6", "src") => "ipv6_src",
        ("ipv6", "dst") => "ipv6_dst",
        ("ipv6", "label") => "ipv6_label",
        ("ipv4" | "ipv6", "proto") => "nw_proto",
        ("ipv4", "tos") | ("ipv6", "tclass") => "nw_tos",
        ("ipv4", "ttl") | ("ipv6", "hlimit") => "nw_ttl",
        ("ipv4" | "ipv6", "frag") => "ip_frag",
        ("tcp", "src") => "tcp_src",
        ("tcp", "dst") => "tcp_dst",
        ("tcp_flags", "") => "tcp_flags",
        ("udp", "src") => "udp_src",
        ("udp", "dst") => "udp_dst",
        ("sctp", "src") => "sctp_src",
        ("sctp", "dst") => "sctp_dst",
        ("icmp", "type") => "icmp_type",
        ("icmp", "code") => "icmp_code",
        ("icmpv6", "type") => "icmpv6_type",
        ("icmpv6", "code") => "icmpv6_code",
        ("nd", "target") => "nd_target",
        ("nd", "sll") => "nd_sll",
        ("nd", "tll") => "nd_tll",
        ("arp", "sip") => "arp_spa",
        ("arp", "tip") => "arp_tpa",
        ("arp", "op") => "arp_op",
        ("arp", "sha") => "arp_sha",
        ("arp", "tha") => "arp_tha",
        ("mpls", "label") => "mpls_label",
        ("mpls", "tc") => "mpls_tc",
        ("mpls", "ttl") => "mpls_ttl",
        ("mpls", "bos") => "mpls_bos",
        ("skb_mark", "") => "pkt_mark",
        ("ct_state", "") => "ct_state",
        ("ct_zone", "") => "ct_zone",
        ("ct_mark", "") => "ct_mark",
        ("ct_label", "") => "ct_label",
        ("tunnel", "tun_id") => "tun_id",
        ("tunnel", "src") => "tun_src",
        ("tunnel", "dst") => "tun_dst",
        ("tunnel", "ipv6_src") => "tun_ipv6_src",
        ("tunnel", "ipv6_dst") => "tun_ipv6_dst",
        _ => return None,
    })
}

/// Port and fields of a flow of the packet process.
fn read_flow(text: &str) -> Result<(Option<&str>, Vec<String>), TraceError> {
    let syntax = |at: &str| TraceError::Syntax(at.to_owned());
    let mut port = None;
    let mut fields = Vec::new();
    let mut tagged = false;
    for (group, inside) in groups(text).map_err(syntax)? {
        match group {
            "in_port" => port = Some(inside),
            "encap" => fields.extend(read_flow(inside)?.1),
            // A tag's own type is not what the packet is; that is told within.
            "eth_type" if text.contains("encap(") && !tagged => tagged = true,
            // What the packet process keeps beside a packet, as long as there is nothing in it.
            "recirc_id" | "dp_hash" | "skb_priority" | "skb_mark" | "ct_state" | "ct_zone"
            | "ct_mark" | "ct_label"
                if is_nothing(inside) => {}
            "packet_type" => {}
            _ => {
                for part in inside.split(',').filter(|part| !part.is_empty()) {
                    let (name, value) = part.split_once('=').unwrap_or(("", part));
                    let value = value.split('/').next().unwrap_or_default();
                    match (group, name) {
                        // The tag's one bit that says it is there.
                        ("vlan", "cfi") => continue,
                        // How the outer headers were, which no flow asks for.
                        ("tunnel", "tos" | "ttl" | "tp_src" | "tp_dst") => continue,
                        ("tunnel", "") if value.starts_with("flags(") => continue,
                        _ => {}
                    }
                    let field = field(group, name).ok_or_else(|| syntax(part))?;
                    fields.push(format!("{field}={value}"));
                }
            }
        }
    }
    Ok((port, fields))
}

fn is_nothing(value: &str) -> bool {
    let value = value.split('/').next().unwrap_or_default();
    value
        .trim_start_matches("0x")
        .bytes()
        .all(|digit| digit == b'0')
}

impl Control {
    pub(super) async fn ofproto_trace(&mut self, args: &[String]) -> Result<String, AppctlError> {
        let request = self.trace_request(&Call::read(args, false)?)?;
        Ok(text::trace(&self.follow(request).await?))
    }

    pub(super) async fn ofproto_trace_packet_out(
        &mut self,
        args: &[String],
    ) -> Result<String, AppctlError> {
        // The row in the table says that there are two at least.
        let Some((actions, args)) = args.split_last() else {
            return Err(TraceError::Nothing.into());
        };
        let actions = parse_actions(actions, &|_| None).map_err(TraceError::Actions)?;
        let call = Call::read(args, true)?;
        let mut request = self.trace_request(&call)?;
        check(&actions, &request, call.consistent)?;
        request.actions = Some(actions);
        Ok(text::trace(&self.follow(request).await?))
    }

    fn trace_request(&self, call: &Call<'_>) -> Result<TraceRequest, TraceError> {
        let (bridge, flow) = match call.start {
            Start::Bridge(bridge, flow) => (bridge.to_owned(), flow.to_owned()),
            Start::Datapath(flow) => self.flow_of_bridge(flow)?,
        };
        let found = self.belief.switch.bridge(&bridge);
        let found = found.map_err(|_| TraceError::UnknownBridge(bridge))?;
        let number = |name: &str| found.ports.get(name).map(|port| OfPort(port.of_port));
        let packet = parse_match(&flow, &number).map_err(TraceError::BadFlow)?;
        Ok(TraceRequest {
            bridge: BridgeId(found.id),
            key: packet.key(),
            frame: call.frame.clone(),
            actions: None,
            names: call.names,
            ct_next: call.ct_next.clone(),
        })
    }

    /// The bridge of a flow of the packet process, and the flow as that bridge sees it.
    fn flow_of_bridge(&self, flow: &str) -> Result<(String, String), TraceError> {
        let (port, mut fields) = read_flow(flow)?;
        let port = port.unwrap_or_default();
        let switch = &self.belief.switch;
        let found = match port.parse() {
            Ok(number) => switch.port_by_id(number),
            Err(_) => switch.port_anywhere(port),
        };
        let (bridge, found) = found.ok_or_else(|| TraceError::NoPort(port.into()))?;
        fields.insert(0, format!("in_port={}", found.of_port));
        if !fields.iter().any(|field| field.starts_with("dl_type=")) {
            // To the packet process, no type is that of frames that name none.
            fields.push("dl_type=0x05ff".to_owned());
        }
        Ok((bridge.name.clone(), fields.join(",")))
    }
}

/// Whether actions can be done to a packet.
fn check(actions: &[Action], request: &TraceRequest, strict: bool) -> Result<(), TraceError> {
    let packet = Match::new(&request.key, &FlowMask::EXACT);
    let checked = Checker::new(&packet, strict).list(actions);
    checked.map_err(TraceError::BadActions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn the_forms_are_told_apart() {
        let start = |text: &str| {
            let args = words(text);
            let call = Call::read(&args, false).expect(text);
            match call.start {
                Start::Bridge(bridge, flow) => format!("{bridge} {flow}"),
                Start::Datapath(flow) => flow.to_owned(),
            }
        };
        assert_eq!(start("br0 in_port=1,ip"), "br0 in_port=1,ip");
        assert_eq!(
            start("in_port(1),eth_type(0x0800)"),
            "in_port(1),eth_type(0x0800)"
        );
        assert_eq!(start("netdev@ovs-netdev in_port(1)"), "in_port(1)");
        for (text, error) in [
            ("", "Syntax error"),
            ("--names", "Syntax error"),
            (
                "br0",
                "syntax error at br0 (or the bridge name was omitted)",
            ),
            ("system@ovs-system in_port(1)", "Cannot find the datapath"),
            ("br0 in_port=1 a b", "too many arguments"),
            ("br0 in_port=1 --zz", "--zz: unknown option"),
            ("br0 in_port=1 -consistent", "-consistent: unknown option"),
            ("br0 in_port=1 --l7", "Missing argument for option --l7"),
            ("br0 in_port=1 --l7-len 64001", "64001: too much L7 data"),
            ("br0 in_port=1 5054zz", "Trailing garbage in packet data"),
            ("br0 in_port=1 5054", "Packet data too short for Ethernet"),
            ("br0 in_port=1 -generate 5054", "Syntax error"),
        ] {
            let args = words(text);
            let refused = Call::read(&args, false).expect_err(text);
            assert_eq!(refused.to_string(), error);
        }
    }

    #[test]
    fn a_packet_is_given_or_made() {
        let frame = |text: &str| {
            let args = words(text);
            Call::read(&args, true).expect(text).frame
        };
        let packet = "ffffffffffff0200000000010806";
        let bytes = frame::read_frame(packet).expect("a frame");
        assert_eq!(frame("br0 in_port=1"), TraceFrame::None);
        assert_eq!(
            frame(&format!("br0 -consistent in_port=1 {packet}")),
            TraceFrame::Bytes(bytes.clone())
        );
        assert_eq!(
            frame(&format!("in_port(1) {packet}")),
            TraceFrame::Bytes(bytes)
        );
        assert_eq!(
            frame("br0 in_port=1 -generate --l7 0102"),
            TraceFrame::Made(vec![1, 2])
        );
        assert_eq!(
            frame("br0 --l7-len 3 in_port=1 --generate"),
            TraceFrame::Made(vec![0, 1, 2])
        );
    }

    #[test]
    fn actions_that_find_nothing_are_bad_only_when_that_is_asked() {
        let request = |flow| TraceRequest {
            bridge: BridgeId(1),
            key: parse_match(flow, &|_| None).expect(flow).key(),
            frame: TraceFrame::None,
            actions: None,
            names: false,
            ct_next: Vec::new(),
        };
        let actions =
            parse_actions("set_field:1.2.3.4->ip_dst,output:2", &|_| None).expect("actions");
        assert_eq!(check(&actions, &request("ip"), true), Ok(()));
        assert_eq!(check(&actions, &request("arp"), false), Ok(()));
        let refused = check(&actions, &request("arp"), true).expect_err("no address");
        assert_eq!(
            refused.to_string(),
            "Bad actions: OFPBAC_MATCH_INCONSISTENT"
        );
    }

    #[test]
    fn a_flow_of_the_packet_process_becomes_one_of_a_bridge() {
        let read = |text| {
            let (port, fields) = read_flow(text).expect(text);
            (port.map(ToOwned::to_owned), fields.join(","))
        };
        let (port, fields) = read(
            "recirc_id(0),in_port(3),eth(src=50:54:00:00:00:05,dst=ff:ff:ff:ff:ff:ff),\
             eth_type(0x0800),ipv4(src=10.0.0.0/255.0.0.0,proto=6,frag=no),tcp(dst=80)",
        );
        assert_eq!(port.as_deref(), Some("3"));
        assert_eq!(
            fields,
            "dl_src=50:54:00:00:00:05,dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x0800,nw_src=10.0.0.0,\
             nw_proto=6,ip_frag=no,tcp_dst=80"
        );
        let (_, fields) = read(
            "in_port(p1),eth_type(0x8100),vlan(vid=5,pcp=2),encap(eth_type(0x0806),arp(op=1))",
        );
        assert_eq!(fields, "dl_vlan=5,dl_vlan_pcp=2,dl_type=0x0806,arp_op=1");
        let (_, fields) = read(
            "tunnel(tun_id=0x1,src=1.1.1.1,ttl=64,flags(-df+csum)),in_port(1),ct_state(+est+trk)",
        );
        assert_eq!(fields, "tun_id=0x1,tun_src=1.1.1.1,ct_state=+est+trk");
        let refused = read_flow("in_port(1),nsh(flags=0)").unwrap_err();
        assert_eq!(refused.to_string(), "syntax error at flags=0");
        assert!(
            read_flow("recirc_id(0x5)").is_err(),
            "there is no such state"
        );
    }

    #[test]
    fn every_field_is_one_that_flows_know() {
        let samples = [
            "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x8100),vlan(vid=5,pcp=3),\
             encap(eth_type(0x0800),ipv4(src=1.1.1.1,dst=2.2.2.2,proto=6,tos=0,ttl=64,frag=no),\
             tcp(src=1,dst=2),tcp_flags(syn))",
            "eth_type(0x0800),ipv4(proto=17,frag=first),udp(src=1,dst=2)",
            "eth_type(0x0800),ipv4(proto=132),sctp(src=1,dst=2)",
            "eth_type(0x0800),ipv4(proto=1),icmp(type=8,code=0)",
            "eth_type(0x86dd),ipv6(src=::1,dst=::2,label=0x5,proto=58,tclass=0,hlimit=255,frag=no),\
             icmpv6(type=135,code=0),nd(target=::3,sll=02:00:00:00:00:01)",
            "eth_type(0x86dd),ipv6(proto=58),icmpv6(type=136,code=0),\
             nd(target=::3,tll=02:00:00:00:00:01)",
            "eth_type(0x0806),arp(sip=1.1.1.1,tip=2.2.2.2,op=1,sha=02:00:00:00:00:01,\
             tha=00:00:00:00:00:00)",
            "eth_type(0x8847),mpls(label=5,tc=1,ttl=64,bos=1)",
        ];
        for sample in samples {
            let (_, fields) = read_flow(sample).expect(sample);
            let flow = fields.join(",");
            parse_match(&flow, &|_| None).unwrap_or_else(|error| panic!("{flow}: {error}"));
        }
    }
}
