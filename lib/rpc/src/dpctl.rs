//! `dpctl`: what the packet process knows of connections and fragments, and how it is to track them.
//!
//! The words are those of `ovs-dpctl(8)`; `vswitchd` reads them, so that `vsctl` and `ovs-appctl`
//! are understood alike. The answer is structured; [`crate::text::dpctl`] makes of it what is
//! printed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// `dpctl`: one command on connections or fragments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dpctl {
    /// `dump-conntrack`.
    pub command: String,
    /// What follows the command.
    #[serde(default)]
    pub args: Vec<String>,
}

/// The answer, in an object whose one member says what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// `dump-conntrack`.
    Connections(Vec<Connection>),
    /// `dump-conntrack-exp`.
    Expectations(Vec<Expectation>),
    /// `flush-conntrack`: how many were forgotten.
    Flushed(u64),
    /// `ct-stats-show`.
    Stats(Box<CtStats>),
    /// `ct-bkts`.
    Buckets(Buckets),
    /// `ct-get-maxconns`.
    MaxConnections(u32),
    /// `ct-get-nconns`.
    ConnectionCount(u64),
    /// `ct-get-tcp-seq-chk`.
    TcpSeqChk(bool),
    /// `ct-get-tcp-loose`.
    TcpLoose(bool),
    /// `ct-get-limits`.
    Limits(Limits),
    /// `ct-get-timeouts`.
    Timeouts(Vec<Timeouts>),
    /// `ipf-get-status`.
    Fragments(Box<FragmentStatus>),
    /// It is done; the sentence that says so, where there is one.
    Done(String),
}

/// Options before the words of a `dpctl` command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-s`: counters too.
    pub statistics: bool,
    /// `-m`: more.
    pub more: bool,
    /// Ports by name.
    pub names: bool,
}

/// An option nobody knows, as Open vSwitch says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unrecognized option {0}")]
pub struct UnknownOption(pub String);

impl Options {
    /// Reads the options; the rest follows.
    ///
    /// # Errors
    /// An option nobody knows.
    pub fn read(args: &[String]) -> Result<(Self, &[String]), UnknownOption> {
        let mut options = Self::default();
        let mut names = None;
        let mut rest = args;
        while let [arg, after @ ..] = rest {
            match arg.as_str() {
                "--statistics" => options.statistics = true,
                // These make sense of other commands, and none of these.
                "--clear" | "--may-create" => {}
                "--more" => options.more = true,
                "--names" => names = Some(true),
                "--no-names" => names = Some(false),
                long if long.starts_with("--") => return Err(UnknownOption(long.into())),
                short if short.len() > 1 && short.starts_with('-') => {
                    for letter in short.chars().skip(1) {
                        match letter {
                            'm' => options.more = true,
                            's' => options.statistics = true,
                            _ => return Err(UnknownOption(format!("-{letter}"))),
                        }
                    }
                }
                _ => break,
            }
            rest = after;
        }
        options.names = names.unwrap_or(options.more);
        Ok((options, rest))
    }
}

/// What packets of a connection show in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// What follows the addresses.
    #[serde(flatten)]
    pub ends: Ends,
}

/// What tells connections between two addresses apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ends {
    /// Ports, 0 of a protocol that has none.
    Ports {
        /// Source.
        sport: u16,
        /// Destination.
        dport: u16,
    },
    /// An ICMP query.
    Icmp {
        /// Identifier.
        id: u16,
        /// Type.
        r#type: u8,
        /// Code.
        code: u8,
    },
}

/// As Open vSwitch prints it between brackets.
impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src={},dst={}", self.src, self.dst)?;
        match self.ends {
            Ends::Ports { sport, dport } => write!(f, ",sport={sport},dport={dport}"),
            Ends::Icmp { id, r#type, code } => write!(f, ",id={id},type={},code={code}", r#type),
        }
    }
}

/// Packets and bytes in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One end of a TCP connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpEnd {
    /// `ESTABLISHED`.
    pub state: String,
    /// The shift of its window; absent when it named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wscale: Option<u8>,
    /// Its first packet was not seen, so its shift is not known.
    #[serde(default)]
    pub missed: bool,
}

/// A tracked connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The protocol's name or number.
    pub protocol: String,
    /// What its first packet showed.
    pub original: Tuple,
    /// What its answers show.
    pub reply: Tuple,
    /// No other connection that lives has this number.
    pub id: u32,
    /// The zone.
    pub zone: u16,
    /// `SEEN_REPLY`, `CONFIRMED` and the like.
    pub status: Vec<String>,
    /// The mark.
    pub mark: u32,
    /// The labels in hexadecimal: `0x0` is none.
    pub labels: String,
    /// Of TCP: `ESTABLISHED`, the state of the end that is further on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Of TCP: who sent the first packet, and the other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<[TcpEnd; 2]>,
    /// Who reads its payload: `ftp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helper: Option<String>,
    /// What the first packet of the connection that it belongs to showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Tuple>,
    /// Seconds until it is forgotten if nothing more is heard of it.
    pub timeout_s: u64,
    /// Seconds since its first packet.
    pub age_s: u64,
    /// In the direction of its first packet.
    pub original_counter: Counter,
    /// In the other direction.
    pub reply_counter: Counter,
}

/// A connection that a helper expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The protocol's name or number.
    pub protocol: String,
    /// What its first packet will show; source port 0 is any.
    pub original: Tuple,
    /// The zone.
    pub zone: u16,
    /// The mark that it will have.
    pub mark: u32,
    /// The labels that it will have.
    pub labels: String,
    /// What the first packet of the connection that expects it showed.
    pub parent: Tuple,
}

/// Connections that live, and what has happened to others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtStats {
    /// Connections that live.
    pub total: u64,
    /// By the protocol's name or number.
    pub protocols: BTreeMap<String, u64>,
    /// Those of TCP by their state.
    pub tcp_states: BTreeMap<String, u64>,
    /// What has happened since the packet process began, by name, over all zones.
    pub events: BTreeMap<String, u64>,
}

/// `ct-bkts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    /// Connections in each.
    pub connections: Vec<u64>,
    /// Those with no more are not shown to people.
    pub more_than: u16,
}

/// How many connections zones may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of a zone without a limit of its own; 0 is no limit.
    pub default: u32,
    /// Zones, the lowest first.
    pub zones: Vec<ZoneLimit>,
}

/// How many connections a zone has and may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneLimit {
    /// The zone.
    pub zone: u16,
    /// How many it may have.
    pub limit: u32,
    /// How many it has.
    pub count: u32,
}

/// A timeout policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Its zone; that of all zones without one of their own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<u16>,
    /// Seconds by key.
    pub seconds: BTreeMap<String, u32>,
}

/// `ipf-get-status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentStatus {
    /// Fragments that may be held.
    pub max: u32,
    /// Fragments that are held.
    pub held: u32,
    /// Of IPv4.
    pub v4: FragmentFamily,
    /// Of IPv6.
    pub v6: FragmentFamily,
    /// Packets that are not whole.
    pub lists: Vec<FragmentList>,
}

/// Fragments of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentFamily {
    /// They are collected.
    pub enabled: bool,
    /// The smallest that is not a last one, bytes.
    pub min_size: u32,
    /// They were held.
    pub accepted: u64,
    /// They went on with their whole packet.
    pub completed: u64,
    /// Their packet was not whole in time.
    pub expired: u64,
    /// They were refused for their size.
    pub too_small: u64,
    /// They were refused because they overlap others.
    pub overlapped: u64,
    /// They were held, and given up with their packet.
    pub purged: u64,
}

/// A packet that is not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentList {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// The sender's number of the packet.
    pub ident: u32,
    /// In which zone.
    pub zone: u16,
    /// What it carries; 0 over IPv6.
    pub protocol: u8,
    /// Fragments that are there.
    pub fragments: u32,
    /// `first frag`, `last frag`, `first/last frag`, `other frag` or `reassemble fail`.
    pub state: String,
}

/// A protocol's name, or its number where `dump-conntrack` knows no name.
pub fn protocol_name(protocol: u8) -> String {
    let name = match protocol {
        1 => "icmp",
        2 => "igmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        58 => "icmpv6",
        132 => "sctp",
        136 => "udplite",
        number => return number.to_string(),
    };
    name.to_owned()
}
