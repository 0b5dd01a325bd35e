//! What routers say: where they are, echoes, advertisements, addresses for hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, Icmpv6Message, Icmpv6Packet,
    NdiscOption, NdiscOptionRepr, NdiscPrefixInfoFlags, NdiscRepr,
};
use vswitch_datapath::counters::DropReason;
use vswitch_dpapi::router::{AdvertiseSpec, DhcpSpec};
use vswitch_dpapi::{PortKind, PortSpec, RouterPortSpec};
use vswitch_packet::eth::Eth;
use vswitch_packet::ipv4::Ipv4;
use vswitch_packet::ipv6::{self, Ipv6};
use vswitch_packet::udp::Udp;
use vswitch_packet::{EtherType, MacAddr, Protocol, arp};
use vswitch_tests::sim::{Sim, port, router_mac, router_port};

use super::routing::{one, only, packet, packet_v6, switch, two_networks};
use super::{build::Builder, mac};

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// A router's port with what `change` makes of it, on bridge 1 with port 1.
fn with(change: impl Fn(&mut RouterPortSpec)) -> Sim {
    switch(1, vec![port(1, 1), changed(&change)], 1)
}

fn changed(change: &impl Fn(&mut RouterPortSpec)) -> PortSpec {
    let mut spec = router_port(11, 1, 1, 0, &["10.0.1.1/24", "fd00:1::1/64"]);
    if let PortKind::Router(own) = &mut spec.kind {
        change(own);
    }
    spec
}

fn discovery(src: u8, to: [u8; 6], from: &str, dst: &str) -> Builder {
    Builder::eth(mac(src), to).ipv6_with(ipv6::Repr {
        src: v6(from),
        dst: v6(dst),
        next: Protocol::ICMPV6,
        hop_limit: 255,
        traffic_class: 0,
        flow_label: 0,
        payload_size: 0,
    })
}

#[test]
fn a_router_says_where_it_is_and_announces_its_addresses() {
    let ports = vec![
        port(1, 1),
        router_port(11, 1, 1, 0, &["10.0.1.1/24", "fd00:1::1/64"]),
    ];
    let mut sim = switch(1, ports, 1);
    let ask = Builder::eth(mac(1), [0xff; 6]).arp_request([10, 0, 1, 2], [10, 0, 1, 1]);
    let answer = one(sim.send(1, ask.build()), 1);
    let view = arp::Arp::new_checked(&answer[14..]).unwrap();
    assert_eq!(view.to_string(), "10.0.1.1 is at 02:00:ff:00:00:0b");
    assert_eq!(Eth::new_unchecked(&answer).dst().0, mac(1));
    // Who tries an address before taking it is told that it is taken.
    let probe = Builder::eth(mac(1), [0xff; 6]).arp_request([0, 0, 0, 0], [10, 0, 1, 1]);
    assert_eq!(only(sim.send(1, probe.build()), 1).len(), 1);
    let other = Builder::eth(mac(1), [0xff; 6]).arp_request([10, 0, 1, 2], [10, 0, 1, 9]);
    assert!(sim.send(1, other.build()).is_empty());

    let group = [0x33, 0x33, 0xff, 0, 0, 1];
    let ask = discovery(1, group, "fd00:1::2", "ff02::1:ff00:1")
        .neighbour(135, v6("fd00:1::1"), mac(1))
        .build();
    let answer = one(sim.send(1, ask), 1);
    let ip = Ipv6::new_checked(&answer[14..]).unwrap();
    assert_eq!((ip.src(), ip.dst()), (v6("fd00:1::1"), v6("fd00:1::2")));
    assert_eq!(
        Icmpv6Packet::new_checked(ip.payload()).unwrap().msg_type(),
        Icmpv6Message::NeighborAdvert
    );

    // A further address is announced when it appears, twice.
    let mut desired = sim.desired().clone();
    let PortKind::Router(own) = &mut desired.ports[1].kind else {
        panic!("the router's port")
    };
    own.addresses.push("10.0.9.1/24".parse().unwrap());
    sim.set_desired(desired);
    let mut said = Vec::new();
    for _ in 0..60 {
        sim.advance(Duration::from_millis(100));
        sim.run();
        said.extend(sim.take().into_values().flatten().filter_map(|frame| {
            let view = arp::Arp::new_checked(&frame.bytes[14..]).ok()?;
            Some((view.spa(), view.tpa()))
        }));
    }
    let own = Ipv4Addr::new(10, 0, 9, 1);
    assert_eq!(
        said.iter().filter(|pair| **pair == (own, own)).count(),
        2,
        "{said:?}"
    );
}

#[test]
fn somebody_who_takes_our_address_is_answered_and_counted() {
    let mut sim = with(|_| {});
    let thief = Builder::eth(mac(66), [0xff; 6]).arp_request([10, 0, 1, 1], [10, 0, 1, 1]);
    let defence = one(sim.send(1, thief.build()), 1);
    let view = arp::Arp::new_checked(&defence[14..]).unwrap();
    assert_eq!(
        (view.sha().0, view.spa()),
        (router_mac(11), Ipv4Addr::new(10, 0, 1, 1))
    );
    assert_eq!(sim.new_drops(), [(DropReason::RouterForged, 1)]);
}

#[test]
fn two_who_take_one_address_do_not_answer_each_other_for_ever() {
    let mut sim = with(|own| own.addresses.push("10.0.9.1/24".parse().unwrap()));
    let thief = |own| {
        Builder::eth(mac(66), [0xff; 6])
            .arp_request(own, own)
            .build()
    };
    let mut told = Vec::new();
    for second in 0..25 {
        for _ in 0..3 {
            let out = sim.send(1, thief([10, 0, 1, 1]));
            told.extend(out.values().map(|_| second));
        }
        sim.advance(Duration::from_secs(1));
    }
    assert_eq!(told, [0, 10, 20], "once in ten seconds");
    // Another address has not been defended yet.
    assert_eq!(only(sim.send(1, thief([10, 0, 9, 1])), 1).len(), 1);
}

#[test]
fn proxy_arp_answers_for_what_is_behind_the_router_only() {
    let mut sim = two_networks();
    let mut desired = sim.desired().clone();
    for port in &mut desired.ports {
        if let PortKind::Router(own) = &mut port.kind {
            own.proxy_arp = true;
        }
    }
    let ask = |to| {
        Builder::eth(mac(1), [0xff; 6])
            .arp_request([10, 0, 1, 2], to)
            .build()
    };
    assert!(
        sim.send(1, ask([10, 0, 2, 2])).is_empty(),
        "not unless it is asked for"
    );
    sim.set_desired(desired);
    assert_eq!(only(sim.send(1, ask([10, 0, 2, 2])), 1).len(), 1);
    assert!(
        sim.send(1, ask([10, 0, 1, 77])).is_empty(),
        "who is here answers for itself"
    );
    assert!(
        sim.send(1, ask([9, 9, 9, 9])).is_empty(),
        "there is no route"
    );
}

#[test]
fn echoes_of_every_address_come_back_whole() {
    let mut sim = two_networks();
    for to in [[10, 0, 1, 1], [10, 0, 2, 1]] {
        let ping = packet(1, 11, [10, 0, 1, 2], to, 5)
            .icmp(8, 0, 0x1234_0007)
            .payload(&[9; 700]);
        let ping = ping.build();
        let answer = one(sim.send(1, ping.clone()), 1);
        let ip = Ipv4::new_checked(&answer[14..]).unwrap();
        assert!(ip.is_whole());
        assert_eq!(
            (ip.src().octets(), ip.dst().octets(), ip.ttl()),
            (to, [10, 0, 1, 2], 64)
        );
        let icmp = vswitch_packet::icmp::Icmp::new_checked(ip.payload()).unwrap();
        assert!(icmp.is_whole());
        assert_eq!((icmp.kind(), icmp.rest()), (0, 0x1234_0007));
        assert_eq!(icmp.payload(), [9; 700]);
    }
    let ping = packet_v6(1, 11, "fd00:1::2", "fd00:1::1", 5)
        .icmpv6(128, 0, 7)
        .payload(&[9; 100]);
    let answer = one(sim.send(1, ping.build()), 1);
    let ip = Ipv6::new_checked(&answer[14..]).unwrap();
    let icmp = vswitch_packet::icmpv6::Icmpv6::new_checked(ip.payload()).unwrap();
    assert!(icmp.is_whole(ip.src(), ip.dst()));
    assert_eq!((icmp.kind(), icmp.rest()), (129, 7));
    // The whole network is not asked by way of the router.
    let all = packet(1, 11, [10, 0, 1, 2], [10, 0, 2, 255], 5)
        .icmp(8, 0, 1)
        .build();
    assert!(sim.send(1, all).is_empty());
    assert_eq!(sim.new_drops(), [(DropReason::RouterMartian, 1)]);
}

/// The networks, servers, MTU and lifetime of an advertisement.
type Advertised = (Vec<(Ipv6Addr, u8, bool)>, Vec<u8>, Option<u32>, u64);

/// What an advertisement says.
fn advertised(frame: &[u8]) -> Option<Advertised> {
    let ip = Ipv6::new_checked(frame.get(14..)?).ok()?;
    let icmp = Icmpv6Packet::new_checked(ip.payload()).ok()?;
    if icmp.msg_type() != Icmpv6Message::RouterAdvert {
        return None;
    }
    assert!(icmp.verify_checksum(&ip.src(), &ip.dst()));
    assert_eq!(ip.hop_limit(), 255);
    let Ok(NdiscRepr::RouterAdvert {
        router_lifetime,
        mtu,
        ..
    }) = NdiscRepr::parse(&icmp)
    else {
        panic!("an advertisement");
    };
    let (mut prefixes, mut dns) = (Vec::new(), Vec::new());
    let mut options = icmp.payload();
    while !options.is_empty() {
        let option = NdiscOption::new_checked(options).unwrap();
        match NdiscOptionRepr::parse(&option).unwrap() {
            NdiscOptionRepr::PrefixInformation(info) => prefixes.push((
                info.prefix,
                info.prefix_len,
                info.flags.contains(NdiscPrefixInfoFlags::ADDRCONF),
            )),
            NdiscOptionRepr::Unknown {
                type_: 25, data, ..
            } => dns = data[6..].to_vec(),
            _ => {}
        }
        options = &options[usize::from(option.data_len()) * 8..];
    }
    Some((prefixes, dns, mtu, router_lifetime.secs()))
}

#[test]
fn hosts_are_told_of_networks_by_themselves_and_when_they_ask() {
    let advertise = |own: &mut RouterPortSpec| {
        own.addresses.push("fd00:9::1/72".parse().unwrap());
        own.advertise = Some(AdvertiseSpec {
            interval: 60,
            lifetime: 180,
        });
        own.dns = vec![IpAddr::V6(v6("fd00::53"))];
    };
    let mut sim = with(advertise);
    let expected = (
        vec![(v6("fd00:1::"), 64, true), (v6("fd00:9::"), 72, false)],
        v6("fd00::53").octets().to_vec(),
        Some(1500),
        180,
    );
    let mut times = Vec::new();
    for tenth in 0..3600 {
        sim.advance(Duration::from_millis(100));
        sim.run();
        for frame in sim.take().into_values().flatten() {
            if let Some(told) = advertised(&frame.bytes) {
                assert_eq!(told, expected);
                assert_eq!(
                    Eth::new_unchecked(&frame.bytes).dst().0,
                    [0x33, 0x33, 0, 0, 0, 1]
                );
                times.push(tenth);
            }
        }
    }
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((6..=9).contains(&times.len()), "{times:?}");
    assert!(gaps.iter().all(|gap| *gap <= 601), "{gaps:?}");

    let all_routers = [0x33, 0x33, 0, 0, 0, 2];
    let ask = discovery(1, all_routers, "fe80::2", "ff02::2").icmpv6(133, 0, 0);
    let frame = one(sim.send(1, ask.build()), 1);
    assert_eq!(advertised(&frame), Some(expected));
    assert_eq!(
        Eth::new_unchecked(&frame).dst().0,
        mac(1),
        "who asks is answered alone"
    );
    let far = Builder::eth(mac(1), all_routers).ipv6(v6("fe80::2"), v6("ff02::2"));
    sim.new_drops();
    assert!(sim.send(1, far.icmpv6(133, 0, 0).build()).is_empty());
    assert_eq!(
        sim.new_drops(),
        [(DropReason::RouterForged, 1)],
        "it came from another network"
    );
}

/// What is advertised to all in so many tenths of a second, and in which.
fn overheard(sim: &mut Sim, tenths: u32) -> Vec<(u32, Advertised)> {
    let mut all = Vec::new();
    for tenth in 0..tenths {
        sim.advance(Duration::from_millis(100));
        sim.run();
        let said = sim.take();
        let told = said.values().flatten();
        all.extend(told.filter_map(|frame| Some((tenth, advertised(&frame.bytes)?))));
    }
    all
}

#[test]
fn what_a_router_says_of_itself_is_said_anew_when_it_changes_and_taken_back_when_it_ends() {
    let mut sim = with(|own| {
        own.dns = vec![IpAddr::V6(v6("fd00::53"))];
        own.advertise = Some(AdvertiseSpec {
            interval: 600,
            lifetime: 1800,
        });
    });
    overheard(&mut sim, 300);
    let change = |sim: &mut Sim, change: &dyn Fn(&mut RouterPortSpec)| {
        let mut desired = sim.desired().clone();
        let PortKind::Router(own) = &mut desired.ports[1].kind else {
            panic!("the router's port")
        };
        change(own);
        sim.set_desired(desired);
    };
    change(&mut sim, &|own| {
        own.addresses.push("fd00:7::1/64".parse().unwrap());
    });
    let said = overheard(&mut sim, 300);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].0 <= 1, "at once: {said:?}");
    let (networks, _, _, lifetime) = &said[0].1;
    assert_eq!((networks.len(), *lifetime), (2, 1800));
    // Two changes one after the other: all hear of it once in three seconds.
    change(&mut sim, &|own| own.dns.clear());
    let mut said = overheard(&mut sim, 5);
    change(&mut sim, &|own| own.dhcpv6 = true);
    said.extend(
        overheard(&mut sim, 100)
            .into_iter()
            .map(|(tenth, told)| (tenth + 5, told)),
    );
    let gaps: Vec<_> = said.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(
        gaps.len() == 2 && gaps.iter().all(|gap| *gap >= 30),
        "{gaps:?}"
    );

    change(&mut sim, &|own| own.advertise = None);
    let said = overheard(&mut sim, 6000);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].0 <= 30);
    assert!(
        said.iter()
            .all(|(_, told)| told.3 == 0 && told.0.is_empty()),
        "{said:?}"
    );
}

#[test]
fn who_has_no_address_hears_of_the_router_as_one_of_all_once_in_three_seconds() {
    let mut sim = with(|own| {
        own.advertise = Some(AdvertiseSpec {
            interval: 1800,
            lifetime: 5400,
        });
    });
    overheard(&mut sim, 300);
    let ask = discovery(1, [0x33, 0x33, 0, 0, 0, 2], "::", "ff02::2").icmpv6(133, 0, 0);
    let ask = ask.build();
    let mut said = Vec::new();
    for tenth in 0..100 {
        assert!(sim.send(1, ask.clone()).is_empty(), "not at once");
        let told = overheard(&mut sim, 1);
        said.extend(told.into_iter().map(|_| tenth));
    }
    assert_eq!(said, [0, 30, 60, 90]);
}

#[test]
fn a_router_that_is_not_to_advertise_is_silent() {
    let mut sim = with(|_| {});
    let ask = discovery(1, [0x33, 0x33, 0, 0, 0, 2], "fe80::2", "ff02::2").icmpv6(133, 0, 0);
    assert!(sim.send(1, ask.build()).is_empty());
    for _ in 0..100 {
        sim.advance(Duration::from_secs(1));
        sim.run();
    }
    let said = sim.take();
    assert!(
        said.values()
            .flatten()
            .all(|frame| advertised(&frame.bytes).is_none())
    );
}

/// What a client says.
fn client<'a>(station: u8, kind: DhcpMessageType) -> DhcpRepr<'a> {
    let none = Ipv4Addr::UNSPECIFIED;
    DhcpRepr {
        message_type: kind,
        transaction_id: 77,
        secs: 0,
        client_hardware_address: EthernetAddress(mac(station)),
        client_ip: none,
        your_ip: none,
        server_ip: none,
        router: None,
        subnet_mask: None,
        relay_agent_ip: none,
        broadcast: false,
        requested_ip: None,
        client_identifier: None,
        server_identifier: None,
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    }
}

/// Sends a message; gives what is answered: kind, address, and the frame.
fn ask(
    sim: &mut Sim,
    station: u8,
    repr: &DhcpRepr<'_>,
) -> Option<(DhcpMessageType, Ipv4Addr, Vec<u8>)> {
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
        .unwrap();
    let frame = Builder::eth(mac(station), [0xff; 6])
        .ipv4([0, 0, 0, 0], [255, 255, 255, 255])
        .udp(68, 67)
        .payload(&bytes)
        .build();
    let out = sim.send(1, frame);
    if out.is_empty() {
        return None;
    }
    let frame = one(out, 1);
    let ip = Ipv4::new_checked(&frame[14..]).unwrap();
    let datagram = Udp::new_checked(ip.payload()).unwrap();
    assert_eq!((datagram.src_port(), datagram.dst_port()), (67, 68));
    let view = DhcpPacket::new_checked(datagram.payload()).unwrap();
    let told = DhcpRepr::parse(&view).unwrap();
    assert_eq!(told.transaction_id, 77);
    let (kind, address) = (told.message_type, told.your_ip);
    Some((kind, address, frame.clone()))
}

fn with_dhcp() -> Sim {
    with(|own| {
        own.dns = vec!["10.0.1.53".parse().unwrap()];
        own.dhcp = Some(DhcpSpec {
            ranges: vec![([10, 0, 1, 100].into(), [10, 0, 1, 103].into())],
            hosts: vec![(mac(50), [10, 0, 1, 50].into())],
            lease_time: 3600,
        });
    })
}

fn lease(sim: &mut Sim, station: u8) -> Option<Ipv4Addr> {
    let (kind, offered, _) = ask(sim, station, &client(station, DhcpMessageType::Discover))?;
    assert_eq!(kind, DhcpMessageType::Offer);
    let mut request = client(station, DhcpMessageType::Request);
    request.requested_ip = Some(offered);
    request.server_identifier = Some(Ipv4Addr::new(10, 0, 1, 1));
    let (kind, given, _) = ask(sim, station, &request)?;
    assert_eq!((kind, given), (DhcpMessageType::Ack, offered));
    Some(given)
}

#[test]
fn a_host_gets_an_address_and_all_that_goes_with_it() {
    let mut sim = with_dhcp();
    let given = lease(&mut sim, 7).unwrap();
    assert!((100..=103).contains(&given.octets()[3]));
    let (_, _, frame) = ask(&mut sim, 7, &client(7, DhcpMessageType::Discover)).unwrap();
    let ip = Ipv4::new_checked(&frame[14..]).unwrap();
    assert_eq!((ip.src().octets(), ip.dst()), ([10, 0, 1, 1], given));
    assert_eq!(Eth::new_unchecked(&frame).dst().0, mac(7));
    let datagram = Udp::new_checked(ip.payload()).unwrap();
    let view = DhcpPacket::new_checked(datagram.payload()).unwrap();
    let told = DhcpRepr::parse(&view).unwrap();
    assert_eq!(told.router.unwrap().octets(), [10, 0, 1, 1]);
    assert_eq!(told.subnet_mask.unwrap().octets(), [255, 255, 255, 0]);
    assert_eq!(told.dns_servers.unwrap()[0].octets(), [10, 0, 1, 53]);
    assert_eq!(told.lease_duration, Some(3600));
    assert_eq!(
        (told.renew_duration, told.rebind_duration),
        (Some(1800), Some(3150))
    );
    let mtu = view.options().find(|option| option.kind == 26).unwrap();
    assert_eq!(mtu.data, 1500_u16.to_be_bytes());
    let rows = sim.gateway().leases(sim.tick());
    assert_eq!((rows[0].address, rows[0].mac), (given, mac(7)));
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn an_address_is_one_hosts_and_is_free_again_when_its_time_is_over() {
    let mut sim = with_dhcp();
    let mut all: Vec<_> = (1..=4).map(|host| lease(&mut sim, host).unwrap()).collect();
    let again: Vec<_> = (1..=4).map(|host| lease(&mut sim, host).unwrap()).collect();
    assert_eq!(all, again, "who asks again gets the same");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
    assert_eq!(lease(&mut sim, 5), None, "there are no more");
    assert_eq!(
        lease(&mut sim, 50),
        Some([10, 0, 1, 50].into()),
        "but the one that is kept"
    );
    let mut other = client(5, DhcpMessageType::Request);
    other.requested_ip = Some(all[0]);
    let (kind, _, frame) = ask(&mut sim, 5, &other).unwrap();
    assert_eq!(kind, DhcpMessageType::Nak);
    assert_eq!(Eth::new_unchecked(&frame).dst().0, [0xff; 6]);
    sim.advance(Duration::from_secs(3601));
    assert!(lease(&mut sim, 5).is_some());
}

#[test]
fn what_another_server_may_have_given_is_not_refused() {
    let mut sim = with_dhcp();
    let taken = lease(&mut sim, 1).unwrap();
    let request = |wanted: Ipv4Addr, has: bool| {
        let mut request = client(5, DhcpMessageType::Request);
        if has {
            request.client_ip = wanted;
        } else {
            request.requested_ip = Some(wanted);
        }
        request
    };
    // On this network, but not ours to give; and a client that was here and is now elsewhere renews.
    for (wanted, has) in [
        ([10, 0, 1, 200], false),
        ([10, 0, 1, 200], true),
        ([10, 7, 7, 7], true),
    ] {
        let told = ask(&mut sim, 5, &request(wanted.into(), has));
        assert!(told.is_none(), "{wanted:?} {has}");
    }
    for (wanted, has) in [
        (Ipv4Addr::from([10, 7, 7, 7]), false),
        (taken, false),
        (taken, true),
        ([10, 0, 1, 50].into(), false),
        ([10, 0, 1, 1].into(), false),
    ] {
        let (kind, ..) = ask(&mut sim, 5, &request(wanted, has)).unwrap();
        assert_eq!(kind, DhcpMessageType::Nak, "{wanted} {has}");
    }
    // Who took our offer is told when it is gone.
    let mut chosen = request([10, 0, 1, 200].into(), false);
    chosen.server_identifier = Some([10, 0, 1, 1].into());
    assert_eq!(ask(&mut sim, 5, &chosen).unwrap().0, DhcpMessageType::Nak);
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn addresses_are_given_back_and_those_found_in_use_are_not_given() {
    let mut sim = with_dhcp();
    let given = lease(&mut sim, 1).unwrap();
    let mut decline = client(1, DhcpMessageType::Decline);
    decline.requested_ip = Some(given);
    assert!(ask(&mut sim, 1, &decline).is_none());
    let next = lease(&mut sim, 1).unwrap();
    assert_ne!(next, given, "somebody else uses the first one");
    let mut release = client(1, DhcpMessageType::Release);
    release.client_ip = next;
    assert!(ask(&mut sim, 1, &release).is_none());
    assert_eq!(sim.gateway().leases(sim.tick()).len(), 0);
    // A station cannot speak for another.
    let mut bytes = vec![0; 400];
    client(2, DhcpMessageType::Discover)
        .emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
        .unwrap();
    let forged = Builder::eth(mac(3), [0xff; 6])
        .ipv4([0, 0, 0, 0], [255, 255, 255, 255])
        .udp(68, 67)
        .payload(&bytes)
        .build();
    sim.new_drops();
    assert!(sim.send(1, forged).is_empty());
    assert_eq!(sim.new_drops(), [(DropReason::RouterForged, 1)]);
}

#[test]
fn a_flood_of_clients_is_bounded() {
    let mut sim = with_dhcp();
    let mut answered = 0;
    for number in 0..1000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let station = [2, 9, 9, 9, high, low];
        let mut repr = client(1, DhcpMessageType::Discover);
        repr.client_hardware_address = EthernetAddress(station);
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
            .unwrap();
        let frame = Builder::eth(station, [0xff; 6])
            .ipv4([0, 0, 0, 0], [255, 255, 255, 255])
            .udp(68, 67)
            .payload(&bytes)
            .build();
        answered += sim.send(1, frame).len();
    }
    assert_eq!(answered, 4, "as many as there are addresses");
    assert_eq!(sim.gateway().leases(sim.tick()).len(), 4);
    sim.advance(Duration::from_secs(61));
    assert!(
        lease(&mut sim, 7).is_some(),
        "offers that nobody took are free again"
    );
}

#[test]
fn servers_of_names_are_told_by_dhcpv6() {
    let mut sim = with(|own| {
        own.dhcpv6 = true;
        own.dns = vec![IpAddr::V6(v6("fd00::53"))];
    });
    let question = [11, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
    let group = [0x33, 0x33, 0, 1, 0, 2];
    let ask = Builder::eth(mac(1), group).ipv6(v6("fe80::2"), v6("ff02::1:2"));
    let frame = one(sim.send(1, ask.udp(546, 547).payload(&question).build()), 1);
    assert_eq!(Eth::new_unchecked(&frame).dst(), MacAddr(mac(1)));
    assert_eq!(Eth::new_unchecked(&frame).ethertype(), EtherType::IPV6);
    let ip = Ipv6::new_checked(&frame[14..]).unwrap();
    let payload = &ip.payload()[8..];
    assert_eq!(payload[..4], [7, 1, 2, 3]);
    assert_eq!(payload[4..18], question[4..18], "the client's own name");
    assert_eq!(payload[32..36], [0, 23, 0, 16]);
    assert_eq!(payload[36..], v6("fd00::53").octets());
}
