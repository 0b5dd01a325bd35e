//! The one table of match fields.
//!
//! A row gives a field's name, its place in the flow key, how wide it is, whether it may be masked
//! and written, what a packet must be for the field to exist, how its value is spelled, and its
//! OXM and NXM codes. Parsing, printing, the wire codec, the extractor's tests and `set_field` all
//! read this table; none has a list of its own. A row added here shows up in all of them.
//!
//! Several fields may share bits: an ARP packet's addresses lie where IPv4 addresses lie, and an
//! ICMP type where a source port lies. Prerequisites keep them apart, as in Open vSwitch
//! (`include/openvswitch/meta-flow.h`), whose names are used.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::FlowKey;

/// How a value is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A decimal number.
    Decimal,
    /// A hexadecimal number with `0x`.
    Hex,
    /// `aa:bb:cc:dd:ee:ff`.
    Mac,
    /// Dotted quad.
    Ipv4,
    /// RFC 5952 text.
    Ipv6,
    /// An OpenFlow port number or the name of a reserved port.
    Port,
    /// `no`, `yes`, `first`, `later`, `not_later`.
    Frag,
    /// `syn|ack` or `+syn-ack`.
    TcpFlags,
    /// `+new-est` or `new|trk`.
    CtState,
    /// `oam`, `+oam`.
    TunFlags,
    /// Kinds of IPv6 extension headers (OpenFlow 1.3.5 §7.2.3.8), `+dest-esp` or a number.
    ExtHeaders,
}

/// What a packet must be for a field to be there (OpenFlow 1.3.5 §7.2.3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prerequisite {
    /// Every packet has it.
    None,
    /// A VLAN tag is present.
    Vlan,
    /// `eth_type` is an MPLS one.
    Mpls,
    /// ARP or RARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// IPv4 or IPv6.
    Ip,
    /// TCP over either family.
    Tcp,
    /// UDP over either family.
    Udp,
    /// SCTP over either family.
    Sctp,
    /// ICMP over IPv4.
    Icmp4,
    /// ICMP over IPv6.
    Icmp6,
    /// Neighbour solicitation or advertisement.
    Nd,
    /// Neighbour solicitation.
    NdSolicit,
    /// Neighbour advertisement.
    NdAdvert,
    /// A provider backbone service tag (`eth_type` 0x88e7).
    Pbb,
    /// Connection tracking has looked at the packet.
    Ct,
    /// The same, and the connection is one of IPv4.
    Ct4,
    /// The same, and the connection is one of IPv6.
    Ct6,
}

/// A code of an OXM or NXM header: class and field number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oxm {
    /// `0x8000` is OpenFlow basic, `0x8001` its packet registers, `0x0000` and `0x0001` are Nicira's,
    /// `0xffff` is the experimenter class, here always that of the ONF (0x4f4e4600).
    pub class: u16,
    /// The number in the class; of 7 bits.
    pub field: u8,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct FieldInfo {
    /// Which field.
    pub field: Field,
    /// The name that is printed.
    pub name: &'static str,
    /// Other names that are understood.
    pub aliases: &'static [&'static str],
    /// First word of the key that holds it. Words from [`crate::PACKET_WORDS`] on are the pipeline's
    /// own: they are zero when a packet comes in, whatever packet it is.
    pub word: u8,
    /// Bits between the word's lowest bit and the field's. 128-bit fields take two whole words.
    pub shift: u8,
    /// Width in bits.
    pub bits: u8,
    /// Any mask is allowed; else the field is matched whole or not at all.
    pub maskable: bool,
    /// `set_field` may write it.
    pub writable: bool,
    /// How values are spelled.
    pub format: Format,
    /// When the field exists.
    pub prerequisite: Prerequisite,
    /// Standard OpenFlow code.
    pub oxm: Option<Oxm>,
    /// Nicira code, for OpenFlow 1.0 clients.
    pub nxm: Option<Oxm>,
}

macro_rules! oxm {
    (-) => {
        None
    };
    ($class:literal : $field:literal) => {
        Some(Oxm {
            class: $class,
            field: $field,
        })
    };
}

macro_rules! yes {
    (mask) => {
        true
    };
    (whole) => {
        false
    };
    (rw) => {
        true
    };
    (ro) => {
        false
    };
}

macro_rules! fields {
    ($( #[doc = $doc:literal] $id:ident $name:literal $aliases:tt
        at $word:literal : $shift:literal bits $bits:literal $mask:ident $write:ident
        $format:ident $prerequisite:ident
        oxm [$($oxm:tt)*] nxm [$($nxm:tt)*]; )*) => {
        /// A match field.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Field {
            $( #[doc = $doc] $id, )*
        }

        /// The table, in the order of [`Field`].
        pub static FIELDS: &[FieldInfo] = &[
            $( FieldInfo {
                field: Field::$id,
                name: $name,
                aliases: &$aliases,
                word: $word,
                shift: $shift,
                bits: $bits,
                maskable: yes!($mask),
                writable: yes!($write),
                format: Format::$format,
                prerequisite: Prerequisite::$prerequisite,
                oxm: oxm!($($oxm)*),
                nxm: oxm!($($nxm)*),
            }, )*
        ];
    };
}

fields! {
    #[doc = "OpenFlow number of the port the packet came in by."]
    InPort "in_port" ["in_port_oxm"] at 0:32 bits 32 whole rw Port None oxm [0x8000:0] nxm [0x0000:0];
    #[doc = "Number of a recirculation; 0 for a packet from a port."]
    RecircId "recirc_id" [] at 0:0 bits 32 whole ro Hex None oxm [-] nxm [0x0001:36];
    #[doc = "Service identifier of a provider backbone tag (I-SID)."]
    PbbIsid "pbb_isid" [] at 1:40 bits 24 mask rw Hex Pbb oxm [0x8000:37] nxm [-];
    #[doc = "Which IPv6 extension headers there are, and whether their order is the recommended one."]
    Ipv6ExtHeaders "ipv6_exthdr" [] at 1:24 bits 9 mask ro ExtHeaders Ipv6 oxm [0x8000:39] nxm [-];
    #[doc = "Ethernet destination."]
    EthDst "dl_dst" ["eth_dst"] at 2:16 bits 48 mask rw Mac None oxm [0x8000:3] nxm [0x0000:1];
    #[doc = "Ethernet type of what follows the VLAN tags; 0x05ff for 802.2 frames without one."]
    EthType "dl_type" ["eth_type"] at 2:0 bits 16 whole rw Hex None oxm [0x8000:5] nxm [0x0000:3];
    #[doc = "Ethernet source."]
    EthSrc "dl_src" ["eth_src"] at 3:16 bits 48 mask rw Mac None oxm [0x8000:4] nxm [0x0000:2];
    #[doc = "ARP operation."]
    ArpOp "arp_op" [] at 3:0 bits 16 whole rw Decimal Arp oxm [0x8000:21] nxm [0x0000:15];
    #[doc = "TCI of the outer tag with bit 12 set; 0 without a tag."]
    VlanTci "vlan_tci" [] at 4:32 bits 16 mask rw Hex None oxm [-] nxm [0x0000:4];
    #[doc = "VLAN identifier with bit 12 (present) as in OpenFlow 1.2+."]
    VlanVid "vlan_vid" [] at 4:32 bits 13 mask rw Hex None oxm [0x8000:6] nxm [-];
    #[doc = "Priority of the outer tag."]
    VlanPcp "dl_vlan_pcp" ["vlan_pcp"] at 4:45 bits 3 whole rw Decimal Vlan oxm [0x8000:7] nxm [-];
    #[doc = "Tag protocol of the outer tag."]
    VlanTpid "vlan_tpid" [] at 4:48 bits 16 whole ro Hex Vlan oxm [-] nxm [-];
    #[doc = "TCI of the second tag with bit 12 set; 0 without one."]
    InnerVlanTci "inner_vlan_tci" [] at 4:0 bits 16 mask ro Hex Vlan oxm [-] nxm [-];
    #[doc = "Tag protocol of the second tag."]
    InnerVlanTpid "inner_vlan_tpid" [] at 4:16 bits 16 whole ro Hex Vlan oxm [-] nxm [-];
    #[doc = "IPv4 source."]
    Ipv4Src "nw_src" ["ip_src", "ipv4_src"] at 5:32 bits 32 mask rw Ipv4 Ipv4 oxm [0x8000:11] nxm [0x0000:7];
    #[doc = "IPv4 destination."]
    Ipv4Dst "nw_dst" ["ip_dst", "ipv4_dst"] at 5:0 bits 32 mask rw Ipv4 Ipv4 oxm [0x8000:12] nxm [0x0000:8];
    #[doc = "ARP sender protocol address."]
    ArpSpa "arp_spa" [] at 5:32 bits 32 mask rw Ipv4 Arp oxm [0x8000:22] nxm [0x0000:16];
    #[doc = "ARP target protocol address."]
    ArpTpa "arp_tpa" [] at 5:0 bits 32 mask rw Ipv4 Arp oxm [0x8000:23] nxm [0x0000:17];
    #[doc = "IPv6 source."]
    Ipv6Src "ipv6_src" [] at 6:0 bits 128 mask rw Ipv6 Ipv6 oxm [0x8000:26] nxm [0x0001:19];
    #[doc = "IPv6 destination."]
    Ipv6Dst "ipv6_dst" [] at 8:0 bits 128 mask rw Ipv6 Ipv6 oxm [0x8000:27] nxm [0x0001:20];
    #[doc = "IPv6 flow label."]
    Ipv6Label "ipv6_label" ["ipv6_flabel"] at 10:0 bits 20 mask rw Hex Ipv6 oxm [0x8000:28] nxm [0x0001:27];
    #[doc = "IP protocol, after IPv6 extension headers."]
    IpProto "nw_proto" ["ip_proto"] at 10:56 bits 8 whole rw Decimal Ip oxm [0x8000:10] nxm [0x0000:6];
    #[doc = "The DSCP bits in place, ECN bits zero."]
    IpTos "nw_tos" [] at 10:48 bits 8 whole rw Decimal Ip oxm [-] nxm [0x0000:5];
    #[doc = "DSCP as a 6-bit number."]
    IpDscp "ip_dscp" [] at 10:50 bits 6 whole rw Decimal Ip oxm [0x8000:8] nxm [-];
    #[doc = "ECN."]
    IpEcn "nw_ecn" ["ip_ecn"] at 10:48 bits 2 whole rw Decimal Ip oxm [0x8000:9] nxm [0x0001:28];
    #[doc = "TTL or hop limit."]
    IpTtl "nw_ttl" [] at 10:40 bits 8 whole rw Decimal Ip oxm [-] nxm [0x0001:29];
    #[doc = "Bit 0: a fragment; bit 1: not the first."]
    IpFrag "ip_frag" ["nw_frag"] at 10:32 bits 2 mask ro Frag Ip oxm [-] nxm [0x0001:26];
    #[doc = "TCP source port."]
    TcpSrc "tcp_src" [] at 11:48 bits 16 mask rw Decimal Tcp oxm [0x8000:13] nxm [0x0000:9];
    #[doc = "TCP destination port."]
    TcpDst "tcp_dst" [] at 11:32 bits 16 mask rw Decimal Tcp oxm [0x8000:14] nxm [0x0000:10];
    #[doc = "TCP flags, 12 bits."]
    TcpFlags "tcp_flags" [] at 11:16 bits 12 mask ro TcpFlags Tcp oxm [0xffff:42] nxm [0x0001:34];
    #[doc = "UDP source port."]
    UdpSrc "udp_src" [] at 11:48 bits 16 mask rw Decimal Udp oxm [0x8000:15] nxm [0x0000:11];
    #[doc = "UDP destination port."]
    UdpDst "udp_dst" [] at 11:32 bits 16 mask rw Decimal Udp oxm [0x8000:16] nxm [0x0000:12];
    #[doc = "SCTP source port."]
    SctpSrc "sctp_src" [] at 11:48 bits 16 mask rw Decimal Sctp oxm [0x8000:17] nxm [-];
    #[doc = "SCTP destination port."]
    SctpDst "sctp_dst" [] at 11:32 bits 16 mask rw Decimal Sctp oxm [0x8000:18] nxm [-];
    #[doc = "ICMP type."]
    IcmpType "icmp_type" ["icmpv4_type"] at 11:48 bits 8 whole rw Decimal Icmp4 oxm [0x8000:19] nxm [0x0000:13];
    #[doc = "ICMP code."]
    IcmpCode "icmp_code" ["icmpv4_code"] at 11:32 bits 8 whole rw Decimal Icmp4 oxm [0x8000:20] nxm [0x0000:14];
    #[doc = "ICMPv6 type."]
    Icmp6Type "icmpv6_type" [] at 11:48 bits 8 whole rw Decimal Icmp6 oxm [0x8000:29] nxm [0x0001:21];
    #[doc = "ICMPv6 code."]
    Icmp6Code "icmpv6_code" [] at 11:32 bits 8 whole rw Decimal Icmp6 oxm [0x8000:30] nxm [0x0001:22];
    #[doc = "ARP sender hardware address."]
    ArpSha "arp_sha" [] at 12:16 bits 48 mask rw Mac Arp oxm [0x8000:24] nxm [0x0001:17];
    #[doc = "ARP target hardware address."]
    ArpTha "arp_tha" [] at 13:16 bits 48 mask rw Mac Arp oxm [0x8000:25] nxm [0x0001:18];
    #[doc = "Source link-layer option of a neighbour solicitation."]
    NdSll "nd_sll" ["ipv6_nd_sll"] at 12:16 bits 48 mask rw Mac NdSolicit oxm [0x8000:32] nxm [0x0001:24];
    #[doc = "Target link-layer option of a neighbour advertisement."]
    NdTll "nd_tll" ["ipv6_nd_tll"] at 13:16 bits 48 mask rw Mac NdAdvert oxm [0x8000:33] nxm [0x0001:25];
    #[doc = "Target of a neighbour solicitation or advertisement."]
    NdTarget "nd_target" ["ipv6_nd_target"] at 14:0 bits 128 mask rw Ipv6 Nd oxm [0x8000:31] nxm [0x0001:23];
    #[doc = "Label of the outermost MPLS entry."]
    MplsLabel "mpls_label" [] at 16:44 bits 20 whole rw Decimal Mpls oxm [0x8000:34] nxm [-];
    #[doc = "Traffic class of the outermost MPLS entry."]
    MplsTc "mpls_tc" [] at 16:41 bits 3 whole rw Decimal Mpls oxm [0x8000:35] nxm [-];
    #[doc = "Bottom-of-stack bit of the outermost MPLS entry."]
    MplsBos "mpls_bos" [] at 16:40 bits 1 whole rw Decimal Mpls oxm [0x8000:36] nxm [-];
    #[doc = "TTL of the outermost MPLS entry."]
    MplsTtl "mpls_ttl" [] at 16:32 bits 8 whole rw Decimal Mpls oxm [-] nxm [0x0001:30];
    #[doc = "The second MPLS entry, whole; 0 without one."]
    MplsLse1 "mpls_lse1" [] at 16:0 bits 32 whole ro Hex Mpls oxm [-] nxm [-];
    #[doc = "The third MPLS entry, whole; 0 without one."]
    MplsLse2 "mpls_lse2" [] at 17:32 bits 32 whole ro Hex Mpls oxm [-] nxm [-];
    #[doc = "Key of the tunnel by which the packet came, or will leave."]
    TunId "tun_id" ["tunnel_id"] at 18:0 bits 64 mask rw Hex None oxm [0x8000:38] nxm [0x0001:16];
    #[doc = "Outer IPv4 source of a tunnelled packet."]
    TunSrc "tun_src" [] at 19:32 bits 32 mask rw Ipv4 None oxm [-] nxm [0x0001:31];
    #[doc = "Outer IPv4 destination of a tunnelled packet."]
    TunDst "tun_dst" [] at 19:0 bits 32 mask rw Ipv4 None oxm [-] nxm [0x0001:32];
    #[doc = "Outer IPv6 source of a tunnelled packet."]
    TunIpv6Src "tun_ipv6_src" [] at 20:0 bits 128 mask rw Ipv6 None oxm [-] nxm [0x0001:109];
    #[doc = "Outer IPv6 destination of a tunnelled packet."]
    TunIpv6Dst "tun_ipv6_dst" [] at 22:0 bits 128 mask rw Ipv6 None oxm [-] nxm [0x0001:110];
    #[doc = "Flags of the tunnel header."]
    TunFlags "tun_flags" [] at 24:48 bits 16 mask rw TunFlags None oxm [-] nxm [0x0001:104];
    #[doc = "Outer TOS of a tunnelled packet."]
    TunTos "tun_tos" [] at 24:40 bits 8 whole ro Decimal None oxm [-] nxm [-];
    #[doc = "Outer TTL of a tunnelled packet."]
    TunTtl "tun_ttl" [] at 24:32 bits 8 whole ro Decimal None oxm [-] nxm [-];
    #[doc = "VXLAN group policy identifier."]
    TunGbpId "tun_gbp_id" [] at 24:16 bits 16 mask rw Decimal None oxm [-] nxm [0x0001:38];
    #[doc = "VXLAN group policy flags."]
    TunGbpFlags "tun_gbp_flags" [] at 24:8 bits 8 mask rw Hex None oxm [-] nxm [0x0001:39];
    #[doc = "State of the packet's connection."]
    CtState "ct_state" [] at 25:32 bits 32 mask ro CtState None oxm [-] nxm [0x0001:105];
    #[doc = "Zone in which the connection is tracked."]
    CtZone "ct_zone" [] at 25:16 bits 16 whole ro Decimal None oxm [-] nxm [0x0001:106];
    #[doc = "IP protocol of the connection's first packet."]
    CtProto "ct_nw_proto" [] at 25:8 bits 8 whole ro Decimal Ct oxm [-] nxm [0x0001:119];
    #[doc = "Mark of the connection."]
    CtMark "ct_mark" [] at 26:32 bits 32 mask rw Hex None oxm [-] nxm [0x0001:107];
    #[doc = "Source port of the connection's first packet."]
    CtTpSrc "ct_tp_src" [] at 26:16 bits 16 mask ro Decimal Ct oxm [-] nxm [0x0001:124];
    #[doc = "Destination port of the connection's first packet."]
    CtTpDst "ct_tp_dst" [] at 26:0 bits 16 mask ro Decimal Ct oxm [-] nxm [0x0001:125];
    #[doc = "Label of the connection."]
    CtLabel "ct_label" [] at 27:0 bits 128 mask rw Hex None oxm [-] nxm [0x0001:108];
    #[doc = "IPv4 source of the connection's first packet."]
    CtIpv4Src "ct_nw_src" [] at 29:32 bits 32 mask ro Ipv4 Ct4 oxm [-] nxm [0x0001:120];
    #[doc = "IPv4 destination of the connection's first packet."]
    CtIpv4Dst "ct_nw_dst" [] at 29:0 bits 32 mask ro Ipv4 Ct4 oxm [-] nxm [0x0001:121];
    #[doc = "IPv6 source of the connection's first packet."]
    CtIpv6Src "ct_ipv6_src" [] at 29:0 bits 128 mask ro Ipv6 Ct6 oxm [-] nxm [0x0001:122];
    #[doc = "IPv6 destination of the connection's first packet."]
    CtIpv6Dst "ct_ipv6_dst" [] at 31:0 bits 128 mask ro Ipv6 Ct6 oxm [-] nxm [0x0001:123];
    #[doc = "The pipeline's 64 bits of metadata."]
    Metadata "metadata" [] at 33:0 bits 64 mask rw Hex None oxm [0x8000:2] nxm [-];
    #[doc = "Register 0."]
    Reg0 "reg0" [] at 34:32 bits 32 mask rw Hex None oxm [-] nxm [0x0001:0];
    #[doc = "Register 1."]
    Reg1 "reg1" [] at 34:0 bits 32 mask rw Hex None oxm [-] nxm [0x0001:1];
    #[doc = "Register 2."]
    Reg2 "reg2" [] at 35:32 bits 32 mask rw Hex None oxm [-] nxm [0x0001:2];
    #[doc = "Register 3."]
    Reg3 "reg3" [] at 35:0 bits 32 mask rw Hex None oxm [-] nxm [0x0001:3];
    #[doc = "Register 4."]
    Reg4 "reg4" [] at 36:32 bits 32 mask rw Hex None oxm [-] nxm [0x0001:4];
    #[doc = "Register 5."]
    Reg5 "reg5" [] at 36:0 bits 32 mask rw Hex None oxm [-] nxm [0x0001:5];
    #[doc = "Register 6."]
    Reg6 "reg6" [] at 37:32 bits 32 mask rw Hex None oxm [-] nxm [0x0001:6];
    #[doc = "Register 7."]
    Reg7 "reg7" [] at 37:0 bits 32 mask rw Hex None oxm [-] nxm [0x0001:7];
    #[doc = "Register 8."]
    Reg8 "reg8" [] at 38:32 bits 32 mask rw Hex None oxm [-] nxm [0x0001:8];
    #[doc = "Register 9."]
    Reg9 "reg9" [] at 38:0 bits 32 mask rw Hex None oxm [-] nxm [0x0001:9];
    #[doc = "Register 10."]
    Reg10 "reg10" [] at 39:32 bits 32 mask rw Hex None oxm [-] nxm [0x0001:10];
    #[doc = "Register 11."]
    Reg11 "reg11" [] at 39:0 bits 32 mask rw Hex None oxm [-] nxm [0x0001:11];
    #[doc = "Register 12."]
    Reg12 "reg12" [] at 40:32 bits 32 mask rw Hex None oxm [-] nxm [0x0001:12];
    #[doc = "Register 13."]
    Reg13 "reg13" [] at 40:0 bits 32 mask rw Hex None oxm [-] nxm [0x0001:13];
    #[doc = "Register 14."]
    Reg14 "reg14" [] at 41:32 bits 32 mask rw Hex None oxm [-] nxm [0x0001:14];
    #[doc = "Register 15."]
    Reg15 "reg15" [] at 41:0 bits 32 mask rw Hex None oxm [-] nxm [0x0001:15];
    #[doc = "Registers 0 (high) and 1 as one."]
    Xreg0 "xreg0" [] at 34:0 bits 64 mask rw Hex None oxm [0x8001:0] nxm [-];
    #[doc = "Registers 2 (high) and 3 as one."]
    Xreg1 "xreg1" [] at 35:0 bits 64 mask rw Hex None oxm [0x8001:1] nxm [-];
    #[doc = "Registers 4 (high) and 5 as one."]
    Xreg2 "xreg2" [] at 36:0 bits 64 mask rw Hex None oxm [0x8001:2] nxm [-];
    #[doc = "Registers 6 (high) and 7 as one."]
    Xreg3 "xreg3" [] at 37:0 bits 64 mask rw Hex None oxm [0x8001:3] nxm [-];
    #[doc = "Registers 8 (high) and 9 as one."]
    Xreg4 "xreg4" [] at 38:0 bits 64 mask rw Hex None oxm [0x8001:4] nxm [-];
    #[doc = "Registers 10 (high) and 11 as one."]
    Xreg5 "xreg5" [] at 39:0 bits 64 mask rw Hex None oxm [0x8001:5] nxm [-];
    #[doc = "Registers 12 (high) and 13 as one."]
    Xreg6 "xreg6" [] at 40:0 bits 64 mask rw Hex None oxm [0x8001:6] nxm [-];
    #[doc = "Registers 14 (high) and 15 as one."]
    Xreg7 "xreg7" [] at 41:0 bits 64 mask rw Hex None oxm [0x8001:7] nxm [-];
    #[doc = "Registers 0 (highest) to 3 as one."]
    Xxreg0 "xxreg0" [] at 34:0 bits 128 mask rw Hex None oxm [-] nxm [0x0001:111];
    #[doc = "Registers 4 (highest) to 7 as one."]
    Xxreg1 "xxreg1" [] at 36:0 bits 128 mask rw Hex None oxm [-] nxm [0x0001:112];
    #[doc = "Registers 8 (highest) to 11 as one."]
    Xxreg2 "xxreg2" [] at 38:0 bits 128 mask rw Hex None oxm [-] nxm [0x0001:113];
    #[doc = "Registers 12 (highest) to 15 as one."]
    Xxreg3 "xxreg3" [] at 40:0 bits 128 mask rw Hex None oxm [-] nxm [0x0001:114];
    #[doc = "The host's mark of the packet."]
    PktMark "pkt_mark" [] at 42:32 bits 32 mask rw Hex None oxm [-] nxm [0x0001:33];
    #[doc = "The conjunction that came true."]
    ConjId "conj_id" [] at 42:0 bits 32 whole ro Decimal None oxm [-] nxm [0x0001:37];
    #[doc = "Where the action set would send the packet."]
    ActsetOutput "actset_output" [] at 43:32 bits 32 whole ro Port None oxm [0xffff:43] nxm [-];
    #[doc = "Hash that selects among a group's buckets."]
    DpHash "dp_hash" [] at 43:0 bits 32 mask ro Hex None oxm [-] nxm [0x0001:35];
}

impl Field {
    /// The field's row.
    #[inline]
    #[must_use]
    pub fn info(self) -> &'static FieldInfo {
        &FIELDS[self as usize]
    }

    /// The field of that name or alias, as Open vSwitch spells it.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        FIELDS
            .iter()
            .find(|row| row.name == name || row.aliases.contains(&name))
            .map(|row| row.field)
    }

    /// All fields, in table order.
    pub fn all() -> impl Iterator<Item = Self> {
        FIELDS.iter().map(|row| row.field)
    }
}

impl FieldInfo {
    /// The largest value: all of the field's bits set.
    #[inline]
    #[must_use]
    pub fn max(&self) -> u128 {
        u128::MAX >> (128 - u32::from(self.bits))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().name)
    }
}

/// Ethernet types and IP protocols that prerequisites name.
mod number {
    pub(super) const ETH_IPV4: u128 = 0x0800;
    pub(super) const ETH_ARP: u128 = 0x0806;
    pub(super) const ETH_RARP: u128 = 0x8035;
    pub(super) const ETH_IPV6: u128 = 0x86dd;
    pub(super) const ETH_MPLS: u128 = 0x8847;
    pub(super) const ETH_MPLS_MULTICAST: u128 = 0x8848;
    pub(super) const IP_ICMP: u128 = 1;
    pub(super) const IP_TCP: u128 = 6;
    pub(super) const IP_UDP: u128 = 17;
    pub(super) const IP_ICMPV6: u128 = 58;
    pub(super) const IP_SCTP: u128 = 132;
    pub(super) const ND_SOLICIT: u128 = 135;
    pub(super) const ND_ADVERT: u128 = 136;
    pub(super) const ETH_PBB: u128 = 0x88e7;
    pub(super) const CT_TRACKED: u128 = 0x20;
}

impl Prerequisite {
    /// The fields that decide whether the prerequisite holds; what reads a field also reads these,
    /// so they belong into a cached answer's mask (decision 11).
    #[must_use]
    pub fn fields(self) -> &'static [Field] {
        use Field::{CtState, EthType, Icmp6Type, IpProto, VlanTci};
        match self {
            Self::None => &[],
            Self::Vlan => &[VlanTci],
            Self::Mpls | Self::Arp | Self::Ipv4 | Self::Ipv6 | Self::Ip | Self::Pbb => &[EthType],
            Self::Tcp | Self::Udp | Self::Sctp | Self::Icmp4 | Self::Icmp6 => &[EthType, IpProto],
            Self::Nd | Self::NdSolicit | Self::NdAdvert => &[EthType, IpProto, Icmp6Type],
            Self::Ct => &[CtState],
            Self::Ct4 | Self::Ct6 => &[EthType, CtState],
        }
    }

    /// Whether a packet with this key meets the prerequisite.
    #[must_use]
    pub fn holds(self, key: &FlowKey) -> bool {
        let eth = key.field(Field::EthType);
        let proto = key.field(Field::IpProto);
        let v4 = eth == number::ETH_IPV4;
        let v6 = eth == number::ETH_IPV6;
        let icmp6 = v6 && proto == number::IP_ICMPV6;
        let icmp6_type = key.field(Field::Icmp6Type);
        let tracked = key.field(Field::CtState) & number::CT_TRACKED != 0;
        match self {
            Self::None => true,
            Self::Vlan => key.field(Field::VlanTci) & 0x1000 != 0,
            Self::Mpls => eth == number::ETH_MPLS || eth == number::ETH_MPLS_MULTICAST,
            Self::Arp => eth == number::ETH_ARP || eth == number::ETH_RARP,
            Self::Ipv4 => v4,
            Self::Ipv6 => v6,
            Self::Ip => v4 || v6,
            Self::Tcp => (v4 || v6) && proto == number::IP_TCP,
            Self::Udp => (v4 || v6) && proto == number::IP_UDP,
            Self::Sctp => (v4 || v6) && proto == number::IP_SCTP,
            Self::Icmp4 => v4 && proto == number::IP_ICMP,
            Self::Icmp6 => icmp6,
            Self::Nd => icmp6 && matches!(icmp6_type, number::ND_SOLICIT | number::ND_ADVERT),
            Self::NdSolicit => icmp6 && icmp6_type == number::ND_SOLICIT,
            Self::NdAdvert => icmp6 && icmp6_type == number::ND_ADVERT,
            Self::Pbb => eth == number::ETH_PBB,
            Self::Ct => tracked,
            Self::Ct4 => tracked && v4,
            Self::Ct6 => tracked && v6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::WORDS;

    #[test]
    fn every_row_fits_its_words_and_names_are_unique() {
        let mut names = std::collections::BTreeSet::new();
        for (i, row) in FIELDS.iter().enumerate() {
            assert_eq!(row.field as usize, i, "{} is out of order", row.name);
            let (word, shift, bits) =
                (row.word as usize, u32::from(row.shift), u32::from(row.bits));
            if bits == 128 {
                assert!(
                    shift == 0 && word + 1 < WORDS,
                    "{} needs two whole words",
                    row.name
                );
            } else {
                assert!(
                    word < WORDS && shift + bits <= 64,
                    "{} leaves its word",
                    row.name
                );
            }
            for name in std::iter::once(&row.name).chain(row.aliases) {
                assert!(names.insert(*name), "{name} names two fields");
            }
        }
    }

    #[test]
    fn wire_codes_are_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for row in FIELDS {
            for code in [row.oxm, row.nxm].into_iter().flatten() {
                assert!(
                    seen.insert((code.class, code.field)),
                    "{} shares its code",
                    row.name
                );
            }
        }
    }

    #[test]
    fn fields_with_one_prerequisite_do_not_share_bits_unless_one_is_part_of_the_other() {
        for a in FIELDS {
            for b in FIELDS {
                if a.field >= b.field || a.word != b.word || a.prerequisite != b.prerequisite {
                    continue;
                }
                let mask = |r: &FieldInfo| (r.max() as u64) << r.shift;
                let (x, y) = (mask(a), mask(b));
                assert!(
                    x & y == 0 || x & y == x || x & y == y,
                    "{} and {} overlap in part",
                    a.name,
                    b.name
                );
            }
        }
    }
}
