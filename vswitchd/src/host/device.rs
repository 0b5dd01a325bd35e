//! Devices and sockets of ports: making them, keeping them, giving them back.
//!
//! For each port with something of the kernel's behind it there is one [`Device`]. It holds a
//! duplicate of every descriptor that the datapath has, so that nothing goes down with that process
//! (architecture decision 4), except AF_XDP sockets: those live and die with the memory of their
//! user, and the next one gets new ones.
//!
//! Law: what [`make`] made and could not finish is gone when it returns an error.
//!
//! A TAP is always opened in our own namespace and moved from there, because its descriptor keeps
//! the namespace alive in which it was opened. Packet and AF_XDP sockets are made in the namespace
//! of their device and keep it alive while the port exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipnet::IpNet;
use vswitch_dpapi::{Attachment, XskMode};
use vswitch_rpc::port::Kind;
use vswitch_rpc::{Code, Refusal};
use vswitch_sys::bpf::steer::{PortSet, SteerTable, Target};
use vswitch_sys::bpf::{Attach, Link as Program, programs};
use vswitch_sys::netns::Netns;
use vswitch_sys::packet_socket::{self, PacketSocketSpec};
use vswitch_sys::tap::{self, TapOffloads, TapSpec};
use vswitch_sys::udp_socket::{self, Family, UdpSocketError, UdpSocketSpec};
use vswitch_sys::xsk;

use super::holder;
use super::netlink::{Link, Netlink, Sort};
use super::place::{self, NamespaceId, Place};
use crate::model::Port;
use crate::model::port::{Speed, XdpMode};

/// Bytes of packets that may wait in a packet socket: a few hundred super-frames.
const RECEIVE_SIZE: u32 = 16 << 20;

/// Bytes of packets that a packet socket may have on their way out.
const SEND_SIZE: u32 = 4 << 20;

/// Sockets of a queue that send, for each family: as many source ports are what receivers and
/// routers can tell flows apart by, and as many system calls are needed for flows that take turns.
const SENDERS: usize = 4;

/// What a TAP is called until it is where it belongs.
const NASCENT: &str = "vswnew%d";

/// Why a device could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The namespace cannot be opened.
    #[error("the network namespace {0} cannot be entered: {1}")]
    Namespace(String, #[source] io::Error),
    /// There is no such device.
    #[error("there is no device {name}{}", within(.netns))]
    Missing {
        /// Its name.
        name: String,
        /// The namespace that was searched; `None` for our own.
        netns: Option<String>,
    },
    /// A device of that name is in the way.
    #[error("there is a device {name} already{}", within(.netns))]
    Exists {
        /// Its name.
        name: String,
        /// The namespace; `None` for our own.
        netns: Option<String>,
    },
    /// The device cannot be a port of that kind.
    #[error("the device {name} cannot be a port of type {kind}: {why}")]
    Unfit {
        /// Its name.
        name: String,
        /// The kind.
        kind: Kind,
        /// Why.
        why: String,
    },
    /// A port of the switch has the device.
    #[error("the device {name} belongs to the port {port} already")]
    Taken {
        /// Its name.
        name: String,
        /// Who has it.
        port: String,
    },
    /// What `lib/sys` says is a sentence of its own.
    #[error("{0}")]
    Refused(String),
    /// A UDP port that somebody else has.
    #[error(
        "UDP port {port} belongs to {holder}, and a tunnel that is carried by sockets needs it"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// Who has it.
        holder: String,
    },
    /// The kernel would not do a step.
    #[error("the kernel refused to {what} {name}: {source}")]
    Kernel {
        /// The step.
        what: &'static str,
        /// The device.
        name: String,
        /// What it said.
        source: io::Error,
    },
    /// A capture file.
    #[error("the file {0} cannot be opened: {1}")]
    File(String, #[source] io::Error),
}

fn within(netns: &Option<String>) -> String {
    match netns {
        Some(netns) => format!(" in the network namespace {netns}"),
        None => String::new(),
    }
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        let code = match &error {
            DeviceError::Missing { .. } => Code::NotFound,
            DeviceError::Exists { .. }
            | DeviceError::Taken { .. }
            | DeviceError::PortTaken { .. } => Code::Exists,
            DeviceError::Unfit { .. } => Code::Refused,
            _ => Code::Kernel,
        };
        let refusal = Self::new(code, error.to_string());
        match &error {
            DeviceError::Missing { .. } => {
                refusal.hint("make it first, or add the port with type=tap to have it made")
            }
            DeviceError::Exists { .. } => {
                refusal.hint("take another name, or remove the device first")
            }
            DeviceError::PortTaken { .. } => refusal
                .hint("remove the other, give the tunnel another dst_port, or another underlay"),
            _ => refusal,
        }
    }
}

/// The kernel's part of a port.
#[derive(Debug)]
pub struct Device {
    backing: Backing,
    /// Where the device is, as last seen.
    pub place: Place,
    /// What it is, as last seen; `None` when it is gone or there never was one.
    pub link: Option<Link>,
    /// Why it works the way it does; empty when there was no choice.
    pub why: String,
}

#[derive(Debug)]
enum Backing {
    /// A descriptor for each queue.
    Tap {
        queues: Vec<OwnedFd>,
        offloads: TapOffloads,
    },
    Packet {
        socket: OwnedFd,
        mute: OwnedFd,
    },
    Xsk {
        /// For the next user; empty while there is one.
        sockets: Vec<OwnedFd>,
        queues: usize,
        map: OwnedFd,
        program: OwnedFd,
        mode: XskMode,
        multi_buffer: bool,
        local: bool,
        /// What is ours, where the device is shared with the host.
        table: Option<SteerTable>,
    },
    Socket {
        /// For each queue the sockets that receive, then those that only send.
        sockets: Vec<OwnedFd>,
        queues: u16,
        receivers: u16,
        senders: u16,
    },
    Pcap {
        replay: Option<File>,
        capture: Option<File>,
        paced: bool,
        repeat: bool,
    },
    None,
}

/// UDP sockets that receive, by their ports, and those that only send, by family.
type UdpSockets = (BTreeMap<(Family, u16), OwnedFd>, Vec<(Family, OwnedFd)>);

/// A device that could become a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub place: Place,
    /// What it is; `None` when there is none of that name.
    pub link: Option<Link>,
}

/// Looks for the device of a port.
pub fn find(name: &str, netns: Option<&str>) -> Result<Found, DeviceError> {
    let place = netns.map_or(Place::Own, Place::parse);
    let link = place
        .with_links(|links| links.link_named(name))
        .map_err(|error| match place.label() {
            Some(label) => DeviceError::Namespace(label.into(), error),
            None => kernel("look for", name, error),
        })?;
    Ok(Found { place, link })
}

/// Looks for a device that has left its namespace, in all others. A move keeps its address and its
/// sort, and may change name and number.
pub fn search(lost: &Link) -> Option<Found> {
    let own = NamespaceId::own().ok()?;
    let mut found = Vec::new();
    for place in place::others(own) {
        let links = place.with_links(Netlink::links).unwrap_or_default();
        let same = |link: &Link| link.mac == lost.mac && link.sort == lost.sort;
        found.extend(links.into_iter().filter(same).map(|link| Found {
            place: place.clone(),
            link: Some(link),
        }));
    }
    // Two with one address: neither can be told from the other.
    if found.len() == 1 { found.pop() } else { None }
}

/// Which kind of port serves a device best, and why.
pub fn choose(name: &str, found: &Found) -> (Kind, String) {
    let Some(link) = &found.link else {
        let why = format!("there is no device {name}, so a TAP was made");
        return (Kind::Tap, why);
    };
    match link.sort {
        Sort::Tun => (Kind::Tap, format!("{name} is a TAP device")),
        Sort::Veth => (
            Kind::Packet,
            format!(
                "{name} is a veth, and a packet socket keeps TSO on at its far end; \
                 type=afxdp carries more small packets and less bulk TCP"
            ),
        ),
        Sort::Physical => {
            let ifindex = link.ifindex;
            let features = found.place.run(|| xsk::xdp_features(ifindex));
            match features {
                Ok(Ok(features)) if features.native => (
                    Kind::Afxdp,
                    format!("the driver of {name} runs XDP programs"),
                ),
                _ => (
                    Kind::Packet,
                    format!("the driver of {name} runs no XDP programs"),
                ),
            }
        }
        Sort::Loopback | Sort::Other => (
            Kind::Packet,
            format!("{name} is a virtual device that a packet socket can read"),
        ),
    }
}

/// Whether a port of this kind has to make the device because there is none.
pub fn is_to_be_made(kind: Kind, found: &Found) -> bool {
    matches!(kind, Kind::Tap | Kind::Internal) && found.link.is_none()
}

/// Makes or takes what a port needs from the kernel. `mac` is the address of a device that is made.
///
/// # Errors
/// [`DeviceError`]; nothing is left behind.
pub fn make(port: &Port, mac: Option<[u8; 6]>) -> Result<Device, DeviceError> {
    match port.kind {
        Kind::Tap | Kind::Internal => {
            let found = find(port.device(), port.settings.netns.as_deref())?;
            make_tap(port, mac, found)
        }
        Kind::Packet | Kind::Afxdp | Kind::Uplink => {
            let found = find(port.device(), port.settings.netns.as_deref())?;
            take(port, found)
        }
        Kind::Pcap => make_pcap(port),
        // Sockets are made for what tunnels need ([`make_sockets`]).
        Kind::Patch | Kind::Null | Kind::Socket | Kind::Vxlan | Kind::Geneve | Kind::Router => {
            Ok(Device {
                backing: Backing::None,
                place: Place::Own,
                link: None,
                why: String::new(),
            })
        }
    }
}

fn make_tap(port: &Port, mac: Option<[u8; 6]>, found: Found) -> Result<Device, DeviceError> {
    let name = port.device();
    let settings = &port.settings;
    let netns = settings.netns.clone();
    let other = found.place != Place::Own;
    if found.link.is_some() && (port.made_device || other) {
        // A TAP elsewhere could only be joined by a descriptor that keeps its namespace alive.
        return Err(DeviceError::Exists {
            name: name.into(),
            netns,
        });
    }
    let tap = tap::open(&TapSpec {
        name: if other { NASCENT } else { name },
        queues: settings.queues.unwrap_or(1),
        exclusive: found.link.is_none(),
        offloads: TapOffloads::all(),
    })
    .map_err(|error| DeviceError::Refused(error.to_string()))?;
    // From here on an error closes the descriptors, and the device goes with them.
    let mut own = Netlink::open().map_err(|error| kernel("find", name, error))?;
    let link = own
        .link_named(&tap.name)
        .and_then(present)
        .map_err(|error| kernel("find", name, error))?;
    if let Some(mac) = mac {
        own.set_mac(link.ifindex, mac)
            .map_err(|error| kernel("set the address of", name, error))?;
    }
    if let Some(mtu) = settings.mtu {
        own.set_mtu(link.ifindex, mtu)
            .map_err(|error| kernel("set the MTU of", name, error))?;
    }
    if other {
        let label = found.place.label().unwrap_or_default();
        let netns = found
            .place
            .open()
            .map_err(|error| DeviceError::Namespace(label.into(), error))?;
        own.move_to(link.ifindex, netns.as_fd(), name)
            .map_err(|error| kernel("move into its namespace", name, error))?;
        netns
            .run(|| {
                let mut links = Netlink::open()?;
                let ifindex = links.link_named(name).and_then(present)?.ifindex;
                links.set_up(ifindex, true)
            })
            .and_then(|result| result)
            .map_err(|error| kernel("set up", name, error))?;
    }
    let mut device = Device {
        backing: Backing::Tap {
            queues: tap.queues,
            offloads: tap.offloads,
        },
        place: found.place,
        link: None,
        why: String::new(),
    };
    device.look();
    Ok(device)
}

/// The kernel's part of a port on a device that is there.
type Taken = (Backing, String);

/// Takes a device that is there, and sets it up.
///
/// # Errors
/// [`DeviceError`]; nothing is left behind.
pub fn take(port: &Port, found: Found) -> Result<Device, DeviceError> {
    let name = port.device();
    let netns = found.place.label().map(str::to_owned);
    let open = match port.kind {
        Kind::Afxdp | Kind::Uplink => make_xsk,
        Kind::Packet => make_packet,
        _ => {
            let joined = Port {
                made_device: false,
                ..port.clone()
            };
            return make_tap(&joined, None, found);
        }
    };
    let Some(link) = &found.link else {
        return Err(DeviceError::Missing {
            name: name.into(),
            netns,
        });
    };
    check_fit(port.kind, link)?;
    let (backing, why) = found
        .place
        .run(|| -> Result<_, DeviceError> {
            let mut links = Netlink::open().map_err(|error| kernel("look for", name, error))?;
            if let Some(mtu) = port.settings.mtu {
                links
                    .set_mtu(link.ifindex, mtu)
                    .map_err(|error| kernel("set the MTU of", name, error))?;
            }
            let taken = open(port, link)?;
            // A device that is shared is up or down as the host wants it.
            if port.kind != Kind::Uplink {
                links
                    .set_up(link.ifindex, true)
                    .map_err(|error| kernel("set up", name, error))?;
            }
            Ok(taken)
        })
        .map_err(|error| DeviceError::Namespace(netns.unwrap_or_default(), error))??;
    // Only a hint is lost without it: the device is looked at when the switch changes.
    if let Err(error) = found.place.listen() {
        tracing::debug!(%error, device = name, "no news of a device in another namespace");
    }
    let mut device = Device {
        backing,
        place: found.place,
        link: found.link,
        why,
    };
    device.look();
    Ok(device)
}

/// Refuses devices whose frames are not for the taking.
fn check_fit(kind: Kind, link: &Link) -> Result<(), DeviceError> {
    let why = if link.sort == Sort::Loopback {
        "it is the loopback device"
    } else if link.mac.is_none() {
        "it carries no Ethernet frames"
    } else if link.master.is_some() {
        "it belongs to a bridge or bond of the kernel; take it out with `ip link set DEV nomaster`"
    } else if link.sort == Sort::Tun {
        "it is a TAP device, which is read through type=tap"
    } else {
        return Ok(());
    };
    Err(DeviceError::Unfit {
        name: link.name.clone(),
        kind,
        why: why.into(),
    })
}

fn make_packet(_: &Port, link: &Link) -> Result<Taken, DeviceError> {
    let program =
        programs::tcx_ingress_drop().map_err(|error| DeviceError::Refused(error.to_string()))?;
    let socket = packet_socket::open(&PacketSocketSpec {
        ifindex: link.ifindex,
        receive_size: RECEIVE_SIZE,
        send_size: SEND_SIZE,
        qdisc_bypass: true,
        promiscuous: true,
    })
    .map_err(|error| DeviceError::Refused(error.to_string()))?;
    let mute = Program::attach(&program, link.ifindex, Attach::TcxIngress)
        .map_err(|error| kernel("keep its own stack off the packets of", &link.name, error))?;
    let mute = mute.into_fd();
    Ok((Backing::Packet { socket, mute }, String::new()))
}

fn make_xsk(port: &Port, link: &Link) -> Result<Taken, DeviceError> {
    let mode = port.settings.mode.map(|mode| match mode {
        XdpMode::Native => xsk::Mode::Native,
        XdpMode::Generic => xsk::Mode::Generic,
        XdpMode::Zerocopy => xsk::Mode::ZeroCopy,
    });
    let queues = port.settings.queues.map(u32::from);
    let share = match port.kind {
        Kind::Uplink => xsk::Share::Steered,
        _ => xsk::Share::All,
    };
    let prepared = xsk::prepare(link.ifindex, queues, mode, share)
        .map_err(|error| DeviceError::Refused(format!("{}: {error}", link.name)))?;
    let backing = Backing::Xsk {
        queues: prepared.sockets.len(),
        sockets: prepared.sockets,
        map: prepared.map.into_fd(),
        program: prepared.link.into_fd(),
        mode: match prepared.mode {
            xsk::Mode::ZeroCopy => XskMode::ZeroCopy,
            xsk::Mode::Native => XskMode::Native,
            xsk::Mode::Generic => XskMode::Generic,
        },
        multi_buffer: prepared.features.rx_multi_buffer,
        local: link.sort == Sort::Veth,
        table: prepared.table,
    };
    Ok((backing, prepared.reason))
}

/// Opens the host's UDP sockets for tunnels on `ports`, with those that `old` has among them. What
/// could not be opened is left out, and the first reason for that is beside the rest.
pub fn make_sockets(
    ports: &BTreeSet<(Family, u16)>,
    old: Option<&Device>,
) -> (Device, Option<DeviceError>) {
    let families: BTreeSet<Family> = ports.iter().map(|(family, _)| *family).collect();
    let (mut kept, spare) = old.map(Device::udp_sockets).unwrap_or_default();
    let (mut receivers, mut senders) = (Vec::new(), Vec::new());
    let mut failed = None;
    for &(family, port) in ports {
        if let Some(socket) = kept.remove(&(family, port)) {
            receivers.push(socket);
            continue;
        }
        let opened = udp_socket::open(&UdpSocketSpec {
            family,
            port,
            shared: false,
            receive_size: RECEIVE_SIZE,
            send_size: SEND_SIZE,
        });
        match opened {
            Ok(socket) => receivers.push(socket),
            // A host without IPv6 has no tunnels over it.
            Err(UdpSocketError::NoFamily(_)) => {}
            Err(error) => failed = failed.or(Some(port_error(error))),
        }
    }
    let mut spare: Vec<_> = spare.into_iter().map(Some).collect();
    for &family in &families {
        for _ in 0..SENDERS {
            let mut fitting = spare.iter_mut();
            let fitting = fitting.find(|one| one.as_ref().is_some_and(|one| one.0 == family));
            match fitting.and_then(Option::take) {
                Some((_, socket)) => senders.push(socket),
                None => match udp_socket::open_sender(family, SEND_SIZE) {
                    Ok(socket) => senders.push(socket),
                    Err(UdpSocketError::NoFamily(_)) => {}
                    Err(error) => failed = failed.or(Some(port_error(error))),
                },
            }
        }
    }
    let backing = Backing::Socket {
        queues: 1,
        receivers: receivers.len() as u16,
        senders: senders.len() as u16,
        sockets: receivers.into_iter().chain(senders).collect(),
    };
    let device = Device {
        backing,
        place: Place::Own,
        link: None,
        why: String::new(),
    };
    (device, failed)
}

fn port_error(error: UdpSocketError) -> DeviceError {
    match error {
        UdpSocketError::InUse(_, port) => DeviceError::PortTaken {
            port,
            holder: holder::of_udp(port).unwrap_or_else(|| "somebody else".into()),
        },
        other => DeviceError::Refused(other.to_string()),
    }
}

fn make_pcap(port: &Port) -> Result<Device, DeviceError> {
    let settings = &port.settings;
    let failed = |path: &String| {
        let path = path.clone();
        move |error| DeviceError::File(path, error)
    };
    let replay = match &settings.file {
        Some(path) => Some(File::open(path).map_err(failed(path))?),
        None => None,
    };
    let capture = match &settings.capture {
        Some(path) => Some(File::create(path).map_err(failed(path))?),
        None => None,
    };
    Ok(Device {
        backing: Backing::Pcap {
            replay,
            capture,
            paced: settings.speed == Speed::Paced,
            repeat: settings.speed == Speed::Loop,
        },
        place: Place::Own,
        link: None,
        why: String::new(),
    })
}

impl Device {
    /// Gives the device the addresses of a host, and sets it up where it has some.
    ///
    /// # Errors
    /// When the kernel refuses; what was given so far stays.
    pub fn dress(&self, addresses: &[IpNet]) -> io::Result<()> {
        let Some(link) = self.link.as_ref().filter(|_| !addresses.is_empty()) else {
            return Ok(());
        };
        self.place.with_links(|links| {
            for address in addresses {
                links.add_address(link.ifindex, *address)?;
            }
            links.set_up(link.ifindex, true)
        })
    }

    /// Takes over the descriptors that a running datapath has for a port.
    pub fn adopt(attachment: Attachment, fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds;
        let (mut place, mut link) = (Place::Own, None);
        let backing = match attachment {
            Attachment::Tap { offloads } if !fds.is_empty() => Backing::Tap {
                queues: fds,
                offloads: TapOffloads::from_bits(offloads),
            },
            Attachment::Packet { ifindex } => {
                let mute = fds.pop()?;
                let socket = fds.pop()?;
                (place, link) = socket_now(&socket, ifindex)?;
                Backing::Packet { socket, mute }
            }
            Attachment::Xsk {
                ifindex,
                mode,
                multi_buffer,
                local,
                steered,
            } => {
                let table = match steered {
                    true => Some(SteerTable::from_fd(fds.pop()?).ok()?),
                    false => None,
                };
                let program = fds.pop()?;
                let map = fds.pop()?;
                (place, link) = socket_now(fds.first()?, ifindex)?;
                Backing::Xsk {
                    queues: fds.len(),
                    sockets: Vec::new(),
                    map,
                    program,
                    mode,
                    multi_buffer,
                    local,
                    table,
                }
            }
            Attachment::Socket {
                queues,
                receivers,
                senders,
            } => Backing::Socket {
                sockets: fds,
                queues,
                receivers,
                senders,
            },
            Attachment::Pcap {
                replay,
                capture,
                paced,
                repeat,
            } => {
                let capture = if capture {
                    Some(fds.pop()?.into())
                } else {
                    None
                };
                let replay = if replay {
                    Some(fds.pop()?.into())
                } else {
                    None
                };
                Backing::Pcap {
                    replay,
                    capture,
                    paced,
                    repeat,
                }
            }
            Attachment::Tap { .. } => return None,
            Attachment::None => Backing::None,
        };
        let mut device = Self {
            backing,
            place,
            link,
            why: String::new(),
        };
        device.look();
        Some(device)
    }

    /// What the descriptors are, for the datapath.
    pub fn attachment(&self) -> Attachment {
        let ifindex = self.link.as_ref().map_or(0, |link| link.ifindex);
        match &self.backing {
            Backing::Tap { offloads, .. } => Attachment::Tap {
                offloads: offloads.bits(),
            },
            Backing::Packet { .. } => Attachment::Packet { ifindex },
            Backing::Xsk {
                mode,
                multi_buffer,
                local,
                table,
                ..
            } => Attachment::Xsk {
                steered: table.is_some(),
                ifindex,
                mode: *mode,
                multi_buffer: *multi_buffer,
                local: *local,
            },
            Backing::Pcap {
                replay,
                capture,
                paced,
                repeat,
            } => Attachment::Pcap {
                replay: replay.is_some(),
                capture: capture.is_some(),
                paced: *paced,
                repeat: *repeat,
            },
            Backing::Socket {
                queues,
                receivers,
                senders,
                ..
            } => Attachment::Socket {
                queues: *queues,
                receivers: *receivers,
                senders: *senders,
            },
            Backing::None => Attachment::None,
        }
    }

    /// The descriptors in the order that [`Attachment`] gives them.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        match &self.backing {
            Backing::Tap { queues, .. } => queues.iter().map(AsFd::as_fd).collect(),
            Backing::Packet { socket, mute } => vec![socket.as_fd(), mute.as_fd()],
            Backing::Xsk {
                sockets,
                map,
                program,
                table,
                ..
            } => {
                let rest = [map.as_fd(), program.as_fd()];
                let table = table.iter().map(AsFd::as_fd);
                let sockets = sockets.iter().map(AsFd::as_fd);
                sockets.chain(rest).chain(table).collect()
            }
            Backing::Socket { sockets, .. } => sockets.iter().map(AsFd::as_fd).collect(),
            Backing::Pcap {
                replay, capture, ..
            } => replay.iter().chain(capture).map(AsFd::as_fd).collect(),
            Backing::None => Vec::new(),
        }
    }

    /// Gets ready for another user of the descriptors.
    pub fn renew(&mut self) -> Result<(), DeviceError> {
        if let Backing::Xsk {
            sockets, queues, ..
        } = &mut self.backing
        {
            let len = *queues;
            let made = self
                .place
                .run(|| (0..len).map(|_| xsk::create_socket()).collect())
                .and_then(|result: io::Result<Vec<OwnedFd>>| result);
            let name = self.link.as_ref().map_or("a device", |link| &link.name);
            *sockets = made.map_err(|error| kernel("make sockets for", name, error))?;
        }
        Ok(())
    }

    /// The datapath has the descriptors now: lets go of those that must not outlive it.
    pub fn handed_over(&mut self) {
        if let Backing::Xsk { sockets, .. } = &mut self.backing {
            sockets.clear();
        }
    }

    /// Sees what has become of the device: moved, renamed, up, down, gone. True when something is
    /// different from the last look.
    pub fn look(&mut self) -> bool {
        let (place, link) = match &self.backing {
            Backing::Tap { queues, .. } => {
                match queues.first().map(|queue| tap_now(queue, &self.place)) {
                    Some(Ok((place, link))) => (place, link),
                    _ => (self.place.clone(), None),
                }
            }
            Backing::Packet { .. } | Backing::Xsk { .. } => {
                let Some(ifindex) = self.link.as_ref().map(|link| link.ifindex) else {
                    return false;
                };
                let link = self.place.with_links(|links| links.link_numbered(ifindex));
                (self.place.clone(), link.ok().flatten())
            }
            Backing::Socket { .. } | Backing::Pcap { .. } | Backing::None => return false,
        };
        let differs = place != self.place || link != self.link;
        if place != self.place
            && let Err(error) = place.listen()
        {
            tracing::debug!(%error, "no news of a device in another namespace");
        }
        self.place = place;
        self.link = link;
        differs
    }

    /// Whether its descriptors are of no use any more: the device is gone, or has left the
    /// namespace of its sockets.
    pub fn is_lost(&self) -> bool {
        match &self.backing {
            Backing::Tap { .. } | Backing::Packet { .. } | Backing::Xsk { .. } => {
                self.link.is_none()
            }
            Backing::Socket { .. } | Backing::Pcap { .. } | Backing::None => false,
        }
    }

    /// Has an uplink take what `wanted` names, and nothing else. Nothing happens to other ports.
    pub fn steer(&self, wanted: &BTreeMap<Target, PortSet>) -> Result<(), DeviceError> {
        let Backing::Xsk {
            table: Some(table), ..
        } = &self.backing
        else {
            return Ok(());
        };
        let name = self.link.as_ref().map_or("an uplink", |link| &link.name);
        table
            .sync(wanted)
            .map_err(|error| kernel("steer packets of", name, error))
    }

    /// The host's addresses on the device.
    pub fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        match &self.link {
            Some(link) => self.place.with_links(|links| links.addresses(link.ifindex)),
            None => Ok(Vec::new()),
        }
    }

    /// The UDP ports that its sockets receive on.
    pub fn udp_ports(&self) -> BTreeSet<(Family, u16)> {
        self.udp_sockets().0.into_keys().collect()
    }

    /// Duplicates of its UDP sockets: those that receive by their ports, those that send by family.
    fn udp_sockets(&self) -> UdpSockets {
        let Backing::Socket {
            sockets, receivers, ..
        } = &self.backing
        else {
            return UdpSockets::default();
        };
        let copies = sockets.iter().map(|socket| {
            let bound = udp_socket::local(socket.as_fd())?;
            Ok((bound, socket.try_clone()?))
        });
        let mut copies = copies.filter_map(io::Result::ok);
        let receivers = copies.by_ref().take(usize::from(*receivers)).collect();
        let senders = copies.map(|((family, _), socket)| (family, socket));
        (receivers, senders.collect())
    }

    /// Sets the MTU of the device.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), DeviceError> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        self.place
            .with_links(|links| links.set_mtu(link.ifindex, mtu))
            .map_err(|error| kernel("set the MTU of", &link.name, error))
    }

    /// Facts for people.
    pub fn detail(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        match &self.backing {
            Backing::Tap {
                queues, offloads, ..
            } => {
                facts.push(("queues", queues.len().to_string()));
                facts.push(("offloads", offloads.to_string()));
            }
            Backing::Packet { .. } => facts.push(("queues", "1".into())),
            Backing::Xsk { queues, mode, .. } => {
                facts.push(("queues", queues.to_string()));
                let mode = match mode {
                    XskMode::ZeroCopy => "zerocopy",
                    XskMode::Native => "native",
                    XskMode::Generic => "generic",
                };
                facts.push(("mode", mode.into()));
            }
            Backing::Socket { queues, .. } => {
                facts.push(("queues", queues.to_string()));
                let ports = self.udp_ports().into_iter();
                let ports = ports.map(|(family, port)| format!("{family}/{port}"));
                facts.push(("receives", ports.collect::<Vec<_>>().join(",")));
            }
            Backing::Pcap { .. } | Backing::None => {}
        }
        if let Some(label) = self.place.label() {
            facts.push(("netns", label.into()));
        }
        if let Some(link) = &self.link {
            facts.push(("device", link.name.clone()));
            facts.push(("ifindex", link.ifindex.to_string()));
            facts.push(("mtu", link.mtu.to_string()));
        }
        facts
    }
}

/// Where the device of a TAP queue is now, and what it is.
fn tap_now(queue: &OwnedFd, last: &Place) -> io::Result<(Place, Option<Link>)> {
    let name = tap::device_name(queue.as_fd())?;
    let netns = Netns::from(tap::device_namespace(queue.as_fd())?);
    let place = Place::find(netns.as_fd(), last)?;
    let look = || Netlink::open()?.link_named(&name);
    let link = match place {
        Place::Own => look()?,
        Place::Other { .. } => netns.run(look)??,
    };
    Ok((place, link))
}

/// Where the device of a socket is, and what it is. It cannot have moved: a socket that it leaves
/// is of no more use.
fn socket_now(socket: &OwnedFd, ifindex: u32) -> Option<(Place, Option<Link>)> {
    let netns = Netns::of_socket(socket.as_fd()).ok()?;
    let place = Place::find(netns.as_fd(), &Place::Own).ok()?;
    let link = netns
        .run(|| Netlink::open()?.link_numbered(ifindex))
        .and_then(|result| result)
        .ok()?;
    Some((place, link))
}

fn present(link: Option<Link>) -> io::Result<Link> {
    link.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is gone"))
}

fn kernel(what: &'static str, name: &str, source: io::Error) -> DeviceError {
    DeviceError::Kernel {
        what,
        name: name.into(),
        source,
    }
}
