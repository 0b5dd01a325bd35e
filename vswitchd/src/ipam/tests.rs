use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().expect("a subnet")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn with(subnet: &str, range: Option<&str>) -> (Ipam, IpNet) {
    let mut ipam = Ipam::default();
    let subnet = net(subnet);
    ipam.add(subnet, range.map(net), &[]).expect("a good pool");
    (ipam, subnet)
}

/// All that a pool gives until it has no more.
fn all(ipam: &mut Ipam, subnet: &IpNet) -> Vec<IpAddr> {
    std::iter::from_fn(|| ipam.give(subnet).ok()).collect()
}

fn said<T: std::fmt::Debug>(result: Result<T, IpamError>) -> String {
    result.expect_err("it is refused").to_string()
}

#[test]
fn a_subnet_keeps_its_ends_unless_it_has_nothing_else() {
    for (subnet, first, last, count) in [
        ("10.0.0.0/30", "10.0.0.1", "10.0.0.2", 2),
        ("10.0.0.0/31", "10.0.0.0", "10.0.0.1", 2),
        ("10.0.0.7/32", "10.0.0.7", "10.0.0.7", 1),
        ("10.0.0.0/24", "10.0.0.1", "10.0.0.254", 254),
        ("fd00::/126", "fd00::1", "fd00::3", 3),
        ("fd00::/127", "fd00::", "fd00::1", 2),
        ("fd00::1/128", "fd00::1", "fd00::1", 1),
        (
            "255.255.255.252/30",
            "255.255.255.253",
            "255.255.255.254",
            2,
        ),
    ] {
        let (mut ipam, subnet) = with(subnet, None);
        let given = all(&mut ipam, &subnet);
        assert_eq!(given.first(), Some(&ip(first)), "{subnet}");
        assert_eq!(given.last(), Some(&ip(last)), "{subnet}");
        assert_eq!(given.len(), count, "{subnet}");
        assert_eq!(
            said(ipam.give(&subnet)),
            format!("no available addresses on the pool {subnet}")
        );
    }
}

#[test]
fn a_released_address_rests_until_the_search_comes_round() {
    let (mut ipam, subnet) = with("10.0.0.0/29", None);
    let give = |ipam: &mut Ipam| ipam.give(&subnet).expect("room").to_string();
    assert_eq!(give(&mut ipam), "10.0.0.1");
    assert_eq!(give(&mut ipam), "10.0.0.2");
    ipam.release(&subnet, ip("10.0.0.1")).expect("a pool");
    assert_eq!(give(&mut ipam), "10.0.0.3");
    for _ in 4..=6 {
        give(&mut ipam);
    }
    assert_eq!(give(&mut ipam), "10.0.0.1");
}

#[test]
fn the_search_goes_on_where_it_was_before_a_restart() {
    let (mut ipam, subnet) = with("fd00::/64", None);
    for _ in 0..5 {
        ipam.give(&subnet).expect("room");
    }
    let next = ipam.pool(&subnet).expect("it is there").next();
    let (mut again, _) = with("fd00::/64", None);
    again.resume(&subnet, next).expect("a pool");
    assert_eq!(again.give(&subnet), Ok(ip("fd00::6")));
    // One that the pool would never come to is not believed.
    again.resume(&subnet, ip("fd01::")).expect("a pool");
    assert_eq!(again.give(&subnet), Ok(ip("fd00::7")));
}

#[test]
fn a_range_is_where_addresses_come_from_that_nobody_names() {
    let (mut ipam, subnet) = with("10.77.0.0/16", Some("10.77.5.0/30"));
    ipam.take(&subnet, ip("10.77.255.254"))
        .expect("of the subnet");
    let given = all(&mut ipam, &subnet);
    assert_eq!(
        given,
        ["10.77.5.0", "10.77.5.1", "10.77.5.2", "10.77.5.3"].map(ip)
    );
    // A range at an end of the subnet leaves the subnet its own.
    let (mut ipam, subnet) = with("10.77.0.0/16", Some("10.77.255.252/30"));
    assert_eq!(all(&mut ipam, &subnet).len(), 3);
}

#[test]
fn refusals_have_the_words_of_libnetwork() {
    let (mut ipam, subnet) = with("10.0.0.0/24", None);
    let cases = [
        (
            ipam.add(net("10.86.0.5/16"), None, &[]),
            "invalid subnet 10.86.0.5/16: it should be 10.86.0.0/16",
        ),
        (
            ipam.add(net("10.0.0.128/25"), None, &[]),
            "Pool overlaps with other one on this address space: 10.0.0.128/25 overlaps 10.0.0.0/24",
        ),
        (
            ipam.add(net("10.0.0.0/8"), None, &[]),
            "Pool overlaps with other one on this address space: 10.0.0.0/8 overlaps 10.0.0.0/24",
        ),
        (
            ipam.add(
                net("10.1.0.0/16"),
                None,
                &[net("0.0.0.0/0"), net("10.1.2.0/24")],
            ),
            "the subnet 10.1.0.0/16 overlaps 10.1.2.0/24, to which the host has a route",
        ),
        (
            ipam.add(net("10.1.0.0/16"), Some(net("10.0.0.0/8")), &[]),
            "invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.1.0.0/16",
        ),
        (
            ipam.add(net("10.1.0.0/16"), Some(net("10.2.0.0/24")), &[]),
            "invalid ip-range 10.2.0.0/24: parent subnet 10.1.0.0/16 doesn't contain ip-range",
        ),
        (
            ipam.add(net("10.1.0.0/16"), Some(net("fd00::/64")), &[]),
            "invalid ip-range fd00::/64: parent subnet 10.1.0.0/16 doesn't contain ip-range",
        ),
        (
            ipam.add(net("10.1.0.0/16"), Some(net("10.1.2.3/24")), &[]),
            "invalid ip-range 10.1.2.3/24: it should be 10.1.2.0/24",
        ),
        (
            ipam.take(&subnet, ip("10.99.0.1")),
            "Invalid address 10.99.0.1: It does not belong to any of this network's subnets",
        ),
        (
            ipam.take(&subnet, ip("fd00::1")),
            "Invalid address fd00::1: It does not belong to any of this network's subnets",
        ),
        (
            ipam.take(&subnet, ip("10.0.0.255")),
            "Address already in use: 10.0.0.255",
        ),
        (
            ipam.take(&subnet, ip("10.0.0.0")),
            "Address already in use: 10.0.0.0",
        ),
        (
            ipam.remove(&net("10.9.0.0/16")),
            "there is no address pool 10.9.0.0/16",
        ),
    ];
    for (result, sentence) in cases {
        assert_eq!(said(result), sentence);
    }
    // What the subnet keeps cannot be given back.
    ipam.release(&subnet, ip("10.0.0.255")).expect("a pool");
    assert!(ipam.take(&subnet, ip("10.0.0.255")).is_err());
}

#[test]
fn the_defaults_are_dockers_in_order() {
    let defaults = Defaults::local([1, 2, 3, 4, 5]);
    let mut ipam = Ipam::default();
    let mut got = Vec::new();
    let refused = loop {
        match ipam.choose(&defaults, Family::V4, &[]) {
            Ok(subnet) => {
                ipam.add(subnet, None, &[]).expect("it is free");
                got.push(subnet.to_string());
            }
            Err(error) => break error,
        }
    };
    assert_eq!(got.len(), 31);
    assert_eq!(
        got[..4],
        [
            "172.17.0.0/16",
            "172.18.0.0/16",
            "172.19.0.0/16",
            "172.20.0.0/16"
        ]
    );
    assert_eq!(
        got[14..17],
        ["172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20"]
    );
    assert_eq!(got[30], "192.168.240.0/20");
    assert_eq!(
        refused.to_string(),
        "could not find an available, non-overlapping IPv4 address pool among the defaults to \
         assign to the network"
    );
    let v6 = ipam.choose(&defaults, Family::V6, &[]).expect("plenty");
    assert_eq!(v6.to_string(), "fd01:203:405::/64");
    ipam.add(v6, None, &[]).expect("it is free");
    let v6 = ipam.choose(&defaults, Family::V6, &[]).expect("plenty");
    assert_eq!(v6.to_string(), "fd01:203:405:1::/64");
}

#[test]
fn defaults_leave_the_hosts_routes_alone() {
    let defaults = Defaults::local([0; 5]);
    let ipam = Ipam::default();
    let choose = |routes: &[&str]| {
        let routes: Vec<IpNet> = routes.iter().map(|route| net(route)).collect();
        let chosen = ipam.choose(&defaults, Family::V4, &routes);
        chosen.map(|subnet| subnet.to_string()).unwrap_or_default()
    };
    assert_eq!(choose(&["0.0.0.0/0", "fd00::/8"]), "172.17.0.0/16");
    assert_eq!(choose(&["172.17.9.0/24", "172.18.0.1/32"]), "172.19.0.0/16");
    // A tunnel that takes everything private leaves nothing.
    assert_eq!(choose(&["172.16.0.0/12"]), "192.168.0.0/20");
    assert_eq!(
        choose(&["172.16.0.0/12", "192.168.0.0/17"]),
        "192.168.128.0/20"
    );
    assert_eq!(choose(&["128.0.0.0/1"]), "");
}

/// What can be asked of one pool.
#[derive(Clone, Debug)]
enum Ask {
    Give,
    Take(u8),
    Release(u8),
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let ask = prop_oneof![
        3 => Just(Ask::Give),
        2 => any::<u8>().prop_map(Ask::Take),
        3 => any::<u8>().prop_map(Ask::Release),
    ];
    vec(ask, 0..200)
}

/// A subnet of few addresses, and perhaps a part of it.
fn subnets() -> impl Strategy<Value = (IpNet, Option<IpNet>)> {
    (
        any::<bool>(),
        0_u8..=6,
        0_u8..=6,
        any::<u8>(),
        any::<bool>(),
    )
        .prop_map(|(v4, size, part, at, ranged)| {
            let bits = if v4 { 32 } else { 128 };
            let base = |offset: u8, host: u8| {
                let address = if v4 {
                    IpAddr::from([10, 0, 0, offset])
                } else {
                    let mut bytes = [0; 16];
                    bytes[0] = 0xfd;
                    bytes[15] = offset;
                    IpAddr::from(bytes)
                };
                IpNet::new(address, bits - host).expect("a prefix").trunc()
            };
            let subnet = base(64, size);
            let within = 64 | at & ((1 << size) - 1);
            (subnet, ranged.then(|| base(within, part.min(size))))
        })
}

/// The plainest there is: a list of what is given, and counting on from the last.
struct Plain {
    usable: Vec<IpAddr>,
    range: Vec<IpAddr>,
    given: BTreeSet<IpAddr>,
    at: usize,
}

impl Plain {
    fn new(subnet: IpNet, range: Option<IpNet>) -> Self {
        let addresses = |net: IpNet| -> Vec<IpAddr> {
            let first = pool::number(net.network());
            let last = pool::number(net.broadcast());
            let address = |number: u128| match net {
                IpNet::V4(_) => IpAddr::from((number as u32).to_be_bytes()),
                IpNet::V6(_) => IpAddr::from(number.to_be_bytes()),
            };
            (first..=last).map(address).collect()
        };
        let mut usable = addresses(subnet);
        if usable.len() > 2 {
            usable.remove(0);
            if matches!(subnet, IpNet::V4(_)) {
                usable.pop();
            }
        }
        Self {
            usable,
            range: addresses(range.unwrap_or(subnet)),
            given: BTreeSet::new(),
            at: 0,
        }
    }

    fn give(&mut self) -> Option<IpAddr> {
        for step in 0..self.range.len() {
            let at = (self.at + step) % self.range.len();
            let address = self.range[at];
            if self.usable.contains(&address) && self.given.insert(address) {
                self.at = (at + 1) % self.range.len();
                return Some(address);
            }
        }
        None
    }
}

proptest! {
    #[test]
    fn a_pool_does_what_a_list_would((subnet, range) in subnets(), asks in asks()) {
        let mut ipam = Ipam::default();
        ipam.add(subnet, range, &[]).expect("a good pool");
        let mut plain = Plain::new(subnet, range);
        let address = |offset: u8| match subnet {
            IpNet::V4(_) => IpAddr::from([10, 0, 0, offset]),
            IpNet::V6(net) => {
                let mut bytes = net.network().octets();
                bytes[15] = offset;
                IpAddr::from(bytes)
            }
        };
        for ask in asks {
            match ask {
                Ask::Give => prop_assert_eq!(ipam.give(&subnet).ok(), plain.give()),
                Ask::Take(offset) => {
                    let address = address(offset % 160);
                    let free = plain.usable.contains(&address) && plain.given.insert(address);
                    prop_assert_eq!(ipam.take(&subnet, address).is_ok(), free);
                }
                Ask::Release(offset) => {
                    let address = address(offset % 160);
                    plain.given.remove(&address);
                    prop_assert_eq!(ipam.release(&subnet, address), Ok(()));
                }
            }
            let given = ipam.pool(&subnet).expect("it is there").given();
            prop_assert_eq!(given, plain.given.len() as u128);
        }
        // Asked for again, everything is as it was.
        let mut again = Ipam::default();
        again.add(subnet, range, &[]).expect("a good pool");
        for address in &plain.given {
            again.take(&subnet, *address).expect("it was given");
        }
        let next = ipam.pool(&subnet).expect("it is there").next();
        again.resume(&subnet, next).expect("a pool");
        prop_assert_eq!(again, ipam);
    }

    #[test]
    fn pools_never_overlap(subnets in vec((0_u8..4, 26_u8..=32), 0..30)) {
        let mut ipam = Ipam::default();
        let mut there: Vec<IpNet> = Vec::new();
        for (part, len) in subnets {
            let address = IpAddr::from([10, 0, 0, part * 37]);
            let subnet = IpNet::new(address, len).expect("a prefix").trunc();
            let free = !there.iter().any(|other| overlap(other, &subnet));
            prop_assert_eq!(ipam.add(subnet, None, &[]).is_ok(), free);
            if free {
                there.push(subnet);
            } else if there.len() > 3 {
                let gone = there.remove(0);
                prop_assert_eq!(ipam.remove(&gone), Ok(()));
            }
        }
    }
}
