//! Text → matches, actions and flows.
//!
//! Fields may come in any order. A name that means different fields in different packets (`tp_dst`,
//! `nw_src` in an ARP packet) is read last, when the rest of the match has said which packet it is.

use super::value::{self, Bad};
use super::{DEFAULT_PRIORITY, ParseError, PortNames, Problem};
use crate::action::{Action, OfPort};
use crate::field::{Field, Prerequisite};
use crate::matches::Match;
use crate::rule::{FlowFlags, FlowRule};

/// `vlan_tci` of a packet with a tag has this bit set.
const TAGGED: u128 = 0x1000;

/// `ct_state` of a packet that connection tracking has seen has this bit set.
const TRACKED: u128 = 0x20;

/// Names of packets: the keyword, its Ethernet type and, where it has one, its protocol. The first
/// of several names for the same packet is printed.
pub(super) const PACKETS: [(&str, u128, Option<u128>); 19] = [
    ("icmp", 0x0800, Some(1)),
    ("igmp", 0x0800, Some(2)),
    ("tcp", 0x0800, Some(6)),
    ("udp", 0x0800, Some(17)),
    ("sctp", 0x0800, Some(132)),
    ("ip", 0x0800, None),
    ("icmp6", 0x86dd, Some(58)),
    ("tcp6", 0x86dd, Some(6)),
    ("udp6", 0x86dd, Some(17)),
    ("sctp6", 0x86dd, Some(132)),
    ("ipv6", 0x86dd, None),
    ("arp", 0x0806, None),
    ("rarp", 0x8035, None),
    ("mpls", 0x8847, None),
    ("mplsm", 0x8848, None),
    ("icmp4", 0x0800, Some(1)),
    ("ipv4", 0x0800, None),
    ("ip6", 0x86dd, None),
    ("icmpv6", 0x86dd, Some(58)),
];

/// A piece of the text and where it begins.
#[derive(Clone, Copy)]
struct Token<'a> {
    at: usize,
    text: &'a str,
}

impl<'a> Token<'a> {
    fn fail<T>(self, problem: Problem) -> Result<T, ParseError> {
        Err(ParseError {
            at: self.at,
            found: self.text.to_owned(),
            problem,
        })
    }

    /// The text before and after the first of `separators`.
    fn split(self, separators: &[char]) -> (Self, Option<Self>) {
        let Some((at, separator)) = self
            .text
            .char_indices()
            .find(|(_, c)| separators.contains(c))
        else {
            return (self, None);
        };
        let after = at + separator.len_utf8();
        (
            Token {
                at: self.at,
                text: self.text.get(..at).unwrap_or_default(),
            },
            Some(Token {
                at: self.at + after,
                text: self.text.get(after..).unwrap_or_default(),
            }),
        )
    }

    /// The pieces between commas and white space.
    fn pieces(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let (piece, after) = rest?.split(&[',', ' ', '\t', '\r', '\n']);
            rest = after;
            Some(piece)
        })
        .filter(|piece| !piece.text.is_empty())
    }
}

/// Reads a match, such as `tcp,nw_src=10.0.0.0/8,tp_dst=80`. The empty text matches everything.
///
/// # Errors
/// Where the text is wrong, and what is allowed there.
pub fn parse_match(text: &str, names: PortNames<'_>) -> Result<Match, ParseError> {
    let token = Token { at: 0, text };
    read_match(token.pieces().collect(), names)
}

/// Reads a list of actions, such as `set_field:10.0.0.1->ip_dst,output:2`. As there is no match
/// beside it, nothing is known of the packets: `mod_tp_src` and `mod_tp_dst` cannot be read.
///
/// # Errors
/// Where the text is wrong, and what is allowed there.
pub fn parse_actions(text: &str, names: PortNames<'_>) -> Result<Vec<Action>, ParseError> {
    read_actions(Token { at: 0, text }, None, names)
}

/// Reads a whole flow, such as `table=1,priority=5,arp actions=flood`.
///
/// What `dump-flows` shows of a flow's past (`duration`, `n_packets`, ...) is passed over, so that
/// a dump can be read in again.
///
/// # Errors
/// Where the text is wrong, and what is allowed there.
pub fn parse_flow(text: &str, names: PortNames<'_>) -> Result<FlowRule, ParseError> {
    let token = Token { at: 0, text };
    let Some(at) = actions_at(text) else {
        return token.fail(Problem::NoActions);
    };
    let before = Token {
        at: 0,
        text: text.get(..at).unwrap_or_default(),
    };
    let after = at + "actions=".len();
    let actions = Token {
        at: after,
        text: text.get(after..).unwrap_or_default(),
    };
    let mut flow = FlowRule {
        priority: DEFAULT_PRIORITY,
        ..FlowRule::default()
    };
    let mut fields = Vec::new();
    for piece in before.pieces() {
        if !read_keyword(piece, &mut flow)? {
            fields.push(piece);
        }
    }
    flow.matches = read_match(fields, names)?;
    flow.instructions = read_actions(actions, Some(&flow.matches), names)?.into();
    Ok(flow)
}

/// Where `actions=` begins, if it begins a piece of the text.
fn actions_at(text: &str) -> Option<usize> {
    text.match_indices("actions=")
        .map(|(at, _)| at)
        .find(|at| match text.get(..*at) {
            Some(before) => before.is_empty() || before.ends_with([',', ' ', '\t', '\r', '\n']),
            None => false,
        })
}

/// Takes what belongs to the flow and not to its match. False when the piece is something else.
fn read_keyword(piece: Token<'_>, flow: &mut FlowRule) -> Result<bool, ParseError> {
    let (name, value) = piece.split(&['=']);
    match name.text {
        "send_flow_rem" => flow.flags = flow.flags.with(FlowFlags::SEND_FLOW_REM),
        "check_overlap" => flow.flags = flow.flags.with(FlowFlags::CHECK_OVERLAP),
        "reset_counts" => flow.flags = flow.flags.with(FlowFlags::RESET_COUNTS),
        "table" => flow.table = number_of(piece, value, 0xfe)? as u8,
        "priority" => flow.priority = number_of(piece, value, 0xffff)? as u16,
        "cookie" => flow.cookie = number_of(piece, value, u64::MAX.into())? as u64,
        "idle_timeout" => flow.idle_timeout = number_of(piece, value, 0xffff)? as u16,
        "hard_timeout" => flow.hard_timeout = number_of(piece, value, 0xffff)? as u16,
        "importance" => flow.importance = number_of(piece, value, 0xffff)? as u16,
        "duration" | "n_packets" | "n_bytes" | "idle_age" | "hard_age" => {}
        _ => return Ok(false),
    }
    let flag = matches!(
        name.text,
        "send_flow_rem" | "check_overlap" | "reset_counts"
    );
    if flag && value.is_some() {
        return piece.fail(Problem::UnwantedValue {
            name: name.text.to_owned(),
        });
    }
    Ok(true)
}

/// The number after a name, up to `max`.
fn number_of(piece: Token<'_>, value: Option<Token<'_>>, max: u128) -> Result<u128, ParseError> {
    let name = piece.split(&['=', ':']).0.text.to_owned();
    let allowed = format!("a number up to {max}");
    let Some(value) = value else {
        return piece.fail(Problem::NoValue { name, allowed });
    };
    match value::number(value.text) {
        Some(number) if number <= max => Ok(number),
        _ => value.fail(Problem::Value { name, allowed }),
    }
}

/// In which pass a name is read: later ones mean what earlier ones made of the match.
fn pass(name: &str) -> u8 {
    match name {
        "nw_proto" | "ip_proto" => 1,
        "nw_src" | "nw_dst" | "tp_src" | "tp_dst" | "icmp_type" | "icmp_code" => 2,
        _ => 0,
    }
}

fn read_match(pieces: Vec<Token<'_>>, names: PortNames<'_>) -> Result<Match, ParseError> {
    let mut found = Match::any();
    let mut fields = Vec::new();
    for now in 0..3 {
        for &piece in &pieces {
            let (name, value) = piece.split(&['=']);
            if pass(name.text) == now
                && let Some(field) = read_field(piece, name, value, &mut found, names)?
            {
                fields.push((piece, field));
            }
        }
    }
    for (piece, field) in fields {
        require(piece, field, &found)?;
    }
    Ok(found)
}

/// Reads one part of a match and returns its field, if the field has prerequisites to look at.
fn read_field(
    piece: Token<'_>,
    name: Token<'_>,
    value: Option<Token<'_>>,
    found: &mut Match,
    names: PortNames<'_>,
) -> Result<Option<Field>, ParseError> {
    if let Some((_, ethertype, protocol)) = PACKETS.iter().find(|(word, ..)| *word == name.text) {
        if value.is_some() {
            return piece.fail(Problem::UnwantedValue {
                name: name.text.to_owned(),
            });
        }
        let whole = Field::EthType.info().max();
        add(piece, found, Field::EthType, *ethertype, whole)?;
        if let Some(protocol) = protocol {
            let whole = Field::IpProto.info().max();
            add(piece, found, Field::IpProto, *protocol, whole)?;
        }
        return Ok(None);
    }
    if name.text == "actions" {
        return piece.fail(Problem::Actions);
    }
    match name.text {
        "dl_vlan" => {
            let vid = number_of(piece, value, 0xffff)?;
            match vid {
                // OpenFlow 1.0's number for packets without a tag.
                0xffff => add(piece, found, Field::VlanTci, 0, 0xffff)?,
                0..=0xfff => add(piece, found, Field::VlanTci, vid | TAGGED, 0x1fff)?,
                _ => {
                    return piece.fail(Problem::Value {
                        name: name.text.to_owned(),
                        allowed: "a VLAN number up to 4095, or 0xffff for no tag".to_owned(),
                    });
                }
            }
            return Ok(None);
        }
        "dl_vlan_pcp" | "vlan_pcp" => {
            let pcp = number_of(piece, value, 7)?;
            add(piece, found, Field::VlanTci, pcp << 13 | TAGGED, 0xf000)?;
            return Ok(None);
        }
        "nw_tos" => {
            let tos = number_of(piece, value, 0xff)?;
            add(piece, found, Field::IpDscp, tos >> 2, 0x3f)?;
            return Ok(Some(Field::IpDscp));
        }
        _ => {}
    }
    let Some(field) = field_by_name(name.text, found) else {
        if matches!(name.text, "tp_src" | "tp_dst") {
            return piece.fail(Problem::Prerequisite {
                name: name.text.to_owned(),
                needs: "tcp, udp or sctp (or the same with 6)",
            });
        }
        return name.fail(Problem::UnknownField {
            allowed: similar(name.text),
        });
    };
    let (value, mask) = read_value(piece, name, value, field, names)?;
    if mask != 0 {
        add(piece, found, field, value, mask)?;
    }
    Ok(Some(field))
}

/// The field that a name means in packets of this match.
fn field_by_name(name: &str, found: &Match) -> Option<Field> {
    let ethertype = found.key().field(Field::EthType);
    let arp = matches!(ethertype, 0x0806 | 0x8035);
    let v6 = ethertype == 0x86dd;
    let transport = |tcp, udp, sctp| match found.key().field(Field::IpProto) {
        6 => Some(tcp),
        17 => Some(udp),
        132 => Some(sctp),
        _ => None,
    };
    match name {
        "tp_src" => transport(Field::TcpSrc, Field::UdpSrc, Field::SctpSrc),
        "tp_dst" => transport(Field::TcpDst, Field::UdpDst, Field::SctpDst),
        "nw_src" if arp => Some(Field::ArpSpa),
        "nw_dst" if arp => Some(Field::ArpTpa),
        "nw_proto" if arp => Some(Field::ArpOp),
        "icmp_type" if v6 => Some(Field::Icmp6Type),
        "icmp_code" if v6 => Some(Field::Icmp6Code),
        name => Field::by_name(name),
    }
}

/// Says which name was probably meant, or where to look.
fn similar(name: &str) -> String {
    let near = |other: &&str| {
        let same = name
            .chars()
            .zip(other.chars())
            .take_while(|(a, b)| a == b)
            .count();
        same >= 3 && same * 2 >= name.len()
    };
    let known = Field::all().flat_map(|field| {
        let row = field.info();
        std::iter::once(row.name).chain(row.aliases.iter().copied())
    });
    let names: Vec<_> = known.filter(near).take(4).collect();
    if names.is_empty() {
        "fields are listed in ovs-fields(7), packets are ip, ipv6, tcp, udp, icmp, arp, ...".into()
    } else {
        format!("similar ones are {}", names.join(", "))
    }
}

fn read_value(
    piece: Token<'_>,
    name: Token<'_>,
    value: Option<Token<'_>>,
    field: Field,
    names: PortNames<'_>,
) -> Result<(u128, u128), ParseError> {
    let row = field.info();
    let name = name.text.to_owned();
    let Some(value) = value.filter(|value| !value.text.is_empty()) else {
        let allowed = value::allowed(row);
        return piece.fail(Problem::NoValue { name, allowed });
    };
    match value::parse(row, value.text, names) {
        Ok(read) => Ok(read),
        Err(Bad::Mask) => value.fail(Problem::Mask { name }),
        Err(Bad::Value) => value.fail(Problem::Value {
            name,
            allowed: value::allowed(row),
        }),
    }
}

/// Adds to a match what does not contradict it.
fn add(
    piece: Token<'_>,
    found: &mut Match,
    field: Field,
    value: u128,
    mask: u128,
) -> Result<(), ParseError> {
    let common = found.mask().field(field) & mask;
    if (found.key().field(field) ^ value) & common != 0 {
        return piece.fail(Problem::Contradiction {
            name: piece.split(&['=']).0.text.to_owned(),
        });
    }
    *found = found.clone().with_masked(field, value, mask);
    Ok(())
}

/// Whether every packet of the match has the field.
pub(super) fn promised(field: Field, found: &Match) -> bool {
    let prerequisite = field.info().prerequisite;
    let said = |field: &Field| {
        let bits = found.mask().field(*field);
        match field {
            Field::VlanTci => bits & TAGGED != 0,
            Field::CtState => bits & TRACKED != 0,
            field => bits == field.info().max(),
        }
    };
    prerequisite.holds(&found.key()) && prerequisite.fields().iter().all(said)
}

fn require(piece: Token<'_>, field: Field, found: &Match) -> Result<(), ParseError> {
    if promised(field, found) {
        return Ok(());
    }
    piece.fail(Problem::Prerequisite {
        name: piece.split(&['=', ':']).0.text.to_owned(),
        needs: needs(field.info().prerequisite),
    })
}

/// What a person writes to meet a prerequisite.
const fn needs(prerequisite: Prerequisite) -> &'static str {
    match prerequisite {
        Prerequisite::None => "nothing",
        Prerequisite::Vlan => "a VLAN tag (dl_vlan=N or vlan_tci=0x1000/0x1000)",
        Prerequisite::Mpls => "mpls or mplsm",
        Prerequisite::Arp => "arp or rarp",
        Prerequisite::Ipv4 => "ip",
        Prerequisite::Ipv6 => "ipv6",
        Prerequisite::Ip => "ip or ipv6",
        Prerequisite::Tcp => "tcp or tcp6",
        Prerequisite::Udp => "udp or udp6",
        Prerequisite::Sctp => "sctp or sctp6",
        Prerequisite::Icmp4 => "icmp",
        Prerequisite::Icmp6 => "icmp6",
        Prerequisite::Nd => "icmp6 with icmp_type=135 or icmp_type=136",
        Prerequisite::NdSolicit => "icmp6 with icmp_type=135",
        Prerequisite::NdAdvert => "icmp6 with icmp_type=136",
        Prerequisite::Pbb => "dl_type=0x88e7",
        Prerequisite::Ct => "ct_state=+trk",
        Prerequisite::Ct4 => "ip and ct_state=+trk",
        Prerequisite::Ct6 => "ipv6 and ct_state=+trk",
    }
}

/// What is known of a packet while a list of actions is read.
struct Reader<'a> {
    /// The flow's match, where there is one.
    found: Option<&'a Match>,
    /// The packet surely has a VLAN tag at this point of the list.
    tagged: bool,
    actions: Vec<Action>,
    names: PortNames<'a>,
}

fn read_actions(
    token: Token<'_>,
    found: Option<&Match>,
    names: PortNames<'_>,
) -> Result<Vec<Action>, ParseError> {
    let mut reader = Reader {
        found,
        tagged: found.is_some_and(|found| promised(Field::VlanPcp, found)),
        actions: Vec::new(),
        names,
    };
    let pieces: Vec<_> = token.pieces().collect();
    for &piece in &pieces {
        if piece.text != "drop" {
            reader.read(piece)?;
        } else if pieces.len() > 1 {
            return piece.fail(Problem::DropWithOthers);
        }
    }
    Ok(reader.actions)
}

impl Reader<'_> {
    fn read(&mut self, piece: Token<'_>) -> Result<(), ParseError> {
        let (name, value) = piece.split(&[':', '=']);
        let field = match name.text {
            "output" => {
                let (port, _) = read_value(piece, name, value, Field::InPort, self.names)?;
                self.actions.push(Action::Output(OfPort(port as u32)));
                return Ok(());
            }
            "set_field" => return self.set_field(piece, value),
            "push_vlan" => {
                let tpid = number_of(piece, value, 0xffff)?;
                if !matches!(tpid, 0x8100 | 0x88a8) {
                    return piece.fail(Problem::Value {
                        name: "push_vlan".to_owned(),
                        allowed: "0x8100 or 0x88a8".to_owned(),
                    });
                }
                self.actions.push(Action::PushVlan(tpid as u16));
                self.tagged = true;
                return Ok(());
            }
            "pop_vlan" | "strip_vlan" if value.is_none() => {
                self.actions.push(Action::PopVlan);
                self.tagged = false;
                return Ok(());
            }
            "mod_vlan_vid" => {
                let vid = number_of(piece, value, 0xfff)?;
                self.tag();
                self.push_set(Field::VlanVid, vid | TAGGED, 0x1fff);
                return Ok(());
            }
            "mod_vlan_pcp" => {
                let pcp = number_of(piece, value, 7)?;
                self.tag();
                self.push_set(Field::VlanPcp, pcp, 7);
                return Ok(());
            }
            "mod_dl_src" => Field::EthSrc,
            "mod_dl_dst" => Field::EthDst,
            "mod_nw_src" => Field::Ipv4Src,
            "mod_nw_dst" => Field::Ipv4Dst,
            "mod_nw_tos" => Field::IpTos,
            "mod_nw_ecn" => Field::IpEcn,
            "mod_nw_ttl" => Field::IpTtl,
            "mod_tp_src" | "mod_tp_dst" => {
                let legacy = name.text.trim_start_matches("mod_");
                let Some(field) = self.found.and_then(|found| field_by_name(legacy, found)) else {
                    return piece.fail(Problem::Prerequisite {
                        name: name.text.to_owned(),
                        needs: "tcp, udp or sctp (or the same with 6)",
                    });
                };
                field
            }
            _ => return self.port(piece, name, value),
        };
        self.require(piece, field)?;
        let (value, mask) = read_value(piece, name, value, field, self.names)?;
        self.push_set(field, value, mask);
        Ok(())
    }

    /// Reads the name or number of a port, which alone is an output.
    fn port(
        &mut self,
        piece: Token<'_>,
        name: Token<'_>,
        value: Option<Token<'_>>,
    ) -> Result<(), ParseError> {
        let port = value::port(name.text, self.names);
        match (port, value) {
            (Some(port), None) => self.actions.push(Action::Output(port)),
            // What a dump says of a controller that gets whole packets.
            (Some(OfPort::CONTROLLER), Some(size)) if size.text == "65535" => {
                self.actions.push(Action::Output(OfPort::CONTROLLER));
            }
            (Some(OfPort::CONTROLLER), Some(size)) => {
                return size.fail(Problem::Value {
                    name: "controller".to_owned(),
                    allowed: "65535: packets are sent whole".to_owned(),
                });
            }
            (Some(_), Some(_)) => {
                return piece.fail(Problem::UnwantedValue {
                    name: name.text.to_owned(),
                });
            }
            (None, _) => return piece.fail(Problem::UnknownAction),
        }
        Ok(())
    }

    /// Reads `value[/mask]->field`.
    fn set_field(&mut self, piece: Token<'_>, value: Option<Token<'_>>) -> Result<(), ParseError> {
        let parts = value.and_then(|token| {
            let (value, name) = token.text.split_once("->")?;
            let at = token.at + value.len() + "->".len();
            let value = Token {
                text: value,
                ..token
            };
            Some((value, Token { at, text: name }))
        });
        let Some((value, name)) = parts else {
            return piece.fail(Problem::NoValue {
                name: "set_field".to_owned(),
                allowed: "value[/mask]->field".to_owned(),
            });
        };
        let field = match self.found {
            Some(found) => field_by_name(name.text, found),
            None => Field::by_name(name.text),
        };
        let Some(field) = field else {
            return name.fail(Problem::UnknownField {
                allowed: similar(name.text),
            });
        };
        if !field.info().writable {
            return name.fail(Problem::ReadOnly {
                name: name.text.to_owned(),
            });
        }
        self.require(name, field)?;
        let (value, mask) = read_value(value, name, Some(value), field, self.names)?;
        self.push_set(field, value, mask);
        Ok(())
    }

    /// The packet has the field at this point of the list, as far as the match says.
    fn require(&self, piece: Token<'_>, field: Field) -> Result<(), ParseError> {
        match (self.found, field.info().prerequisite) {
            (Some(_), Prerequisite::Vlan) if self.tagged => Ok(()),
            (Some(found), _) => require(piece, field, found),
            (None, _) => Ok(()),
        }
    }

    /// Pushes a tag unless there is one, as `mod_vlan_vid` did in OpenFlow 1.0.
    fn tag(&mut self) {
        if !self.tagged {
            self.actions.push(Action::PushVlan(0x8100));
            self.tagged = true;
        }
    }

    fn push_set(&mut self, field: Field, value: u128, mask: u128) {
        // What is called nw_tos leaves the ECN bits alone.
        let (field, value, mask) = match field {
            Field::IpTos => (Field::IpDscp, value >> 2, mask >> 2),
            field => (field, value, mask),
        };
        self.actions.push(Action::SetField { field, value, mask });
    }
}
