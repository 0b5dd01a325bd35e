//! Which frames of an uplink are ours: a table, and the program that asks it.
//!
//! An uplink is a device that the host goes on using: it has its address there, its services, its
//! own connections. The program hands the AF_XDP socket of a frame's queue what the table names and
//! leaves everything else to the host's stack, untouched. Not for ports that take every frame of
//! their device ([`super::programs::xsk_redirect`]).
//!
//! What is taken:
//!
//! - TCP, UDP and SCTP to an address and a port that the table has, whole packets only: pieces of a
//!   packet go to the host, since only the first one has ports;
//! - ICMP echo replies to an address, whose identifier is in the place of the port;
//! - ICMP errors about packets that came *from* an address and port of the table, or that went from
//!   such an address *to* a port which the table has as remote ([`PortSet::add_remote`]).
//!
//! Everything that the program cannot read to the end (a cut header, IPv6 extension headers, two
//! VLAN tags, another protocol) is not ours.
//!
//! Law: a packet is taken only if all its headers say so. Without a socket for its queue (the
//! switch is not there) a frame is the host's, whatever the table says. An entry changes as a
//! whole: the kernel puts the new value in the place of the old one.
//!
//! Cost: two bounds checks, one hash lookup and one bit a packet; nothing depends on how many ports
//! or ranges there are. An entry takes 16 KiB of the kernel's memory.
//!
//! Spec: `include/uapi/linux/bpf.h`; RFC 791, 792, 4443, 8200; IEEE 802.1Q.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::asm::{Alu, AssembleError, Assembler, Code, Cond, Helper, Label, Reg, Size};
use super::call::{Command, MapCreate, MapElement, MapInfo, ObjInfo, bpf, object_name};
use super::map::{XskMap, create_with};
use super::prog::{LoadError, Program, ProgramKind};
use super::programs::{XDP_MD_DATA, XDP_MD_DATA_END, XDP_MD_RX_QUEUE_INDEX, XDP_PASS};

/// Most entries: addresses of one uplink times protocols.
pub const ENTRIES_MAX: u32 = 4096;

/// `BPF_MAP_TYPE_HASH`
const TYPE_HASH: u32 = 1;
/// `BPF_F_NO_PREALLOC`: memory is taken when an entry is made.
const NO_PREALLOC: u32 = 1;

/// Bytes of a set of ports: a bit each.
const BITS_SIZE: usize = 65_536 / 8;
/// Bytes of an entry: ports of ours, then remote ports.
const VALUE_SIZE: usize = 2 * BITS_SIZE;

/// Bytes of a key: address, VLAN in network order, protocol, nothing.
const KEY_SIZE: usize = 20;
/// Where the parts of the key are on the stack.
const KEY: i16 = -(KEY_SIZE as i16);
const KEY_ADDRESS: i16 = KEY;
const KEY_VLAN: i16 = KEY + 16;
const KEY_PROTOCOL: i16 = KEY + 18;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// What packets an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The VLAN that the frame is tagged with; 0 when it has no tag, or one for priority only.
    pub vlan: u16,
    /// The packet's destination: an address of ours.
    pub address: IpAddr,
    /// The number of the protocol over IP: TCP, UDP, SCTP, or ICMP and ICMPv6 for echo replies.
    pub protocol: u8,
}

impl Target {
    fn key(&self) -> [u8; KEY_SIZE] {
        let address = match self.address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let mut key = [0; KEY_SIZE];
        key[..16].copy_from_slice(&address.octets());
        key[16..18].copy_from_slice(&self.vlan.to_be_bytes());
        key[18] = self.protocol;
        key
    }

    fn from_key(key: &[u8; KEY_SIZE]) -> Self {
        let [address @ .., high, low, protocol, _] = *key;
        Self {
            vlan: u16::from_be_bytes([high, low]),
            address: Ipv6Addr::from(address).to_canonical(),
            protocol,
        }
    }
}

/// The ports of an entry.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet {
    bits: Box<[u8; VALUE_SIZE]>,
}

impl Default for PortSet {
    fn default() -> Self {
        Self {
            bits: Box::new([0; VALUE_SIZE]),
        }
    }
}

impl PortSet {
    /// Adds ports of ours: packets to them are taken, and ICMP errors about packets from them.
    pub fn add(&mut self, ports: RangeInclusive<u16>) {
        self.insert(0, ports);
    }

    /// Adds ports of others: ICMP errors about packets to them are taken.
    pub fn add_remote(&mut self, ports: RangeInclusive<u16>) {
        self.insert(BITS_SIZE, ports);
    }

    fn insert(&mut self, base: usize, ports: RangeInclusive<u16>) {
        for port in ports {
            self.bits[base + usize::from(port / 8)] |= 1 << (port % 8);
        }
    }

    /// Whether a port is one of ours.
    #[must_use]
    pub fn has(&self, port: u16) -> bool {
        self.bits[usize::from(port / 8)] & 1 << (port % 8) != 0
    }
}

impl std::fmt::Debug for PortSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ours: u32 = self.bits[..BITS_SIZE].iter().map(|b| b.count_ones()).sum();
        let all: u32 = self.bits.iter().map(|b| b.count_ones()).sum();
        write!(f, "PortSet({ours} of ours, {} remote)", all - ours)
    }
}

/// The table of one uplink.
#[derive(Debug)]
pub struct SteerTable(OwnedFd);

impl SteerTable {
    /// An empty table: nothing is ours.
    ///
    /// # Errors
    /// `EPERM` without `CAP_BPF`.
    pub fn new() -> io::Result<Self> {
        create_with(MapCreate {
            kind: TYPE_HASH,
            key_size: KEY_SIZE as u32,
            value_size: VALUE_SIZE as u32,
            max_entries: ENTRIES_MAX,
            flags: NO_PREALLOC,
            name: object_name("vswitch_steer"),
            ..MapCreate::default()
        })
        .map(Self)
    }

    /// The table behind a descriptor that was made by [`SteerTable::new`] and has been elsewhere.
    ///
    /// # Errors
    /// `InvalidData` when it is something else, and what `bpf(2)` answers.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let mut info = MapInfo::default();
        let mut attr = ObjInfo {
            fd: fd.as_raw_fd() as u32,
            info_size: size_of::<MapInfo>() as u32,
            info: std::ptr::from_mut(&mut info).addr() as u64,
        };
        // SAFETY: the struct is that of OBJ_GET_INFO_BY_FD; the kernel writes at most `info_size`
        // bytes to `info`, whatever object the descriptor is of, and any bytes are a value of it.
        unsafe { bpf(Command::ObjInfo, &mut attr) }?;
        let is = (info.kind, info.key_size as usize, info.value_size as usize);
        if is != (TYPE_HASH, KEY_SIZE, VALUE_SIZE) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self(fd))
    }

    /// Makes the table hold `wanted` and nothing else. Entries that stay are in force throughout.
    ///
    /// # Errors
    /// `E2BIG` for more than [`ENTRIES_MAX`], `ENOMEM`; what was changed before stays so.
    pub fn sync(&self, wanted: &BTreeMap<Target, PortSet>) -> io::Result<()> {
        for target in self.targets()? {
            if !wanted.contains_key(&target) {
                self.remove(&target)?;
            }
        }
        for (target, ports) in wanted {
            self.set(target, ports)?;
        }
        Ok(())
    }

    /// Adds an entry, or gives it other ports.
    ///
    /// # Errors
    /// `E2BIG` when the table is full, `ENOMEM`.
    pub fn set(&self, target: &Target, ports: &PortSet) -> io::Result<()> {
        let key = target.key();
        let mut attr = self.element(&key);
        attr.value = ports.bits.as_ptr().addr() as u64;
        // SAFETY: the map has keys and values of the sizes of `key` and `bits` (made so by `new`,
        // seen by `from_fd`), and the command only reads both.
        unsafe { bpf(Command::MapUpdate, &mut attr) }.map(drop)
    }

    /// The ports of an entry, if there is one.
    ///
    /// # Errors
    /// What `bpf(2)` answers.
    pub fn ports(&self, target: &Target) -> io::Result<Option<PortSet>> {
        let mut ports = PortSet::default();
        let key = target.key();
        let mut attr = self.element(&key);
        attr.value = ports.bits.as_mut_ptr().addr() as u64;
        // SAFETY: as in `set`; the command writes one value.
        match unsafe { bpf(Command::MapLookup, &mut attr) } {
            Ok(_) => Ok(Some(ports)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All entries.
    ///
    /// # Errors
    /// What `bpf(2)` answers.
    pub fn targets(&self) -> io::Result<Vec<Target>> {
        let mut targets = Vec::new();
        let mut key = [0; KEY_SIZE];
        let mut begun = false;
        loop {
            let mut next = [0; KEY_SIZE];
            let mut attr = self.element(&key);
            if !begun {
                attr.key = 0;
            }
            attr.value = next.as_mut_ptr().addr() as u64;
            // SAFETY: the command reads one key, or none where the address is 0, and writes one key
            // to where the value is elsewhere.
            match unsafe { bpf(Command::MapNextKey, &mut attr) } {
                Ok(_) => targets.push(Target::from_key(&next)),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(targets),
                Err(error) => return Err(error),
            }
            (key, begun) = (next, true);
        }
    }

    fn remove(&self, target: &Target) -> io::Result<()> {
        let key = target.key();
        let mut attr = self.element(&key);
        // SAFETY: as in `set`; the command reads the key only.
        unsafe { bpf(Command::MapDelete, &mut attr) }.map(drop)
    }

    fn element(&self, key: &[u8; KEY_SIZE]) -> MapElement {
        MapElement {
            map_fd: self.0.as_raw_fd() as u32,
            key: key.as_ptr().addr() as u64,
            ..MapElement::default()
        }
    }

    /// Ends the handle, keeps the descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for SteerTable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The program of an uplink: what `table` names goes to the socket that `sockets` has for the
/// frame's queue, everything else to the host's stack.
///
/// # Errors
/// The kernel's refusal.
pub fn program(sockets: &XskMap, table: &SteerTable) -> Result<Program, LoadError> {
    let code = Steering::new(sockets.as_fd(), table.as_fd()).code()?;
    Program::load(ProgramKind::Xdp, "vswitch_steer", &code)
}

/// An ICMP header as far as every type has it, with what an error quotes behind it.
const ICMP_SIZE: i32 = 8;
const IPV4_SIZE: i32 = 20;
const IPV6_SIZE: i32 = 40;

/// A 16-bit number of a packet as a load gives it.
fn be16(value: u16) -> i32 {
    i32::from(value.to_be())
}

/// The program in the making. Registers: `R6` context; `R7` the port that is looked for; `R8` end of the
/// frame; `R9` the header being read. On the stack: what is looked up, and at [`REMOTE`] the remote
/// port of an error.
struct Steering<'m> {
    asm: Assembler<'m>,
    sockets: BorrowedFd<'m>,
    table: BorrowedFd<'m>,
    /// Leaves the frame to the host.
    pass: Label,
    /// Looks `R7` up among our ports.
    look_up: Label,
    /// The same, and then the remote port on the stack among the others'.
    look_up_error: Label,
}

/// Where the remote port of an error is on the stack.
const REMOTE: i16 = KEY - 12;

impl<'m> Steering<'m> {
    fn new(sockets: BorrowedFd<'m>, table: BorrowedFd<'m>) -> Self {
        let mut asm = Assembler::new();
        let (pass, look_up, look_up_error) = (asm.label(), asm.label(), asm.label());
        Self {
            asm,
            sockets,
            table,
            pass,
            look_up,
            look_up_error,
        }
    }

    fn code(mut self) -> Result<Code<'m>, AssembleError> {
        let (ipv4, ipv6) = (self.asm.label(), self.asm.label());
        self.ethernet(ipv4, ipv6);
        self.asm.bind(ipv4);
        self.ipv4();
        self.asm.bind(ipv6);
        self.ipv6();
        self.decide();
        self.asm.finish()
    }

    /// Goes on only if the frame has `size` bytes from `R9` on.
    fn need(&mut self, size: i32) {
        self.asm
            .mov_reg(Reg::R1, Reg::R9)
            .alu(Alu::Add, Reg::R1, size)
            .jump_if_reg(Cond::Gt, Reg::R1, Reg::R8, self.pass);
    }

    /// `dst` = the number of 16 bits at `R9 + at`, in the host's order.
    fn load_number(&mut self, dst: Reg, at: i16) {
        self.asm
            .load(Size::Byte, dst, Reg::R9, at)
            .alu(Alu::Lsh, dst, 8)
            .load(Size::Byte, Reg::R1, Reg::R9, at + 1)
            .alu_reg(Alu::Or, dst, Reg::R1);
    }

    /// Ethernet and a tag; `R9` is the network header then.
    fn ethernet(&mut self, ipv4: Label, ipv6: Label) {
        let (tagged, untagged) = (self.asm.label(), self.asm.label());
        self.asm
            .mov_reg(Reg::R6, Reg::R1)
            .load(Size::Word, Reg::R9, Reg::R6, XDP_MD_DATA)
            .load(Size::Word, Reg::R8, Reg::R6, XDP_MD_DATA_END)
            .store_value(Size::Word, Reg::R10, KEY_VLAN, 0)
            .store_value(Size::Word, Reg::R10, REMOTE, 0);
        self.need(14);
        self.asm
            .load(Size::Half, Reg::R2, Reg::R9, 12)
            .alu(Alu::Add, Reg::R9, 14)
            .jump_if(Cond::Eq, Reg::R2, be16(0x8100), tagged)
            .jump_if(Cond::Ne, Reg::R2, be16(0x88a8), untagged)
            .bind(tagged);
        self.need(4);
        self.asm
            .load(Size::Half, Reg::R3, Reg::R9, 0)
            .alu(Alu::And, Reg::R3, be16(0x0fff))
            .store(Size::Half, Reg::R10, KEY_VLAN, Reg::R3)
            .load(Size::Half, Reg::R2, Reg::R9, 2)
            .alu(Alu::Add, Reg::R9, 4)
            .bind(untagged)
            .jump_if(Cond::Eq, Reg::R2, be16(0x0800), ipv4)
            .jump_if(Cond::Eq, Reg::R2, be16(0x86dd), ipv6)
            .jump(self.pass);
    }

    /// An IPv4 header at `R9` up to its end: `R2` is the protocol, `R3` the header's size. Goes on
    /// only for the fragment bits `whole` all zero.
    fn ipv4_header(&mut self, whole: u16) {
        self.need(IPV4_SIZE);
        self.asm
            .load(Size::Byte, Reg::R3, Reg::R9, 0)
            .mov_reg(Reg::R1, Reg::R3)
            .alu(Alu::Rsh, Reg::R1, 4)
            .jump_if(Cond::Ne, Reg::R1, 4, self.pass)
            .alu(Alu::And, Reg::R3, 15)
            .alu(Alu::Lsh, Reg::R3, 2)
            .jump_if(Cond::Lt, Reg::R3, IPV4_SIZE, self.pass)
            .load(Size::Half, Reg::R1, Reg::R9, 6)
            .alu(Alu::And, Reg::R1, be16(whole))
            .jump_if(Cond::Ne, Reg::R1, 0, self.pass)
            .load(Size::Byte, Reg::R2, Reg::R9, 9);
    }

    /// The same of IPv6.
    fn ipv6_header(&mut self) {
        self.need(IPV6_SIZE);
        self.asm
            .load(Size::Byte, Reg::R1, Reg::R9, 0)
            .alu(Alu::Rsh, Reg::R1, 4)
            .jump_if(Cond::Ne, Reg::R1, 6, self.pass)
            .load(Size::Byte, Reg::R2, Reg::R9, 6);
    }

    /// Puts the protocol in `R2` into the key.
    fn set_protocol(&mut self) {
        self.asm.store(Size::Byte, Reg::R10, KEY_PROTOCOL, Reg::R2);
    }

    fn ipv4(&mut self) {
        // More fragments, or an offset.
        self.ipv4_header(0x3fff);
        self.set_protocol();
        self.asm
            .store_value(Size::Word, Reg::R10, KEY_ADDRESS, 0)
            .store_value(Size::Word, Reg::R10, KEY_ADDRESS + 4, 0)
            .store_value(Size::Half, Reg::R10, KEY_ADDRESS + 8, 0)
            .store_value(Size::Half, Reg::R10, KEY_ADDRESS + 10, 0xffff)
            .load(Size::Word, Reg::R4, Reg::R9, 16)
            .store(Size::Word, Reg::R10, KEY_ADDRESS + 12, Reg::R4)
            .alu_reg(Alu::Add, Reg::R9, Reg::R3);
        self.ports(ICMP);

        // What an error quotes came from the address that the error has gone to.
        let echo = self.asm.label();
        self.need(ICMP_SIZE);
        self.asm.load(Size::Byte, Reg::R1, Reg::R9, 0);
        self.asm.jump_if(Cond::Eq, Reg::R1, 0, echo);
        let quoted = self.asm.label();
        // Unreachable, time exceeded, parameter problem.
        for kind in [3, 11, 12] {
            self.asm.jump_if(Cond::Eq, Reg::R1, kind, quoted);
        }
        self.asm.jump(self.pass).bind(quoted);
        self.asm.alu(Alu::Add, Reg::R9, ICMP_SIZE);
        // Of a later fragment the ports are not there.
        self.ipv4_header(0x1fff);
        self.asm
            .load(Size::Word, Reg::R1, Reg::R9, 12)
            .load(Size::Word, Reg::R4, Reg::R10, KEY_ADDRESS + 12)
            .jump_if_reg(Cond::Ne, Reg::R1, Reg::R4, self.pass)
            .alu_reg(Alu::Add, Reg::R9, Reg::R3);
        self.quoted_ports(ICMP, 8);
        self.asm.bind(echo);
        self.echo_reply();
    }

    fn ipv6(&mut self) {
        self.ipv6_header();
        self.set_protocol();
        for word in 0..4 {
            self.asm
                .load(Size::Word, Reg::R4, Reg::R9, 24 + 4 * word)
                .store(Size::Word, Reg::R10, KEY_ADDRESS + 4 * word, Reg::R4);
        }
        self.asm.alu(Alu::Add, Reg::R9, IPV6_SIZE);
        self.ports(ICMPV6);

        let echo = self.asm.label();
        self.need(ICMP_SIZE);
        self.asm.load(Size::Byte, Reg::R1, Reg::R9, 0);
        self.asm.jump_if(Cond::Eq, Reg::R1, 129, echo);
        // Unreachable, too big, time exceeded, parameter problem: 1 to 4.
        self.asm
            .jump_if(Cond::Eq, Reg::R1, 0, self.pass)
            .jump_if(Cond::Gt, Reg::R1, 4, self.pass)
            .alu(Alu::Add, Reg::R9, ICMP_SIZE);
        self.ipv6_header();
        for word in 0..4 {
            self.asm
                .load(Size::Word, Reg::R1, Reg::R9, 8 + 4 * word)
                .load(Size::Word, Reg::R4, Reg::R10, KEY_ADDRESS + 4 * word)
                .jump_if_reg(Cond::Ne, Reg::R1, Reg::R4, self.pass);
        }
        self.asm.alu(Alu::Add, Reg::R9, IPV6_SIZE);
        self.quoted_ports(ICMPV6, 128);
        self.asm.bind(echo);
        self.echo_reply();
    }

    /// Looks up the destination port of a packet of protocol `R2`, whose header is at `R9`. Goes on
    /// for ICMP, whose number is `icmp`.
    fn ports(&mut self, icmp: u8) {
        let (ported, is_icmp) = (self.asm.label(), self.asm.label());
        for protocol in [TCP, UDP, SCTP] {
            self.asm
                .jump_if(Cond::Eq, Reg::R2, i32::from(protocol), ported);
        }
        self.asm
            .jump_if(Cond::Eq, Reg::R2, i32::from(icmp), is_icmp)
            .jump(self.pass)
            .bind(ported);
        self.need(4);
        self.load_number(Reg::R7, 2);
        self.asm.jump(self.look_up).bind(is_icmp);
    }

    /// Looks up the ports of the packet in an error: protocol `R2`, header at `R9`. Of ICMP there are
    /// only echo requests, with `request` as their type.
    fn quoted_ports(&mut self, icmp: u8, request: i32) {
        let (ported, look_up) = (self.asm.label(), self.look_up_error);
        self.set_protocol();
        for protocol in [TCP, UDP, SCTP] {
            self.asm
                .jump_if(Cond::Eq, Reg::R2, i32::from(protocol), ported);
        }
        self.asm
            .jump_if(Cond::Ne, Reg::R2, i32::from(icmp), self.pass);
        self.need(ICMP_SIZE);
        self.asm.load(Size::Byte, Reg::R1, Reg::R9, 0).jump_if(
            Cond::Ne,
            Reg::R1,
            request,
            self.pass,
        );
        self.load_number(Reg::R7, 4);
        self.asm.jump(look_up).bind(ported);
        self.need(4);
        self.load_number(Reg::R7, 2);
        self.asm.store(Size::Word, Reg::R10, REMOTE, Reg::R7);
        self.load_number(Reg::R7, 0);
        self.asm.jump(look_up);
    }

    /// Looks up the identifier of the echo reply at `R9`.
    fn echo_reply(&mut self) {
        self.load_number(Reg::R7, 4);
        self.asm.jump(self.look_up);
    }

    /// What the table says, and the verdict.
    fn decide(&mut self) {
        let take = self.asm.label();
        self.asm.bind(self.look_up);
        self.entry();
        self.jump_if_bit(Reg::R7, 0, take);
        self.asm.jump(self.pass);

        self.asm.bind(self.look_up_error);
        self.entry();
        self.jump_if_bit(Reg::R7, 0, take);
        self.asm
            .load(Size::Word, Reg::R7, Reg::R10, REMOTE)
            // The verifier knows no bound of what was on the stack.
            .alu(Alu::And, Reg::R7, 0xffff);
        self.jump_if_bit(Reg::R7, BITS_SIZE as i16, take);
        self.asm.jump(self.pass);

        self.asm
            .bind(take)
            .load(Size::Word, Reg::R2, Reg::R6, XDP_MD_RX_QUEUE_INDEX)
            .map(Reg::R1, self.sockets)
            .mov(Reg::R3, XDP_PASS as i32)
            .call(Helper::RedirectMap)
            .exit();
        self.asm
            .bind(self.pass)
            .mov(Reg::R0, XDP_PASS as i32)
            .exit();
    }

    /// `R0` = the entry of the key on the stack. Goes on if there is one.
    fn entry(&mut self) {
        self.asm
            .map(Reg::R1, self.table)
            .mov_reg(Reg::R2, Reg::R10)
            .alu(Alu::Add, Reg::R2, i32::from(KEY))
            .call(Helper::MapLookup)
            .jump_if(Cond::Eq, Reg::R0, 0, self.pass);
    }

    /// Goes on at `to` when the entry at `R0` has the bit of `port` in the set at byte `base`.
    fn jump_if_bit(&mut self, port: Reg, base: i16, to: Label) {
        self.asm
            .mov_reg(Reg::R1, port)
            .alu(Alu::Rsh, Reg::R1, 3)
            .mov_reg(Reg::R2, Reg::R0)
            .alu_reg(Alu::Add, Reg::R2, Reg::R1)
            .load(Size::Byte, Reg::R3, Reg::R2, base)
            .mov_reg(Reg::R1, port)
            .alu(Alu::And, Reg::R1, 7)
            .alu_reg(Alu::Rsh, Reg::R3, Reg::R1)
            .alu(Alu::And, Reg::R3, 1)
            .jump_if(Cond::Ne, Reg::R3, 0, to);
    }
}

#[cfg(test)]
mod tests;
