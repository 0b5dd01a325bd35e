//! No frames make a router's port panic: ARP, neighbour discovery, solicitations of routers, DHCP,
//! DHCPv6, echoes, and what errors are about. None of them is lost.
//!
//! An input is a list of frames: two bytes of length, one that says what is done with it, then the frame.
//! Sums of IPv4 headers are made right and those of ICMPv6 vouched for, or few inputs would come far.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use vswitch_datapath::buffer::{FramePool, SharedFrames};
use vswitch_datapath::gateway::{Gateway, LINK_SIZE, Leads, Out, Seat, Trouble};
use vswitch_datapath::neigh::Neighbours;
use vswitch_datapath::offload::Checksum;
use vswitch_datapath::port::PortIndex;
use vswitch_datapath::tick::Tick;
use vswitch_dpapi::RouterId;
use vswitch_dpapi::router::{AdvertiseSpec, DhcpSpec, RouterPortSpec};
use vswitch_packet::ipv4::Ipv4;

/// Frames for all inputs: a region is never unmapped.
static SHARED: LazyLock<Arc<SharedFrames>> =
    LazyLock::new(|| SharedFrames::new(4096, 64).expect("memory"));

fn spec() -> RouterPortSpec {
    RouterPortSpec {
        router: RouterId(1),
        mac: [2, 0, 0, 0, 0, 1],
        addresses: ["10.0.1.1/24", "fd00:1::1/64"]
            .map(|own| own.parse().expect("sound"))
            .into(),
        proxy_arp: true,
        advertise: Some(AdvertiseSpec {
            interval: 600,
            lifetime: 1800,
        }),
        dhcp: Some(DhcpSpec {
            ranges: vec![([10, 0, 1, 100].into(), [10, 0, 1, 109].into())],
            hosts: vec![([2, 0, 0, 0, 0, 7], [10, 0, 1, 7].into())],
            lease_time: 600,
        }),
        dhcpv6: true,
        dns: vec![[10, 0, 1, 53].into(), "fd00::53".parse().expect("sound")],
        snat: Vec::new(),
        dnat: Vec::new(),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let shared = Arc::clone(&SHARED);
    let free = shared.free_len();
    let mut pool = FramePool::new(Arc::clone(&shared));
    let (gateway, neighbours, spec) = (Gateway::default(), Neighbours::new(1, 64), spec());
    let seat = Seat {
        index: PortIndex(1),
        mtu: 1500,
        spec: &spec,
        link_local: spec.link_local(),
        errors_rate: 100,
        neighbours: &neighbours,
        leads: &|_| Leads {
            elsewhere: true,
            direct: true,
        },
    };
    let (mut rest, mut now) = (bytes, 0);
    while let Some(([high, low, what], after)) = rest.split_first_chunk::<3>() {
        let size = usize::from(u16::from_be_bytes([*high, *low])) % 2048;
        let (frame, after) = after.split_at(size.min(after.len()));
        rest = after;
        now += 400;
        let mut frame = frame.to_vec();
        if let Some(ip) = frame.get_mut(LINK_SIZE..)
            && ip.first().is_some_and(|byte| byte >> 4 == 4)
        {
            let size = ip.len().min(usize::from(ip[0] & 0xf) * 4);
            Ipv4::new_unchecked(&mut ip[..size]).fill_checksum();
        }
        let Some(mut packet) = pool.packet(&frame, PortIndex(1)) else {
            continue;
        };
        packet.offload.csum = Checksum::Partial {
            start: 54,
            offset: 2,
        };
        let mut out = Out::default();
        let (pool, tick) = (&mut pool, Tick(now));
        match what % 5 {
            0 => {
                let next = [10, 0, 1, what / 5].into();
                gateway.wait(packet, &seat, next, &seat, tick, pool, &mut out);
            }
            1 => gateway.refuse(packet, Trouble::TimeExceeded, &seat, tick, pool, &mut out),
            _ => gateway.hear(packet, &seat, tick, pool, &mut out),
        }
        while let Some(due) = neighbours.due(tick) {
            gateway.time_came(due, &seat, |_| None, tick, pool, &mut out);
        }
        gateway.tick(&seat, tick, pool, &mut out);
        for packet in out.packets {
            pool.drop_packet(packet);
        }
    }
    for waiting in neighbours.flush(|_| true).1 {
        pool.drop_packet(waiting.packet);
    }
    pool.drain();
    assert_eq!(shared.free_len(), free, "a frame is lost");
});
