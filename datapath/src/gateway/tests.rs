//! What strangers send: changed messages of every kind that a router's port understands. See
//! `tests/sim/gateway.rs` and `tests/sim/neighbours.rs` for what is said to honest ones.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use vswitch_dpapi::RouterId;
use vswitch_dpapi::router::{AdvertiseSpec, DhcpSpec, RouterPortSpec};
use vswitch_packet::build::Builder;
use vswitch_packet::ipv4::Ipv4;
use vswitch_packet::{Protocol, ipv6};

use super::{Gateway, LINK_SIZE, Leads, Out, Seat, Trouble};
use crate::buffer::{FramePool, SharedFrames};
use crate::neigh::{INCOMPLETE_MAX, Neighbours, WAITING_MAX};
use crate::offload::Checksum;
use crate::port::PortIndex;
use crate::tick::Tick;

/// A region is never unmapped, so there is one for all cases.
static FRAMES: LazyLock<Arc<SharedFrames>> = LazyLock::new(|| SharedFrames::new(1024, 4).unwrap());

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn spec() -> RouterPortSpec {
    RouterPortSpec {
        router: RouterId(1),
        mac: MAC,
        addresses: ["10.0.1.1/24", "fd00:1::1/64"]
            .map(|own| own.parse().unwrap())
            .into(),
        proxy_arp: true,
        advertise: Some(AdvertiseSpec {
            interval: 600,
            lifetime: 1800,
        }),
        dhcp: Some(DhcpSpec {
            ranges: vec![([10, 0, 1, 100].into(), [10, 0, 1, 109].into())],
            hosts: vec![(HOST, [10, 0, 1, 7].into())],
            lease_time: 600,
        }),
        dhcpv6: true,
        dns: vec![[10, 0, 1, 53].into(), "fd00::53".parse().unwrap()],
        snat: Vec::new(),
        dnat: Vec::new(),
    }
}

fn v6(dst: &str) -> Builder {
    Builder::eth(HOST, MAC).ipv6_with(ipv6::Repr {
        src: "fd00:1::2".parse().unwrap(),
        dst: dst.parse().unwrap(),
        next: Protocol::ICMPV6,
        hop_limit: 255,
        traffic_class: 0,
        flow_label: 0,
        payload_size: 0,
    })
}

/// One honest message of each kind.
fn messages() -> Vec<Vec<u8>> {
    let mut dhcp = vec![1, 1, 6, 0, 0, 0, 0, 7];
    dhcp.resize(28, 0);
    dhcp.extend(HOST);
    dhcp.resize(236, 0);
    dhcp.extend([
        99, 130, 83, 99, 53, 1, 1, 50, 4, 10, 0, 1, 100, 55, 2, 1, 3, 255,
    ]);
    let own = "fd00:1::1".parse().unwrap();
    vec![
        Builder::eth(HOST, [0xff; 6])
            .arp_request([10, 0, 1, 2], [10, 0, 1, 1])
            .build(),
        Builder::eth(HOST, MAC)
            .ipv4([10, 0, 1, 2], [10, 0, 1, 1])
            .icmp(8, 0, 1)
            .payload(&[7; 40])
            .build(),
        Builder::eth(HOST, [0xff; 6])
            .ipv4([0, 0, 0, 0], [255, 255, 255, 255])
            .udp(68, 67)
            .payload(&dhcp)
            .build(),
        v6("fd00:1::1").neighbour(135, own, HOST).build(),
        v6("fd00:1::1").neighbour(136, own, HOST).build(),
        v6("ff02::2")
            .icmpv6(133, 0, 0)
            .payload(&[1, 1, 2, 0, 0, 0, 0, 2])
            .build(),
        v6("ff02::1:2")
            .udp(546, 547)
            .payload(&[11, 1, 2, 3, 0, 1, 0, 4, 0, 3, 0, 1])
            .build(),
        v6("fd00:1::1").icmpv6(128, 0, 7).payload(&[7; 40]).build(),
        Builder::eth(HOST, MAC)
            .ipv4([10, 0, 1, 2], [10, 0, 1, 1])
            .tcp(1, 2, 2)
            .build(),
    ]
}

/// A message, what of it is changed, how much of it is left, and what is done with it.
type Change = (
    usize,
    Vec<(prop::sample::Index, u8)>,
    Option<prop::sample::Index>,
    u8,
);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let bytes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let cut = prop::option::weighted(0.3, any::<prop::sample::Index>());
    prop::collection::vec((0_usize..9, bytes, cut, any::<u8>()), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Nothing that comes panics, every packet has one end, and what is remembered is bounded.
    #[test]
    fn strangers_get_an_answer_or_a_reason(changes in changes()) {
        let shared = Arc::clone(&FRAMES);
        let free = shared.free_len();
        let mut pool = FramePool::new(Arc::clone(&shared));
        let (gateway, neighbours, spec) = (Gateway::default(), Neighbours::new(1, 8), spec());
        let seat = Seat {
            index: PortIndex(1),
            mtu: 1500,
            spec: &spec,
            link_local: spec.link_local(),
            errors_rate: 100,
            neighbours: &neighbours,
            leads: &|_| Leads {
                elsewhere: true,
                direct: false,
            },
        };
        let messages = messages();
        for (step, (kind, bytes, cut, what)) in changes.into_iter().enumerate() {
            let mut frame = messages[kind].clone();
            for (at, byte) in bytes {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            if let Some(cut) = cut {
                frame.truncate(LINK_SIZE + cut.index(frame.len() - LINK_SIZE + 1));
            }
            if let Some(ip) = frame.get_mut(LINK_SIZE..)
                && ip.first().is_some_and(|byte| byte >> 4 == 4)
            {
                let size = ip.len().min(usize::from(ip[0] & 0xf) * 4);
                Ipv4::new_unchecked(&mut ip[..size]).fill_checksum();
            }
            let mut packet = pool.packet(&frame, PortIndex(1)).unwrap();
            packet.offload.csum = Checksum::Partial { start: 54, offset: 2 };
            let (mut out, tick) = (Out::default(), Tick(step as u64 * 700));
            match what % 4 {
                0 => {
                    let next = [10, 0, 1, what].into();
                    gateway.wait(packet, &seat, next, &seat, tick, &mut pool, &mut out);
                }
                1 => gateway.refuse(packet, Trouble::NoRoute, &seat, tick, &mut pool, &mut out),
                _ => gateway.hear(packet, &seat, tick, &mut pool, &mut out),
            }
            prop_assert_eq!(out.taken + out.drops.len() as u64, 1 + out.returned);
            while let Some(due) = neighbours.due(tick) {
                gateway.time_came(due, &seat, |_| None, tick, &mut pool, &mut out);
            }
            gateway.tick(&seat, tick, &mut pool, &mut out);
            for packet in out.packets.drain(..) {
                prop_assert!(packet.len() <= 1514 || packet.len() <= frame.len());
                pool.drop_packet(packet);
            }
            let stats = neighbours.stats();
            prop_assert!(stats.len as usize <= INCOMPLETE_MAX + 8);
            prop_assert!(stats.waiting as usize <= WAITING_MAX);
            prop_assert!(gateway.leases(tick).len() <= 11);
        }
        for waiting in neighbours.flush(|_| true).1 {
            pool.drop_packet(waiting.packet);
        }
        pool.drain();
        prop_assert_eq!(shared.free_len(), free, "a frame is lost");
    }
}
