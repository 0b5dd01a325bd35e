//! Datagrams in pieces: tracked when they are whole, forwarded as the pieces they are, or not at
//! all.

use std::fmt::Write as _;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vswitch_packet::build::Builder;
use vswitch_packet::{Protocol, ipv4};
use vswitch_tests::topology::{Host, Kind};
use vswitch_tests::{device, traffic};

use super::{Rig, Trying};

pub(super) const TRIALS: &[(&str, Trying)] = &[
    ("pings_in_pieces", pings),
    ("pieces_out_of_order", out_of_order),
    ("pieces_that_overlap", overlapping),
];

/// Whatever comes from the left begins connections; only answers come from the right.
const FLOWS: &str = "\
table=0,ip actions=ct(zone=7,table=1)
table=0,ipv6 actions=ct(zone=7,table=1)
table=1,in_port=left,ip,ct_state=+trk+new actions=ct(commit,zone=7),right
table=1,in_port=left,ipv6,ct_state=+trk+new actions=ct(commit,zone=7),right
table=1,in_port=left,ct_state=+trk+est actions=right
table=1,in_port=right,ct_state=+trk+est actions=left
";

fn pings(kind: Kind) -> Result<()> {
    let rig = Rig::new(kind)?;
    rig.flows(FLOWS)?;
    rig.hold(|rig| {
        let Rig { left, right, .. } = rig;
        for address in [right.v4, right.v6] {
            for size in [1472, 3000, 8000] {
                traffic::ping(&left.namespace, address, size, 3)?;
            }
            let sizes = traffic::udp_sizes();
            traffic::udp_echo(&left.namespace, &right.namespace, address, &sizes)?;
        }
        for address in [left.v4, left.v6] {
            traffic::ensure_no_ping(&right.namespace, address, 3000)?;
        }
        Ok(())
    })
}

/// The content of the datagram that is sent in pieces.
fn content() -> Vec<u8> {
    (0..3400_u32).map(|i| (i * 7) as u8).collect()
}

/// A datagram from left to a port of right, cut at these offsets of its UDP packet.
fn pieces(rig: &Rig, port: u16, ident: u16, cuts: &[(usize, usize)]) -> Result<Vec<Vec<u8>>> {
    let (left, right) = (&rig.left, &rig.right);
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (left.v4, right.v4) else {
        bail!("hosts have IPv4 addresses");
    };
    let mac = |host: &Host| device::mac(&host.namespace, &host.device);
    let macs = [mac(left)?, mac(right)?];
    let whole = Builder::eth(macs[0], macs[1])
        .ipv4(src.octets(), dst.octets())
        .udp(4000, port)
        .payload(&content())
        .build();
    let body = &whole[34..];
    let piece = |&(begin, end): &(usize, usize)| {
        let end = end.min(body.len());
        let more = if end < body.len() {
            ipv4::MORE_FRAGMENTS
        } else {
            0
        };
        let repr = ipv4::Repr {
            src,
            dst,
            protocol: Protocol::UDP,
            ttl: 64,
            tos: 0,
            ident,
            fragment: more | (begin / 8) as u16,
            payload_size: 0,
        };
        let header = Builder::eth(macs[0], macs[1]).ipv4_with(repr, &[]);
        header.payload(&body[begin..end]).build()
    };
    Ok(cuts.iter().map(piece).collect())
}

/// Has the switch take a frame as if it had come from the left.
fn inject(rig: &Rig, frame: &[u8]) -> Result<()> {
    let mut packet = String::from("in_port=left packet=");
    for byte in frame {
        write!(packet, "{byte:02x}")?;
    }
    packet += " actions=resubmit(,0)";
    let topology = &rig.topology;
    topology
        .switch
        .vsctl(&["packet-out", &topology.bridge, &packet])?;
    Ok(())
}

fn listen(rig: &Rig, limit: Duration) -> Result<UdpSocket> {
    let address = rig.right.v4;
    let socket = rig
        .right
        .namespace
        .run(|| Ok(UdpSocket::bind((address, 0))?))?;
    socket.set_read_timeout(Some(limit))?;
    Ok(socket)
}

const CUTS: [(usize, usize); 3] = [(0, 1400), (1400, 2800), (2800, usize::MAX)];

fn out_of_order(kind: Kind) -> Result<()> {
    let rig = Rig::new(kind)?;
    rig.flows(FLOWS)?;
    rig.hold(|rig| {
        let socket = listen(rig, Duration::from_secs(5))?;
        let port = socket.local_addr()?.port();
        let orders = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]];
        for (ident, order) in (1..).zip(orders) {
            let pieces = pieces(rig, port, ident, &CUTS)?;
            for at in order {
                inject(rig, &pieces[at])?;
            }
            let mut buffer = vec![0; 4096];
            let size = socket
                .recv(&mut buffer)
                .with_context(|| format!("nothing came of the order {order:?}"))?;
            ensure!(
                buffer[..size] == content(),
                "another content in order {order:?}"
            );
        }
        Ok(())
    })
}

fn overlapping(kind: Kind) -> Result<()> {
    let rig = Rig::new(kind)?;
    rig.flows(FLOWS)?;
    rig.hold(|rig| {
        let socket = listen(rig, Duration::from_millis(500))?;
        let port = socket.local_addr()?.port();
        let cuts = [(0, 1400), (1392, 2800), (2800, usize::MAX)];
        for piece in pieces(rig, port, 90, &cuts)? {
            inject(rig, &piece)?;
        }
        let mut buffer = [0; 4096];
        ensure!(
            socket.recv(&mut buffer).is_err(),
            "overlapping pieces went on"
        );
        // The next datagram does not suffer.
        for piece in pieces(rig, port, 91, &CUTS)? {
            inject(rig, &piece)?;
        }
        let size = socket.recv(&mut buffer).context("the next datagram")?;
        ensure!(buffer[..size] == content());
        let drops = rig.topology.switch.vsctl(&["drops"])?;
        ensure!(drops.contains("fragment_given_up"), "not counted: {drops}");
        Ok(())
    })
}
