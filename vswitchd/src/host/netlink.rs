//! Links of one network namespace: asking for them and changing them.
//!
//! A [`Netlink`] is a socket of the namespace in which it was made, used and closed at once: a
//! socket keeps its namespace alive, and a container's must be free to go. Requests wait for their
//! answer, which the kernel gives in microseconds; waiting for news is [`super::watch`]'s part.
//!
//! Spec: rtnetlink(7), net/core/rtnetlink.c.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// What a device is, as far as it decides what the switch does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// One end of a virtual cable.
    Veth,
    /// A TAP or TUN device.
    Tun,
    /// The namespace's own.
    Loopback,
    /// A device with a driver of its own: a network card.
    Physical,
    /// A virtual device of another sort.
    Other,
}

/// A device as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub ifindex: u32,
    /// Its name in its namespace.
    pub name: String,
    /// Bytes of the largest layer-3 packet.
    pub mtu: u32,
    /// Its address; none on a device that has no Ethernet.
    pub mac: Option<[u8; 6]>,
    /// It was set up.
    pub up: bool,
    /// It can pass packets: it is up and has a carrier.
    pub running: bool,
    /// What it is.
    pub sort: Sort,
    /// The number of the bridge or bond that it belongs to, which is not a bridge of ours.
    pub master: Option<u32>,
}

/// A socket for one namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// Bits of `ifi_flags` that netlink-packet-route does not name alike in every version.
const IFF_LOOPBACK: u32 = 0x8;

impl Netlink {
    /// A socket in the namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// The device of this name.
    pub fn link_named(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        self.link(message)
    }

    /// The device of this number.
    pub fn link_numbered(&mut self, ifindex: u32) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = ifindex;
        self.link(message)
    }

    fn link(&mut self, message: LinkMessage) -> io::Result<Option<Link>> {
        match self.request(RouteNetlinkMessage::GetLink(message), 0) {
            Ok(answers) => Ok(links(answers).next()),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Every device.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        Ok(links(self.request(message, NLM_F_DUMP)?).collect())
    }

    /// The addresses of a device, sorted.
    pub fn addresses(&mut self, ifindex: u32) -> io::Result<Vec<IpAddr>> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.request(message, NLM_F_DUMP)?.into_iter();
        let mut addresses: Vec<IpAddr> = answers
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(one) if one.header.index == ifindex => own(&one),
                _ => None,
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    /// The device that is the kernel's own end of VXLAN tunnels on a UDP port.
    pub fn vxlan_on(&mut self, port: u16) -> io::Result<Option<String>> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.request(message, NLM_F_DUMP)?;
        Ok(answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) if is_vxlan_on(&message, port) => {
                Some(Link::from(&message).name)
            }
            _ => None,
        }))
    }

    /// Sets a device up or down.
    pub fn set_up(&mut self, ifindex: u32, up: bool) -> io::Result<()> {
        self.change(ifindex, |message| {
            message.header.change_mask = LinkFlags::Up;
            if up {
                message.header.flags = LinkFlags::Up;
            }
        })
    }

    /// Sets the MTU of a device.
    pub fn set_mtu(&mut self, ifindex: u32, mtu: u32) -> io::Result<()> {
        self.change(ifindex, |message| {
            message.attributes.push(LinkAttribute::Mtu(mtu));
        })
    }

    /// Sets the address of a device.
    pub fn set_mac(&mut self, ifindex: u32, mac: [u8; 6]) -> io::Result<()> {
        self.change(ifindex, |message| {
            let address = LinkAttribute::Address(mac.to_vec());
            message.attributes.push(address);
        })
    }

    /// Moves a device into another namespace, under another name there.
    pub fn move_to(&mut self, ifindex: u32, to: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.change(ifindex, |message| {
            let attributes = &mut message.attributes;
            attributes.push(LinkAttribute::NetNsFd(to.as_raw_fd()));
            attributes.push(LinkAttribute::IfName(name.to_owned()));
        })
    }

    /// Has the kernel give another namespace a number in this one, so that its news come here too
    /// (`NETLINK_LISTEN_ALL_NSID`). One that has a number keeps it.
    pub fn number_namespace(&mut self, other: BorrowedFd<'_>) -> io::Result<()> {
        let mut message = NsidMessage::default();
        let fd = NsidAttribute::Fd(other.as_raw_fd() as u32);
        message.attributes = vec![fd, NsidAttribute::Id(-1)];
        match self.request(RouteNetlinkMessage::NewNsId(message), NLM_F_ACK) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map(drop),
        }
    }

    fn change(&mut self, ifindex: u32, edit: impl FnOnce(&mut LinkMessage)) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = ifindex;
        edit(&mut message);
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)
            .map(drop)
    }

    /// One request with all of its answer.
    pub(super) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let size = NetlinkBuffer::new_checked(rest)
                    .map_err(unreadable)?
                    .length() as usize;
                let one = rest.get(..size).ok_or_else(|| unreadable("cut short"))?;
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
                let message =
                    NetlinkMessage::<RouteNetlinkMessage>::deserialize(one).map_err(unreadable)?;
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => {
                        answers.push(answer);
                        if flags & (NLM_F_DUMP | NLM_F_ACK) == 0 {
                            return Ok(answers);
                        }
                    }
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
        }
    }
}

/// The address of the host that a message is about: of a point-to-point device the other end has
/// one too.
pub(super) fn own(message: &AddressMessage) -> Option<IpAddr> {
    let attributes = &message.attributes;
    let local = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn is_vxlan_on(message: &LinkMessage, port: u16) -> bool {
    message.attributes.iter().any(|attribute| {
        let LinkAttribute::LinkInfo(infos) = attribute else {
            return false;
        };
        infos.iter().any(|info| match info {
            LinkInfo::Data(InfoData::Vxlan(data)) => data.contains(&InfoVxlan::Port(port)),
            _ => false,
        })
    })
}

fn unreadable(what: impl std::fmt::Display) -> io::Error {
    let text = format!("the kernel's answer could not be read: {what}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Whether the kernel means that there is no such device.
fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

fn links(answers: Vec<RouteNetlinkMessage>) -> impl Iterator<Item = Link> {
    answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(message) => Some(Link::from(&message)),
        _ => None,
    })
}

impl From<&LinkMessage> for Link {
    fn from(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            ifindex: message.header.index,
            name: String::new(),
            mtu: 0,
            mac: None,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
            sort: Sort::Other,
            master: None,
        };
        let mut has_parent = false;
        let mut kind = None;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
                LinkAttribute::Controller(index) => link.master = Some(*index),
                LinkAttribute::OperState(State::LowerLayerDown | State::NotPresent) => {
                    link.running = false;
                }
                LinkAttribute::ParentDevName(_) => has_parent = true,
                LinkAttribute::LinkInfo(infos) => {
                    kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.clone()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link.sort = match kind {
            Some(InfoKind::Veth) => Sort::Veth,
            Some(InfoKind::Tun) => Sort::Tun,
            Some(_) => Sort::Other,
            None if flags.bits() & IFF_LOOPBACK != 0 => Sort::Loopback,
            None if has_parent => Sort::Physical,
            None => Sort::Other,
        };
        link
    }
}
