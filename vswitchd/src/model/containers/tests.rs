use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ipam::{Defaults, Family};

/// Gives ids that differ.
#[derive(Default)]
struct Ids(u64);

impl Ids {
    fn next(&mut self) -> Id {
        self.0 += 1;
        let mut bytes = [0xee; 32];
        bytes[..8].copy_from_slice(&self.0.to_be_bytes());
        Id::new(bytes)
    }
}

/// Container networks with what they are handed from outside.
#[derive(Default)]
struct Bench {
    all: Containers,
    ids: Ids,
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a subnet")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn new(name: &str) -> NewNetwork {
    NewNetwork {
        name: name.into(),
        ipv4: true,
        ..NewNetwork::default()
    }
}

/// A network of one subnet.
fn of(name: &str, subnet: &str) -> NewNetwork {
    NewNetwork {
        subnets: vec![net(subnet)],
        ..new(name)
    }
}

fn member(name: &str) -> NewEndpoint {
    NewEndpoint {
        name: name.into(),
        ..NewEndpoint::default()
    }
}

impl Bench {
    fn network(&mut self, new: NewNetwork) -> Result<Id, CnmError> {
        let id = self.ids.next();
        let defaults = Defaults::local([1; 5]);
        let made = self.all.create_network(id, new, &defaults, &[]);
        made.map(|network| network.id)
    }

    fn endpoint(&mut self, network: Id, new: NewEndpoint) -> Result<Id, CnmError> {
        let id = self.ids.next();
        let made = self.all.create_endpoint(id, &network, new);
        made.map(|endpoint| endpoint.id)
    }

    fn sandbox(&mut self, name: &str) -> Result<Id, CnmError> {
        let id = self.ids.next();
        let new = NewSandbox {
            name: name.into(),
            ..NewSandbox::default()
        };
        self.all.create_sandbox(id, new).map(|sandbox| sandbox.id)
    }

    /// A refusal, after which everything is as before.
    fn refused<T: std::fmt::Debug>(
        &mut self,
        attempt: impl FnOnce(&mut Self) -> Result<T, CnmError>,
    ) -> String {
        let before = self.all.clone();
        let error = attempt(self).expect_err("it is refused");
        assert_eq!(self.all, before, "{error}");
        error.to_string()
    }
}

/// Written down and read again.
fn restarted(all: &Containers) -> Containers {
    let networks = all.networks.values().filter(|one| !one.is_predefined());
    let networks = networks.map(|one| {
        let row = serde_json::to_value(one).expect("JSON");
        serde_json::from_value(row).expect("the same")
    });
    let endpoints = all.endpoints.values().map(|one| {
        let row = serde_json::to_value(one).expect("JSON");
        serde_json::from_value(row).expect("the same")
    });
    let sandboxes = all.sandboxes.values().map(|one| {
        let row = serde_json::to_value(one).expect("JSON");
        serde_json::from_value(row).expect("the same")
    });
    Containers::load(networks.collect(), endpoints.collect(), sandboxes.collect())
        .expect("what was remembered fits together")
}

#[test]
fn networks_are_refused_in_dockers_words() {
    let mut b = Bench::default();
    b.network(of("red", "10.1.0.0/24")).expect("the first");
    let ask = |b: &mut Bench, new: NewNetwork| b.refused(|b| b.network(new));
    let name = |b: &mut Bench, name: &str| ask(b, new(name));
    assert_eq!(name(&mut b, ""), "invalid name: name is empty");
    assert_eq!(name(&mut b, "  "), "invalid name: name is empty");
    assert_eq!(
        name(&mut b, "a b"),
        "invalid name: \"a b\" is not a letter or digit, followed by letters, digits, '_', '.' and '-'"
    );
    assert!(name(&mut b, "../x").starts_with("invalid name"));
    assert!(name(&mut b, &"x".repeat(64)).starts_with("invalid name"));
    assert_eq!(name(&mut b, "red"), "network with name red already exists");
    assert_eq!(
        name(&mut b, "host"),
        "operation is not permitted on predefined host network"
    );
    let driver = |name: &str| NewNetwork {
        driver: Some(name.into()),
        ..new("x")
    };
    assert_eq!(ask(&mut b, driver("nosuch")), "unknown driver \"nosuch\"");
    assert_eq!(
        ask(&mut b, driver("host")),
        "only one instance of \"host\" network is allowed"
    );
    assert_eq!(
        ask(
            &mut b,
            NewNetwork {
                ipv4: false,
                ..new("x")
            }
        ),
        "IPv4 or IPv6 must be enabled"
    );
    assert_eq!(
        ask(&mut b, of("x", "fd00::/64")),
        "IPv6 is given addresses but not enabled: fd00::/64"
    );
    assert_eq!(
        ask(&mut b, of("x", "10.1.0.128/25")),
        "Pool overlaps with other one on this address space: 10.1.0.128/25 overlaps 10.1.0.0/24"
    );
    assert_eq!(
        ask(&mut b, of("x", "10.86.0.5/16")),
        "invalid subnet 10.86.0.5/16: it should be 10.86.0.0/16"
    );
    assert_eq!(
        ask(
            &mut b,
            NewNetwork {
                subnets: vec![net("10.2.0.0/16"), net("10.2.3.0/24")],
                ..new("x")
            }
        ),
        "multiple overlapping subnet configuration is not supported"
    );
    let with = |edit: &dyn Fn(&mut NewNetwork)| {
        let mut new = of("x", "10.86.0.0/16");
        edit(&mut new);
        new
    };
    let cases: [(NewNetwork, &str); 9] = [
        (
            with(&|new| new.gateways.push(ip("10.87.0.1"))),
            "no matching subnet for gateway 10.87.0.1",
        ),
        (
            with(&|new| new.ranges.push(net("10.87.0.0/24"))),
            "no matching subnet for range 10.87.0.0/24",
        ),
        (
            with(&|new| {
                new.aux.insert("r".into(), ip("10.87.0.1"));
            }),
            "no matching subnet for aux-address 10.87.0.1",
        ),
        (
            with(&|new| new.gateways = vec![ip("10.86.0.1"), ip("10.86.0.2")]),
            "every ip-range or gateway must have a corresponding subnet",
        ),
        (
            with(&|new| {
                new.subnets.push(net("10.88.0.0/16"));
                new.gateways = vec![ip("10.86.0.1"), ip("10.86.0.2")];
            }),
            "cannot configure multiple gateways (10.86.0.1, 10.86.0.2) on the same subnet (10.86.0.0/16)",
        ),
        (
            with(&|new| new.ranges.push(net("10.86.0.0/8"))),
            "invalid ip-range 10.86.0.0/8: CIDR block is bigger than its parent subnet 10.86.0.0/16",
        ),
        (
            with(&|new| new.gateways.push(ip("10.86.255.255"))),
            "Address already in use: 10.86.255.255",
        ),
        (
            with(&|new| {
                new.gateways.push(ip("10.86.0.1"));
                new.aux.insert("r".into(), ip("10.86.0.1"));
            }),
            "Address already in use: 10.86.0.1",
        ),
        (
            // No room for the gateway that nobody named.
            of("x", "10.86.0.0/32"),
            "",
        ),
    ];
    for (new, sentence) in cases {
        if sentence.is_empty() {
            // One address is enough for a gateway, and then for nobody else.
            let id = b.network(new).expect("it fits");
            let said = b.refused(|b| b.endpoint(id, member("a")));
            assert!(
                said.starts_with(
                    "no available IPv4 addresses on this network's address pools: x ("
                )
            );
            continue;
        }
        assert_eq!(ask(&mut b, new), sentence);
    }
}

#[test]
fn networks_go_when_nobody_needs_them() {
    let mut b = Bench::default();
    let red = b.network(new("red")).expect("made");
    let a = b.endpoint(red, member("a")).expect("made");
    let said = b.refused(|b| b.all.remove_network(&red));
    assert_eq!(said, format!("network red id {red} has active endpoints"));
    b.all.remove_endpoint(&a, false).expect("nobody is in it");
    b.all.remove_network(&red).expect("it is empty");
    let host = b.all.network("host").expect("always").id;
    assert_eq!(
        b.refused(|b| b.all.remove_network(&host)),
        "host is a pre-defined network and cannot be removed"
    );
    let said = b.refused(|b| b.all.network("red").map(|one| one.id));
    assert_eq!(said, "network red not found");
    // Its subnet is free again, and everybody else's.
    let again = b.network(new("blue")).expect("made");
    let blue = b.all.network_by_id(&again).expect("made");
    assert_eq!(blue.subnets[0].subnet, net("172.17.0.0/16"));
}

#[test]
fn configurations_are_made_networks_of() {
    let mut b = Bench::default();
    let config = NewNetwork {
        config_only: true,
        ranges: vec![net("10.5.1.0/24")],
        options: [("com.docker.network.driver.mtu".into(), "9000".into())].into(),
        ..of("cf", "10.5.0.0/16")
    };
    assert_eq!(
        b.refused(|b| b.network(NewNetwork {
            internal: true,
            ..config.clone()
        })),
        "configuration network can only contain network specific fields. Network operator fields like \
         [ ingress | internal | attachable | scope ] are not supported"
    );
    let cf = b.network(config.clone()).expect("made");
    assert_eq!(
        b.refused(|b| b.endpoint(cf, member("a"))),
        "cannot create endpoint on configuration-only network"
    );
    let from = |name: &str, of: &str| NewNetwork {
        config_from: Some(of.into()),
        ..new(name)
    };
    assert_eq!(
        b.refused(|b| b.network(from("x", "nosuch"))),
        "could not find configuration network \"nosuch\""
    );
    b.network(of("plain", "10.6.0.0/16")).expect("made");
    assert_eq!(
        b.refused(|b| b.network(from("x", "plain"))),
        "\"plain\" is not a configuration network"
    );
    assert_eq!(
        b.refused(|b| b.network(NewNetwork {
            config_only: true,
            ..from("x", "cf")
        })),
        "a configuration network cannot depend on another configuration network"
    );
    assert_eq!(
        b.refused(|b| b.network(NewNetwork {
            subnets: vec![net("10.7.0.0/16")],
            ..from("x", "cf")
        })),
        "user specified configurations are not supported if the network depends on a configuration network"
    );
    let made = b.network(from("x", "cf")).expect("made");
    let x = b.all.network_by_id(&made).expect("made").clone();
    assert_eq!(x.gateway(Family::V4), Some(ip("10.5.1.0")));
    assert_eq!(x.options, config.options);
    assert_eq!(
        b.refused(|b| b.all.remove_network(&cf)),
        "configuration network \"cf\" is in use"
    );
    let unused: Vec<String> = b
        .all
        .unused_networks()
        .iter()
        .map(|one| one.name.clone())
        .collect();
    assert_eq!(unused, ["plain", "x"]);
    b.all.remove_network(&made).expect("nobody is in it");
    b.all.remove_network(&cf).expect("nobody needs it");
    assert_eq!(restarted(&b.all), b.all);
}

#[test]
fn endpoints_have_the_addresses_they_asked_for_or_any() {
    let mut b = Bench::default();
    let red = b
        .network(NewNetwork {
            ipv6: true,
            subnets: vec![net("10.1.0.0/29"), net("fd01::/64")],
            ..new("red")
        })
        .expect("made");
    let a = b.endpoint(red, member("a")).expect("made");
    let a = b.all.endpoint_by_id(&a).expect("made").clone();
    assert_eq!(a.v4, Some(net("10.1.0.2/29")));
    assert_eq!(a.v6, Some(net("fd01::2/64")));
    assert_eq!(a.mac, [0x02, 0x42, 10, 1, 0, 2]);
    let asked = |v4: &str| NewEndpoint {
        v4: Some(ip(v4)),
        ..member("b")
    };
    assert_eq!(
        b.refused(|b| b.endpoint(red, asked("10.99.0.1"))),
        "Invalid address 10.99.0.1: It does not belong to any of this network's subnets"
    );
    for taken in ["10.1.0.0", "10.1.0.1", "10.1.0.2", "10.1.0.7"] {
        assert_eq!(
            b.refused(|b| b.endpoint(red, asked(taken))),
            format!("Address already in use: {taken}")
        );
    }
    // The first family is given back when the second has no room.
    assert_eq!(
        b.refused(|b| b.endpoint(
            red,
            NewEndpoint {
                v6: Some(ip("fd01::1")),
                ..asked("10.1.0.5")
            }
        )),
        "Address already in use: fd01::1"
    );
    assert_eq!(
        b.refused(|b| b.endpoint(
            red,
            NewEndpoint {
                mac: Some(a.mac),
                ..member("b")
            }
        )),
        "the MAC address 02:42:0a:01:00:02 is taken by endpoint a of network red"
    );
    assert_eq!(
        b.refused(|b| b.endpoint(
            red,
            NewEndpoint {
                link_local: vec![ip("10.0.0.1")],
                ..member("b")
            }
        )),
        "invalid link local IP address: 10.0.0.1"
    );
    assert_eq!(
        b.refused(|b| b.endpoint(red, member("a"))),
        "endpoint with name a already exists in network red"
    );
    assert_eq!(
        b.refused(|b| b.endpoint(red, member(""))),
        "invalid name: name is empty"
    );
    b.endpoint(red, asked("10.1.0.5")).expect("free");
    for name in ["c", "d", "e"] {
        b.endpoint(red, member(name)).expect("room");
    }
    let said = b.refused(|b| b.endpoint(red, member("f")));
    assert_eq!(
        said,
        format!("no available IPv4 addresses on this network's address pools: red ({red})")
    );
    let blue = b.network(of("blue", "10.2.0.0/24")).expect("made");
    assert_eq!(
        b.refused(|b| b.endpoint(
            blue,
            NewEndpoint {
                v6: Some(ip("fd01::9")),
                ..member("a")
            }
        )),
        "Invalid address fd01::9: the network blue has no IPv6 addresses"
    );
    assert_eq!(restarted(&b.all), b.all);
}

#[test]
fn endpoints_join_one_sandbox_and_keep_their_addresses() {
    let mut b = Bench::default();
    let red = b.network(new("red")).expect("made");
    let blue = b.network(new("blue")).expect("made");
    let (c1, c2) = (
        b.sandbox("c1").expect("made"),
        b.sandbox("c2").expect("made"),
    );
    assert_eq!(
        b.refused(|b| b.sandbox("c1")),
        format!("container c1 is already present in sandbox {c1}")
    );
    let a = b.endpoint(red, member("c1")).expect("made");
    assert_eq!(
        b.refused(|b| b.all.leave(&a, &c1)),
        "cannot leave endpoint with no attached sandbox"
    );
    let nobody = b.ids.next();
    assert!(
        b.refused(|b| b.all.join(&a, &nobody, "eth").map(drop))
            .starts_with("invalid Sandbox passed to endpoint join")
    );
    let joined = b.all.join(&a, &c1, "eth").expect("it is free").clone();
    assert_eq!(joined.joined.expect("joined").ifname, "eth0");
    assert_eq!(
        b.refused(|b| b.all.join(&a, &c2, "eth").map(drop)),
        "another container is attached to the same network endpoint"
    );
    assert_eq!(
        b.refused(|b| b.all.leave(&a, &c2)),
        format!("unexpected sandbox ID in leave request. Expected {c1}. Got {c2}")
    );
    assert_eq!(
        b.refused(|b| b.all.remove_endpoint(&a, false)),
        format!("endpoint with name c1 id {a} has active containers")
    );
    let second = b.endpoint(red, member("other")).expect("made");
    assert_eq!(
        b.refused(|b| b.all.join(&second, &c1, "eth").map(drop)),
        "endpoint with name c1 already exists in network red"
    );
    let in_blue = b.endpoint(blue, member("c1")).expect("made");
    let joined = b.all.join(&in_blue, &c1, "eth").expect("another network");
    assert_eq!(joined.joined.as_ref().expect("joined").ifname, "eth1");
    assert_eq!(
        b.refused(|b| b.all.remove_sandbox(&c1)),
        "sandbox c1 has endpoints"
    );
    assert_eq!(
        b.refused(|b| b.all.connection(&red, &c2).map(|one| one.id)),
        "container c2 is not connected to network red"
    );
    let before = b.all.endpoint_by_id(&a).expect("made").v4;
    b.all.leave(&a, &c1).expect("it is in it");
    assert_eq!(b.all.endpoint_by_id(&a).expect("made").v4, before);
    b.all.join(&a, &c2, "eth").expect("it is free again");
    assert_eq!(restarted(&b.all), b.all);
    // The hosts's network takes nobody, and nothing goes with nothing.
    let host = b.all.network("host").expect("always").id;
    let none = b.all.network("none").expect("always").id;
    let on_host = b.endpoint(host, member("c1")).expect("made");
    assert_eq!(
        b.refused(|b| b.all.join(&on_host, &c1, "eth").map(drop)),
        "container cannot be disconnected from host network or connected to host network"
    );
    let on_none = b.endpoint(none, member("c1")).expect("made");
    assert_eq!(
        b.refused(|b| b.all.join(&on_none, &c1, "eth").map(drop)),
        "container cannot be connected to multiple networks with one of the networks in private (none) mode"
    );
}

#[test]
fn the_way_out_goes_by_priority_families_and_name() {
    let mut b = Bench::default();
    let c1 = b.sandbox("c1").expect("made");
    let join = |b: &mut Bench, new: NewNetwork, priority: i32| {
        let network = b.network(new).expect("made");
        let new = NewEndpoint {
            gateway_priority: priority,
            ..member("c1")
        };
        let endpoint = b.endpoint(network, new).expect("made");
        b.all.join(&endpoint, &c1, "eth").expect("joined");
        endpoint
    };
    assert_eq!(b.all.gateways(&c1), Gateways::default());
    let inside = NewNetwork {
        internal: true,
        ..new("aa")
    };
    join(&mut b, inside, 9);
    assert_eq!(b.all.gateways(&c1), Gateways::default());
    let nn = join(&mut b, new("nn"), 0);
    let mm = join(&mut b, new("mm"), 0);
    let is = |b: &Bench, v4, v6| assert_eq!(b.all.gateways(&c1), Gateways { v4, v6 });
    is(&b, Some(mm), None);
    let both = NewNetwork {
        ipv6: true,
        ..new("zz")
    };
    let zz = join(&mut b, both, 0);
    is(&b, Some(zz), Some(zz));
    let first = join(&mut b, new("yy"), 1);
    is(&b, Some(first), Some(zz));
    b.all.leave(&first, &c1).expect("it is in it");
    b.all.leave(&zz, &c1).expect("it is in it");
    b.all.leave(&mm, &c1).expect("it is in it");
    is(&b, Some(nn), None);
}

#[test]
fn things_are_found_by_name_id_or_the_beginning_of_an_id() {
    let mut b = Bench::default();
    let red = b.network(new("red")).expect("made");
    let blue = b.network(new("blue")).expect("made");
    let found = |word: &str| b.all.network(word).map(|one| one.id);
    assert_eq!(found("red"), Ok(red));
    assert_eq!(found(&blue.to_string()), Ok(blue));
    assert_eq!(found(&blue.to_string()[..16]), Ok(blue));
    let error = found("00000000000000").expect_err("both begin so, and the predefined ones");
    assert_eq!(
        error.to_string(),
        "network 00000000000000 is ambiguous (4 matches found based on ID prefix)"
    );
    assert!(found("").is_err());
}

/// What can be done to a few of each; numbers beyond those there are mean none.
#[derive(Clone, Copy, Debug)]
enum Step {
    Network {
        name: u8,
        internal: bool,
        config: bool,
    },
    RemoveNetwork(u8),
    Sandbox(u8),
    RemoveSandbox(u8),
    Endpoint {
        network: u8,
        name: u8,
        address: Option<u8>,
    },
    Join {
        endpoint: u8,
        sandbox: u8,
    },
    Leave {
        endpoint: u8,
        sandbox: u8,
    },
    RemoveEndpoint {
        endpoint: u8,
        force: bool,
    },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let few = || 0_u8..5;
    let step = prop_oneof![
        2 => (few(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(name, internal, config)| {
            Step::Network { name, internal, config }
        }),
        1 => few().prop_map(Step::RemoveNetwork),
        2 => few().prop_map(Step::Sandbox),
        1 => few().prop_map(Step::RemoveSandbox),
        6 => (few(), few(), prop::option::of(0_u8..10)).prop_map(|(network, name, address)| {
            Step::Endpoint { network, name, address }
        }),
        6 => (0_u8..12, few()).prop_map(|(endpoint, sandbox)| Step::Join { endpoint, sandbox }),
        3 => (0_u8..12, few()).prop_map(|(endpoint, sandbox)| Step::Leave { endpoint, sandbox }),
        3 => (0_u8..12, any::<bool>()).prop_map(|(endpoint, force)| {
            Step::RemoveEndpoint { endpoint, force }
        }),
        1 => Just(Step::Restart),
    ];
    vec(step, 0..120)
}

/// The plainest there is: lists.
#[derive(Default)]
struct Plain {
    networks: Vec<PlainNetwork>,
    sandboxes: Vec<(Id, u8)>,
    endpoints: Vec<PlainEndpoint>,
}

struct PlainNetwork {
    id: Id,
    name: u8,
    internal: bool,
    config: bool,
}

struct PlainEndpoint {
    id: Id,
    network: Id,
    name: u8,
    address: IpAddr,
    sandbox: Option<Id>,
}

/// The subnet of a network: six addresses, of which one is the gateway's unless it is internal.
fn subnet(name: u8) -> String {
    format!("10.{name}.0.0/29")
}

fn address(name: u8, host: u8) -> IpAddr {
    IpAddr::from([10, name, 0, host])
}

impl Plain {
    fn given(&self, network: &PlainNetwork) -> BTreeSet<IpAddr> {
        let own = self
            .endpoints
            .iter()
            .filter(|one| one.network == network.id);
        let mut given: BTreeSet<IpAddr> = own.map(|one| one.address).collect();
        if !network.internal {
            given.insert(address(network.name, 1));
        }
        given
    }
}

/// Does a step on both sides, and says whether both did it.
fn step(b: &mut Bench, plain: &mut Plain, step: Step) -> Result<(), TestCaseError> {
    let at = |ids: &[Id], number: u8| ids.get(usize::from(number)).copied();
    let networks: Vec<Id> = plain.networks.iter().map(|one| one.id).collect();
    let sandboxes: Vec<Id> = plain.sandboxes.iter().map(|(id, _)| *id).collect();
    let endpoints: Vec<Id> = plain.endpoints.iter().map(|one| one.id).collect();
    match step {
        Step::Network {
            name,
            internal,
            config,
        } => {
            let wanted = NewNetwork {
                internal,
                config_only: config,
                ..of(&format!("n{name}"), &subnet(name))
            };
            let free = !plain.networks.iter().any(|one| one.name == name);
            let made = b.network(wanted);
            prop_assert_eq!(made.is_ok(), free && !(internal && config));
            if let Ok(id) = made {
                plain.networks.push(PlainNetwork {
                    id,
                    name,
                    internal,
                    config,
                });
            }
        }
        Step::RemoveNetwork(number) => {
            let Some(id) = at(&networks, number) else {
                return Ok(());
            };
            let empty = !plain.endpoints.iter().any(|one| one.network == id);
            prop_assert_eq!(b.all.remove_network(&id).is_ok(), empty);
            if empty {
                plain.networks.retain(|one| one.id != id);
            }
        }
        Step::Sandbox(name) => {
            let free = !plain.sandboxes.iter().any(|(_, other)| *other == name);
            let made = b.sandbox(&format!("s{name}"));
            prop_assert_eq!(made.is_ok(), free);
            if let Ok(id) = made {
                plain.sandboxes.push((id, name));
            }
        }
        Step::RemoveSandbox(number) => {
            let Some(id) = at(&sandboxes, number) else {
                return Ok(());
            };
            let empty = !plain.endpoints.iter().any(|one| one.sandbox == Some(id));
            prop_assert_eq!(b.all.remove_sandbox(&id).is_ok(), empty);
            if empty {
                plain.sandboxes.retain(|(other, _)| *other != id);
            }
        }
        Step::Endpoint {
            network,
            name,
            address: host,
        } => {
            let Some(network) = plain.networks.get(usize::from(network)) else {
                return Ok(());
            };
            let asked = host.map(|host| address(network.name, host));
            let given = plain.given(network);
            let usable = |host: &IpAddr| (1..=6).any(|n| *host == address(network.name, n));
            let named = plain
                .endpoints
                .iter()
                .any(|one| one.network == network.id && one.name == name);
            let room = match asked {
                Some(asked) => usable(&asked) && !given.contains(&asked),
                None => given.len() < 6,
            };
            let made = b.endpoint(
                network.id,
                NewEndpoint {
                    v4: asked,
                    ..member(&format!("e{name}"))
                },
            );
            prop_assert_eq!(made.is_ok(), !network.config && !named && room);
            if let Ok(id) = made {
                let got = b
                    .all
                    .endpoint_by_id(&id)
                    .and_then(|one| one.v4)
                    .expect("IPv4")
                    .addr();
                prop_assert!(
                    usable(&got) && !given.contains(&got),
                    "{} of {:?}",
                    got,
                    given
                );
                prop_assert!(asked.is_none_or(|asked| asked == got));
                plain.endpoints.push(PlainEndpoint {
                    id,
                    network: network.id,
                    name,
                    address: got,
                    sandbox: None,
                });
            }
        }
        Step::Join { endpoint, sandbox } => {
            let (Some(id), Some(sandbox)) = (at(&endpoints, endpoint), at(&sandboxes, sandbox))
            else {
                return Ok(());
            };
            let one = &plain.endpoints[usize::from(endpoint)];
            let there = plain
                .endpoints
                .iter()
                .any(|other| other.sandbox == Some(sandbox) && other.network == one.network);
            let free = one.sandbox.is_none() && !there;
            prop_assert_eq!(b.all.join(&id, &sandbox, "eth").is_ok(), free);
            if free {
                plain.endpoints[usize::from(endpoint)].sandbox = Some(sandbox);
            }
        }
        Step::Leave { endpoint, sandbox } => {
            let (Some(id), Some(sandbox)) = (at(&endpoints, endpoint), at(&sandboxes, sandbox))
            else {
                return Ok(());
            };
            let one = &mut plain.endpoints[usize::from(endpoint)];
            let there = one.sandbox == Some(sandbox);
            prop_assert_eq!(b.all.leave(&id, &sandbox).is_ok(), there);
            if there {
                one.sandbox = None;
            }
        }
        Step::RemoveEndpoint { endpoint, force } => {
            let Some(id) = at(&endpoints, endpoint) else {
                return Ok(());
            };
            let free = force || plain.endpoints[usize::from(endpoint)].sandbox.is_none();
            prop_assert_eq!(b.all.remove_endpoint(&id, force).is_ok(), free);
            if free {
                plain.endpoints.remove(usize::from(endpoint));
            }
        }
        Step::Restart => {
            let again = restarted(&b.all);
            prop_assert_eq!(&again, &b.all);
            b.all = again;
        }
    }
    Ok(())
}

fn compare(b: &Bench, plain: &Plain) -> Result<(), TestCaseError> {
    let names: BTreeSet<String> = plain
        .networks
        .iter()
        .map(|one| format!("n{}", one.name))
        .collect();
    let have = b
        .all
        .networks()
        .into_iter()
        .filter(|one| !one.is_predefined());
    prop_assert_eq!(
        have.map(|one| one.name.clone()).collect::<BTreeSet<_>>(),
        names
    );
    prop_assert_eq!(b.all.endpoints().len(), plain.endpoints.len());
    let mut macs = BTreeSet::new();
    for one in &plain.endpoints {
        let found = b.all.endpoint_by_id(&one.id).expect("it is there");
        prop_assert_eq!(found.network, one.network);
        prop_assert_eq!(found.v4.map(|net| net.addr()), Some(one.address));
        prop_assert_eq!(
            found.joined.as_ref().map(|joined| joined.sandbox),
            one.sandbox
        );
        prop_assert!(
            macs.insert((found.network, found.mac)),
            "an address on the link twice"
        );
    }
    for (sandbox, _) in &plain.sandboxes {
        let endpoints: Vec<&Endpoint> = b.all.in_sandbox(sandbox).collect();
        let ifnames: BTreeSet<&String> = endpoints
            .iter()
            .filter_map(|one| Some(&one.joined.as_ref()?.ifname))
            .collect();
        prop_assert_eq!(ifnames.len(), endpoints.len(), "an interface's name twice");
        let out = b.all.gateways(sandbox).v4;
        let leads = endpoints.iter().any(|one| {
            let mut networks = plain.networks.iter();
            networks.any(|network| network.id == one.network && !network.internal)
        });
        prop_assert_eq!(out.is_some(), leads);
    }
    for network in plain.networks.iter().filter(|one| !one.config) {
        let subnet = net(&subnet(network.name));
        let pool = b.all.ipam().pool(&subnet).expect("it has addresses");
        prop_assert_eq!(pool.given(), plain.given(network).len() as u128);
    }
    Ok(())
}

proptest! {
    #[test]
    fn containers_do_what_lists_would(steps in steps()) {
        let (mut b, mut plain) = (Bench::default(), Plain::default());
        for one in steps {
            step(&mut b, &mut plain, one)?;
            compare(&b, &plain)?;
        }
    }
}
