//! The whole wanted state of a datapath, as plain data.

use serde::{Deserialize, Serialize};
use vswitch_flow::OfPort;

use crate::router::{RouterPortSpec, RouterSpec};
use crate::tunnel::TunnelSpec;

/// A bridge's number, chosen by `vswitchd` and never used again for another bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BridgeId(pub u32);

impl BridgeId {
    /// What a port has instead that is on no bridge: an uplink or a socket.
    pub const NONE: Self = Self(u32::MAX);
}

/// A port's number, unique over all bridges, chosen by `vswitchd` and small: the datapath indexes
/// arrays with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortId(pub u32);

impl PortId {
    /// Largest number that the datapath takes.
    pub const MAX: Self = Self(65_535);
}

/// Everything that should be, except flows, which are sent bridge by bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// All bridges.
    pub bridges: Vec<BridgeSpec>,
    /// All ports of all bridges.
    pub ports: Vec<PortSpec>,
    /// All routers.
    pub routers: Vec<RouterSpec>,
}

/// What a bridge does without a controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailMode {
    /// Forwards like a learning switch.
    #[default]
    Standalone,
    /// Forwards what flows say, and starts with none.
    Secure,
}

/// A bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeSpec {
    /// Its number.
    pub id: BridgeId,
    /// Its name, for traces and dumps.
    pub name: String,
    /// Most MAC addresses that are learned.
    pub mac_table_size: u32,
    /// Seconds after which an unused MAC address is forgotten.
    pub mac_aging_time: u32,
    /// Mirrors of the bridge.
    pub mirrors: Vec<MirrorSpec>,
    /// Tables with a limit.
    pub flow_limits: Vec<FlowLimit>,
    /// Packets that no flow matches go to controllers, since one speaks OpenFlow 1.0, 1.1 or 1.2.
    pub miss_to_controller: bool,
    /// What flows see of fragments.
    pub fragments: Fragments,
}

/// What flows see of IP fragments (`ofp_config_flags`, OpenFlow 1.3.5 §7.3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fragments {
    /// As packets without a transport header: their ports, or type and code, are 0.
    #[default]
    Normal,
    /// Nothing: they are dropped before a flow table is looked at.
    Drop,
    /// Of the first fragment the transport header that it has (an extension of Nicira).
    NxMatch,
}

/// How many flows a table takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLimit {
    /// Which table.
    pub table: u8,
    /// Most flows.
    pub len: u32,
    /// A further flow takes the place of the least important one instead of being refused.
    pub evict: bool,
}

/// A mirror: copies of selected packets, as in Open vSwitch's `Mirror` table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorSpec {
    /// Its name.
    pub name: String,
    /// Selects every packet, whatever the other selections say.
    pub select_all: bool,
    /// Packets that come in by these ports.
    pub select_src: Vec<PortId>,
    /// Packets that go out by these ports.
    pub select_dst: Vec<PortId>,
    /// Only these VLANs; empty means any.
    pub select_vlan: Vec<u16>,
    /// Where copies go.
    pub output_port: Option<PortId>,
    /// VLAN that copies are flooded into, when there is no output port.
    pub output_vlan: Option<u16>,
}

/// How a port takes part in VLANs (`vlan_mode` of Open vSwitch's `Port` table).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VlanMode {
    /// Untagged member of one VLAN.
    Access,
    /// Tagged member of its trunks.
    #[default]
    Trunk,
    /// A trunk whose native VLAN leaves tagged.
    NativeTagged,
    /// A trunk whose native VLAN leaves untagged.
    NativeUntagged,
}

/// VLAN membership of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VlanSpec {
    /// How.
    pub mode: VlanMode,
    /// Access or native VLAN; 0 is the VLAN of untagged traffic.
    pub tag: u16,
    /// VLANs of a trunk; empty means all.
    pub trunks: Vec<u16>,
}

/// The kinds of port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortKind {
    /// AF_XDP sockets on a device.
    Afxdp,
    /// A TAP whose other end is in a sandbox.
    Tap,
    /// A packet socket on a device.
    Packet,
    /// A TAP left in the host's namespace.
    Internal,
    /// A wire to a patch port of another bridge, which may come later.
    Patch {
        /// The other end.
        peer: Option<PortId>,
    },
    /// Takes and loses everything.
    Null,
    /// Plays a capture file in, writes what goes out to another.
    Pcap,
    /// A tunnel. It has no device: its packets go and come by other ports.
    Tunnel(Box<TunnelSpec>),
    /// AF_XDP sockets on a device that the host goes on using: only tunnelled packets, and what
    /// else is asked for, come here. It is on no bridge.
    Uplink,
    /// A UDP socket of the host for tunnelled packets. It is on no bridge.
    Socket,
    /// A router's: what goes out is routed.
    Router(Box<RouterPortSpec>),
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Its number in the datapath.
    pub id: PortId,
    /// The bridge it is on, or [`BridgeId::NONE`].
    pub bridge: BridgeId,
    /// Its name.
    pub name: String,
    /// Its OpenFlow number on the bridge.
    pub of_port: OfPort,
    /// Its kind.
    pub kind: PortKind,
    /// Its VLANs.
    pub vlan: VlanSpec,
    /// Largest layer-3 packet it takes, bytes.
    pub mtu: u32,
    /// Whether the device's link is up as far as `vswitchd` sees.
    pub up: bool,
    /// What an OpenFlow peer has forbidden it.
    pub config: PortConfig,
}

/// What an OpenFlow peer has forbidden a port (`ofp_port_config`, OpenFlow 1.3.5 §7.2.1; the flood
/// and STP bits are of 1.0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortConfig {
    /// Everything: the port is down.
    pub down: bool,
    /// Packets that come in are dropped.
    pub no_recv: bool,
    /// Spanning tree packets that come in are dropped.
    pub no_recv_stp: bool,
    /// `flood` leaves it out.
    pub no_flood: bool,
    /// Packets that go out are dropped.
    pub no_fwd: bool,
    /// Packets that come in and match nothing are not sent to a controller.
    pub no_packet_in: bool,
}

/// How an AF_XDP port works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum XskMode {
    /// The driver's XDP with its buffers as our frames.
    ZeroCopy,
    /// The driver's XDP with a copy.
    Native,
    /// The kernel's generic XDP.
    Generic,
}

/// What the descriptors of an `Attach` are. `vswitchd` made and configured them; the datapath
/// needs no privilege to use them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attachment {
    /// One TAP descriptor for each queue.
    Tap {
        /// The offloads that the kernel has on it (`TUN_F_*` bits of `TUNSETOFFLOAD`).
        offloads: u32,
    },
    /// A packet socket, then the link that keeps the host's stack off its frames.
    Packet {
        /// Device number in its namespace.
        ifindex: u32,
    },
    /// One AF_XDP socket for each queue, then the XSKMAP, then the program's link, then, of an
    /// uplink, the table of what is ours.
    Xsk {
        /// Device number in its namespace.
        ifindex: u32,
        /// How the program is attached.
        mode: XskMode,
        /// The driver takes packets of several buffers with zero-copy.
        multi_buffer: bool,
        /// The other end is a stack on this host: partial checksums may come and go.
        local: bool,
        /// The device is shared with the host, and there is a table.
        steered: bool,
    },
    /// For each queue its UDP sockets: those that receive, then those that only send.
    Socket {
        /// How many queues.
        queues: u16,
        /// How many sockets of a queue receive.
        receivers: u16,
        /// How many sockets of a queue only send.
        senders: u16,
    },
    /// The file to play, when there is one, then the file to write, when there is one.
    Pcap {
        /// A descriptor to play from comes first.
        replay: bool,
        /// A descriptor to write to comes last.
        capture: bool,
        /// Keep the file's own pace; else as fast as it is taken.
        paced: bool,
        /// Start again at the end of the file.
        repeat: bool,
    },
    /// Nothing: null and patch ports.
    None,
}
