//! What a flow does with a packet: actions, and the instructions that hold them.
//!
//! The set is that of OpenFlow 1.3.5 §5.12 and of Open vSwitch's extensions (`ovs-actions(7)`),
//! one variant each. What several spellings or wire forms say alike (`mod_nw_src`, `set_field`) is
//! one variant; what reads differently after it was put in (`load` and `set_field`) is two, since
//! a dump gives back what was said.

use serde::{Deserialize, Serialize};

use crate::field::Field;

/// An OpenFlow port number, 32 bits as since OpenFlow 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OfPort(pub u32);

impl OfPort {
    /// Largest number of an ordinary port: Open vSwitch keeps to 16 bits so that OpenFlow 1.0
    /// clients can name every port.
    pub const MAX: Self = Self(0xfeff);
    /// What the action set says of a port before it says one (`actset_output`).
    pub const UNSET: Self = Self(0xffff_fff7);
    /// Back to where the packet came from.
    pub const IN_PORT: Self = Self(0xffff_fff8);
    /// Through the tables (packet-out only).
    pub const TABLE: Self = Self(0xffff_fff9);
    /// As a learning switch forwards.
    pub const NORMAL: Self = Self(0xffff_fffa);
    /// All ports that flood, but not where it came from.
    pub const FLOOD: Self = Self(0xffff_fffb);
    /// All ports but the one where it came from.
    pub const ALL: Self = Self(0xffff_fffc);
    /// To the controller.
    pub const CONTROLLER: Self = Self(0xffff_fffd);
    /// The bridge's own port.
    pub const LOCAL: Self = Self(0xffff_fffe);
    /// No port in particular.
    pub const ANY: Self = Self(0xffff_ffff);
}

/// Some bits of a field: `reg0[4..7]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subfield {
    /// Which field.
    pub field: Field,
    /// Its lowest bit that counts.
    pub offset: u8,
    /// How many bits count, at least 1.
    pub bits: u8,
}

impl Subfield {
    /// All of a field.
    #[must_use]
    pub fn whole(field: Field) -> Self {
        Self {
            field,
            offset: 0,
            bits: field.info().bits,
        }
    }

    /// Whether the bits are within the field and there is at least one.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let end = u16::from(self.offset) + u16::from(self.bits);
        self.bits > 0 && end <= u16::from(self.field.info().bits)
    }

    /// These bits as a mask of the whole field.
    #[must_use]
    pub fn mask(&self) -> u128 {
        let bits = u32::from(self.bits.clamp(1, 128));
        (u128::MAX >> (128 - bits)) << self.offset.min(127)
    }
}

/// Why a packet goes to the controller (`ofp_packet_in_reason`, OpenFlow 1.4 numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// No flow matched.
    NoMatch,
    /// An action said so.
    Action,
    /// The TTL was used up.
    InvalidTtl,
    /// The action set said so (1.4).
    ActionSet,
    /// A group's bucket said so (1.4).
    Group,
    /// A packet-out said so (1.4).
    PacketOut,
}

/// `controller(...)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ToController {
    /// Bytes of the packet to send; 65535 is all of it.
    pub max_len: u16,
    /// Which controller; 0 is any that has not said otherwise.
    pub id: u16,
    /// Why.
    pub reason: Reason,
    /// Bytes that come back with the packet.
    pub userdata: Vec<u8>,
    /// The packet waits for the controller to let it go on.
    pub pause: bool,
    /// Meter that limits such packets.
    pub meter: Option<u32>,
}

impl ToController {
    /// Whole packets to any controller, because an action says so.
    #[must_use]
    pub fn new(max_len: u16) -> Self {
        Self {
            max_len,
            id: 0,
            reason: Reason::Action,
            userdata: Vec::new(),
            pause: false,
            meter: None,
        }
    }

    /// Whether nothing but the length is said, so that it is an output to [`OfPort::CONTROLLER`].
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::new(self.max_len)
    }
}

/// Where `learn` takes bits from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LearnSource {
    /// The packet as it is now.
    Field(Subfield),
    /// The flow itself says them.
    Value(u128),
}

/// One part of what `learn` makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LearnSpec {
    /// The new flow matches these bits.
    Match {
        /// On which value.
        src: LearnSource,
        /// In which field.
        dst: Subfield,
    },
    /// The new flow loads these bits.
    Load {
        /// Which value.
        src: LearnSource,
        /// Into which field.
        dst: Subfield,
    },
    /// The new flow sends to the port that these bits of the packet say.
    Output(Subfield),
}

/// `learn(...)`: adds a flow made from the packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Learn {
    /// Seconds without a packet; 0 is for ever.
    pub idle_timeout: u16,
    /// Seconds to live; 0 is for ever.
    pub hard_timeout: u16,
    /// Idle timeout after a FIN or RST; 0 leaves it.
    pub fin_idle_timeout: u16,
    /// Hard timeout after a FIN or RST; 0 leaves it.
    pub fin_hard_timeout: u16,
    /// The new flow's priority.
    pub priority: u16,
    /// The new flow's cookie.
    pub cookie: u64,
    /// The new flow's table.
    pub table: u8,
    /// The controller wants to hear when the new flow goes.
    pub send_flow_rem: bool,
    /// What was learned goes when this flow goes.
    pub delete_learned: bool,
    /// Most flows with this cookie in the table; 0 is any number.
    pub limit: u32,
    /// Where a 1 is written when a flow was learned or there already, 0 when the limit was reached.
    pub result: Option<Subfield>,
    /// What the new flow matches and does.
    pub specs: Vec<LearnSpec>,
}

/// Algorithms of `multipath` and `bundle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Multilink {
    /// `modulo_n`: hash modulo n.
    ModuloN,
    /// `hash_threshold`: the hash's share of its range.
    HashThreshold,
    /// `hrw`: highest random weight.
    Hrw,
    /// `iter_hash`: hashes until one fits.
    IterHash,
}

/// Which fields `multipath` and `bundle` hash (`nx_hash_fields`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HashFields {
    /// Ethernet source.
    EthSrc,
    /// Layers 2 to 4, the same in both directions.
    SymmetricL4,
    /// Layers 3 and 4, the same in both directions.
    SymmetricL3L4,
    /// The same, with UDP ports.
    SymmetricL3L4Udp,
    /// Network source.
    NetworkSrc,
    /// Network destination.
    NetworkDst,
    /// Network addresses, the same in both directions.
    SymmetricL3,
}

/// `multipath(...)`: a number from a hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Multipath {
    /// What is hashed.
    pub fields: HashFields,
    /// Varies the hash.
    pub basis: u16,
    /// How a number is chosen.
    pub algorithm: Multilink,
    /// Numbers are 0 up to and with this one.
    pub max_link: u16,
    /// The algorithm's argument (`iter_hash`).
    pub arg: u32,
    /// Where the number is written.
    pub dst: Subfield,
}

/// How `bundle` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BundleAlgorithm {
    /// The first that is up.
    ActiveBackup,
    /// Highest random weight among those that are up.
    Hrw,
}

/// `bundle(...)` and `bundle_load(...)`: one of several ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bundle {
    /// What is hashed.
    pub fields: HashFields,
    /// Varies the hash.
    pub basis: u16,
    /// How one is chosen.
    pub algorithm: BundleAlgorithm,
    /// The ports.
    pub members: Vec<OfPort>,
    /// Where the port's number is written; without this the packet is sent to it.
    pub dst: Option<Subfield>,
}

/// The zone of `ct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CtZone {
    /// This one.
    Number(u16),
    /// The one that these bits say.
    Field(Subfield),
}

/// Which address `nat` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NatKind {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// How `nat` chooses ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NatPorts {
    /// As it likes.
    #[default]
    Default,
    /// By a hash of the connection.
    Hash,
    /// By chance.
    Random,
}

/// `nat(...)` within `ct`; `kind` is `None` for what the connection has already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nat {
    /// What is translated, and into which range.
    pub range: Option<NatRange>,
    /// The mapping survives a restart.
    pub persistent: bool,
    /// How ports are chosen.
    pub ports: NatPorts,
}

/// The range of a `nat`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NatRange {
    /// Source or destination.
    pub kind: NatKind,
    /// First and last address; `None` leaves the address.
    pub addresses: Option<(std::net::IpAddr, std::net::IpAddr)>,
    /// First and last port; `None` is any.
    pub ports: Option<(u16, u16)>,
}

/// Helpers of `ct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CtHelper {
    /// `alg=ftp`.
    Ftp,
    /// `alg=tftp`.
    Tftp,
}

/// `ct(...)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ct {
    /// The connection is kept.
    pub commit: bool,
    /// One in the other direction is replaced.
    pub force: bool,
    /// In which zone.
    pub zone: CtZone,
    /// The table in which a copy of the packet goes on.
    pub table: Option<u8>,
    /// The helper that finds related connections.
    pub helper: Option<CtHelper>,
    /// Address translation.
    pub nat: Option<Nat>,
    /// Writes to mark and label: `set_field`, `load` and `move` only.
    pub exec: Vec<Action>,
}

/// `sample(...)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sample {
    /// Share of 65535.
    pub probability: u16,
    /// Set of collectors.
    pub collector_set: u32,
    /// Observation domain.
    pub domain: u32,
    /// Observation point.
    pub point: u32,
    /// The port whose traffic is sampled, if one is named.
    pub port: Option<OfPort>,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Send to a port; reserved ports included. A packet goes back to the port it came by only
    /// when [`OfPort::IN_PORT`] says so.
    Output(OfPort),
    /// Send at most the first `max_len` bytes to a port.
    OutputTruncated {
        /// Where.
        port: OfPort,
        /// How many bytes, at least 14.
        max_len: u32,
    },
    /// Send to the port that the bits say.
    OutputField {
        /// Where the number is.
        src: Subfield,
        /// Bytes for the controller, should it be the controller.
        max_len: u16,
    },
    /// Send to controllers. `output:CONTROLLER` with a length is this with everything else plain.
    Controller(Box<ToController>),
    /// Send by a queue of a port.
    Enqueue {
        /// The port.
        port: OfPort,
        /// The queue.
        queue: u32,
    },
    /// Outputs after this go by a queue.
    SetQueue(u32),
    /// Outputs after this go by the queue there was first.
    PopQueue,
    /// By a group.
    Group(u32),
    /// Write the bits `mask` of a field. A packet without the field stays as it is.
    SetField {
        /// Which field.
        field: Field,
        /// New value, zero outside `mask`.
        value: u128,
        /// Which bits of it.
        mask: u128,
    },
    /// `load`: write some bits of a field.
    Load {
        /// Which bits.
        dst: Subfield,
        /// Their new value.
        value: u128,
    },
    /// Copy bits.
    Move {
        /// From here.
        src: Subfield,
        /// To here; as many.
        dst: Subfield,
    },
    /// `push`: put bits on the stack.
    StackPush(Subfield),
    /// `pop`: take bits from the stack.
    StackPop(Subfield),
    /// `mod_vlan_vid`: set the VLAN of the outer tag, of a new one if there is none (OpenFlow 1.0).
    SetVlanVid(u16),
    /// `mod_vlan_pcp`: set the priority of the outer tag, of a new one if there is none.
    SetVlanPcp(u8),
    /// Push a VLAN tag with this tag protocol (0x8100 or 0x88a8), VLAN 0 or a copy of the outer
    /// tag's TCI.
    PushVlan(u16),
    /// Take the outer VLAN tag off, if there is one.
    PopVlan,
    /// Push an MPLS entry with this Ethernet type (0x8847 or 0x8848).
    PushMpls(u16),
    /// Take the outer MPLS entry off; what is left has this Ethernet type.
    PopMpls(u16),
    /// Push a PBB service tag with this Ethernet type (0x88e7).
    PushPbb(u16),
    /// Take the PBB service tag off.
    PopPbb,
    /// Count the IP TTL down; a packet whose TTL is used up goes to these controllers with
    /// [`Reason::InvalidTtl`], to controller 0 when none is named.
    DecTtl(Vec<u16>),
    /// Count the outer MPLS TTL down.
    DecMplsTtl,
    /// Copy the TTL from the next header to the outer one.
    CopyTtlOut,
    /// Copy the TTL from the outer header to the next one.
    CopyTtlIn,
    /// Look up again, in a table, as if the packet had come by a port.
    Resubmit {
        /// That port; `None` keeps it.
        port: Option<OfPort>,
        /// That table; `None` is this one.
        table: Option<u8>,
        /// Look at the connection's first packet instead.
        ct_tuple: bool,
    },
    /// Do a list of actions to a copy.
    Clone(Vec<Self>),
    /// Add a flow made from the packet.
    Learn(Box<Learn>),
    /// This flow is one clause of a conjunction; it has no other action but notes.
    Conjunction {
        /// Which conjunction.
        id: u32,
        /// Which clause, from 0.
        clause: u8,
        /// How many clauses it has.
        clauses: u8,
    },
    /// Bytes that mean nothing to the switch.
    Note(Vec<u8>),
    /// End this packet's way through the tables.
    Exit,
    /// A number from a hash.
    Multipath(Box<Multipath>),
    /// One of several ports.
    Bundle(Box<Bundle>),
    /// Write whether the packet is larger.
    CheckPktLarger {
        /// Than so many bytes.
        len: u16,
        /// Where the bit is written.
        dst: Subfield,
    },
    /// Shorten this flow's life when a FIN or RST passes.
    FinTimeout {
        /// New idle timeout, seconds; 0 leaves it.
        idle: u16,
        /// New hard timeout, seconds; 0 leaves it.
        hard: u16,
    },
    /// Track the packet's connection.
    Ct(Box<Ct>),
    /// Forget what connection tracking said.
    CtClear,
    /// Pass a meter, which may drop the packet or mark it (OpenFlow 1.5; an instruction before,
    /// [`crate::Instructions::meter`], which is also what stands for one that comes first).
    Meter(u32),
    /// Sample for flow export.
    Sample(Box<Sample>),
    /// Set a field that has no value of its own to none.
    DeleteField(Field),
}

/// What a flow does with a packet, in this order (OpenFlow 1.3.5 §5.9). Nothing at all means drop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Instructions {
    /// First, a meter.
    pub meter: Option<u32>,
    /// Then these actions.
    pub apply: Box<[Action]>,
    /// Then the action set is emptied.
    pub clear: bool,
    /// Then these join the action set.
    pub write: Box<[Action]>,
    /// Then bits of the metadata are written: value and mask.
    pub metadata: Option<(u64, u64)>,
    /// Then a later table goes on.
    pub goto: Option<u8>,
}

impl Instructions {
    /// Only actions.
    #[must_use]
    pub fn apply(actions: impl Into<Box<[Action]>>) -> Self {
        Self {
            apply: actions.into(),
            ..Self::default()
        }
    }

    /// Whether packets are dropped.
    #[must_use]
    pub fn is_drop(&self) -> bool {
        *self == Self::default()
    }
}

impl From<Vec<Action>> for Instructions {
    fn from(actions: Vec<Action>) -> Self {
        Self::apply(actions)
    }
}
