//! Who has which name on which network, and what is answered to a question about it. No I/O.
//!
//! An endpoint is called by its name, by its aliases, and by the first twelve digits of its sandbox's id; each
//! also with the network's name behind it, `web.red`. A name that several endpoints have leads to all of
//! them. Case does not matter (RFC 4343).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::containers::{Containers, Id, Network};

/// The names of one network.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// The network's name.
    pub name: String,
    /// It leads nowhere else, and nor do questions.
    pub internal: bool,
    subnets: Vec<IpNet>,
    /// By name, in lower case.
    names: HashMap<String, Vec<IpAddr>>,
    /// Whose an address is: sandbox, and name of the endpoint.
    owners: HashMap<IpAddr, (Id, String)>,
    /// The sandboxes that are on it.
    members: HashSet<Id>,
}

impl Zone {
    /// The names of a network as it is.
    pub fn of(containers: &Containers, network: &Network) -> Self {
        let mut zone = Self {
            name: network.name.clone(),
            internal: network.internal,
            subnets: network.subnets.iter().map(|subnet| subnet.subnet).collect(),
            ..Self::default()
        };
        let mut endpoints: Vec<_> = containers.of_network(&network.id).collect();
        endpoints.sort_by(|a, b| a.name.cmp(&b.name));
        for endpoint in endpoints {
            // Who is nowhere answers nobody.
            let Some(joined) = &endpoint.joined else {
                continue;
            };
            zone.members.insert(joined.sandbox);
            let short = joined.sandbox.short();
            let aliases = endpoint.aliases.iter().map(String::as_str);
            let own = [endpoint.name.as_str(), short.as_str()];
            let mut called: Vec<String> = own
                .into_iter()
                .chain(aliases)
                .map(str::to_ascii_lowercase)
                .collect();
            called.sort();
            called.dedup();
            for address in endpoint.addresses().map(|net| net.addr()) {
                for name in &called {
                    zone.names.entry(name.clone()).or_default().push(address);
                }
                let owner = (joined.sandbox, endpoint.name.clone());
                zone.owners.insert(address, owner);
            }
        }
        zone
    }

    /// The addresses that a name in lower case leads to.
    fn find(&self, name: &str) -> Option<&[IpAddr]> {
        let found = self.names.get(name).or_else(|| {
            let network = self.name.to_ascii_lowercase();
            let host = name.strip_suffix(&network)?.strip_suffix('.')?;
            self.names.get(host)
        });
        found.map(Vec::as_slice)
    }
}

/// A question, as far as it can be answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Addresses of IPv4.
    A,
    /// Addresses of IPv6.
    Aaaa,
    /// A name.
    Ptr,
    /// Something else, of which names here have nothing.
    Other,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name is known and has these addresses of the kind, maybe none.
    Addresses(Vec<IpAddr>),
    /// The address is of `NAME.NETWORK`.
    Name(String),
    /// There is no such name, and nobody else is to be asked.
    Nobody,
    /// Somebody else is to be asked.
    Elsewhere,
}

/// The names of all networks at a time.
#[derive(Clone, Debug, Default)]
pub struct Book {
    zones: BTreeMap<Id, Arc<Zone>>,
}

impl Book {
    /// Puts a network in, or what it is now.
    pub fn put(&mut self, network: Id, zone: Zone) {
        self.zones.insert(network, Arc::new(zone));
    }

    /// Whether a network is in it.
    pub fn has(&self, network: &Id) -> bool {
        self.zones.contains_key(network)
    }

    /// Keeps the networks of which this is true.
    pub fn retain(&mut self, mut stays: impl FnMut(&Id) -> bool) {
        self.zones.retain(|id, _| stays(id));
    }

    /// Whether an address may ask the server of a network.
    pub fn serves(&self, network: &Id, asker: IpAddr) -> bool {
        let zone = self.zones.get(network);
        zone.is_some_and(|zone| zone.subnets.iter().any(|subnet| subnet.contains(&asker)))
    }

    /// What is answered to an address that asks the server of a network. Who is in a sandbox hears of all
    /// networks that this is on.
    pub fn answer(&self, network: &Id, asker: IpAddr, name: &str, kind: Kind) -> Answer {
        let Some(own) = self.zones.get(network) else {
            return Answer::Nobody;
        };
        let sandbox = own.owners.get(&asker).map(|(sandbox, _)| sandbox);
        let others = self.zones.iter().filter(|(id, zone)| {
            let shared = sandbox.is_some_and(|sandbox| zone.members.contains(sandbox));
            *id != network && shared
        });
        let zones: Vec<&Arc<Zone>> = [own].into_iter().chain(others.map(|(_, z)| z)).collect();
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let found = match (kind, reversed(&name)) {
            (Kind::Ptr, Some(address)) => by_address(&zones, address),
            _ => by_name(&zones, &name, kind),
        };
        match found {
            Some(answer) => answer,
            None if zones.iter().all(|zone| zone.internal) => Answer::Nobody,
            None => Answer::Elsewhere,
        }
    }
}

fn by_address(zones: &[&Arc<Zone>], address: IpAddr) -> Option<Answer> {
    let owner = zones.iter().find_map(|zone| {
        let (_, name) = zone.owners.get(&address)?;
        Some(Answer::Name(format!("{name}.{}", zone.name)))
    });
    // Nobody else knows who is on a network of ours.
    let is_ours = |zone: &&Arc<Zone>| zone.subnets.iter().any(|net| net.contains(&address));
    owner.or_else(|| zones.iter().any(is_ours).then_some(Answer::Nobody))
}

fn by_name(zones: &[&Arc<Zone>], name: &str, kind: Kind) -> Option<Answer> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut known = false;
    for found in zones.iter().filter_map(|zone| zone.find(name)) {
        known = true;
        addresses.extend(found.iter().filter(|address| match kind {
            Kind::A => address.is_ipv4(),
            Kind::Aaaa => address.is_ipv6(),
            Kind::Ptr | Kind::Other => false,
        }));
    }
    known.then_some(Answer::Addresses(addresses))
}

/// The address whose name is asked for: `2.0.1.10.in-addr.arpa` is 10.1.0.2 (RFC 1035 §3.5, RFC 3596 §2.5).
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut bytes = [0_u8; 4];
        let mut labels = labels.split('.');
        for byte in bytes.iter_mut().rev() {
            *byte = labels.next()?.parse().ok()?;
        }
        let address = Ipv4Addr::from(bytes);
        return labels.next().is_none().then_some(address.into());
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0_u128;
    let mut count = 0;
    for label in labels.split('.') {
        let digit = label.chars().next().filter(|_| label.len() == 1)?;
        bits |= u128::from(digit.to_digit(16)?) << (4_u32.checked_mul(count)?).min(124);
        count += 1;
    }
    (count == 32).then_some(Ipv6Addr::from_bits(bits).into())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ipam::Defaults;
    use crate::model::containers::{NewEndpoint, NewNetwork, NewSandbox};

    impl Zone {
        /// A name with as many addresses.
        pub(in crate::names) fn fill_for_tests(&mut self, name: &str, count: u8) {
            let addresses = (0..count).map(|last| IpAddr::from([10, 1, 0, last]));
            self.names.insert(name.to_owned(), addresses.collect());
        }
    }

    pub(in crate::names) fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    pub(in crate::names) fn id(number: u8) -> Id {
        let mut bytes = [0; 32];
        bytes[0] = number;
        Id::new(bytes)
    }

    /// Networks red (1) and blue (2, both families) and inner (3); sandboxes c1 on red and inner, c2 on red and
    /// blue, c3 on inner. Both on red are `web` there.
    pub(in crate::names) fn book() -> Book {
        let mut containers = Containers::default();
        let mut network = |number, name: &str, subnets: &[&str], internal| {
            let new = NewNetwork {
                name: name.into(),
                ipv4: true,
                ipv6: subnets.len() > 1,
                subnets: subnets
                    .iter()
                    .map(|net| net.parse().expect("a subnet"))
                    .collect(),
                internal,
                ..NewNetwork::default()
            };
            let made = containers.create_network(id(number), new, &Defaults::local([9; 5]), &[]);
            made.expect("a network");
        };
        network(1, "Red", &["10.1.0.0/24"], false);
        network(2, "blue", &["10.2.0.0/24", "fd02::/64"], false);
        network(3, "inner", &["10.3.0.0/24"], true);
        for (number, name) in [(11, "c1"), (12, "c2"), (13, "c3")] {
            let new = NewSandbox {
                name: name.into(),
                ..NewSandbox::default()
            };
            containers
                .create_sandbox(id(number), new)
                .expect("a sandbox");
        }
        for (number, network, sandbox, alias) in [
            (21, 1, 11, "Web"),
            (22, 1, 12, "web"),
            (23, 2, 12, "db"),
            (24, 3, 11, "log"),
            (25, 3, 13, "log"),
        ] {
            let new = NewEndpoint {
                name: format!("c{}", sandbox - 10),
                aliases: [alias.to_owned()].into(),
                ..NewEndpoint::default()
            };
            let made = containers.create_endpoint(id(number), &id(network), new);
            made.expect("an endpoint");
            containers
                .join(&id(number), &id(sandbox), "eth")
                .expect("joins");
        }
        let mut book = Book::default();
        for network in containers.networks() {
            book.put(network.id, Zone::of(&containers, network));
        }
        book
    }

    #[test]
    fn names_lead_to_addresses_of_networks_that_one_is_on() {
        let book = book();
        let ask =
            |network, asker: &str, name: &str| book.answer(&id(network), ip(asker), name, Kind::A);
        let addresses = |list: &[&str]| Answer::Addresses(list.iter().map(|a| ip(a)).collect());
        for name in ["c2", "C2.", "c2.red", "C2.RED.", "0c0000000000"] {
            assert_eq!(ask(1, "10.1.0.2", name), addresses(&["10.1.0.3"]), "{name}");
        }
        assert_eq!(
            ask(1, "10.1.0.2", "web"),
            addresses(&["10.1.0.2", "10.1.0.3"])
        );
        // By the sandbox's other network, and not by one that it is not on.
        assert_eq!(ask(1, "10.1.0.3", "db"), addresses(&["10.2.0.2"]));
        assert_eq!(ask(1, "10.1.0.2", "db"), Answer::Elsewhere);
        assert_eq!(
            ask(1, "10.1.0.2", "log"),
            addresses(&["10.3.0.1", "10.3.0.2"])
        );
        // The host asks as nobody.
        assert_eq!(ask(1, "10.1.0.1", "db"), Answer::Elsewhere);
        assert_eq!(ask(1, "10.1.0.2", "c2.blue"), Answer::Elsewhere);
        // On internal networks alone nobody else is asked.
        assert_eq!(ask(3, "10.3.0.2", "example.org"), Answer::Nobody);
        assert_eq!(ask(3, "10.3.0.1", "example.org"), Answer::Elsewhere);
    }

    #[test]
    fn a_known_name_has_no_other_family_and_no_other_records() {
        let book = book();
        let none = Answer::Addresses(Vec::new());
        let ask = |name, kind| book.answer(&id(1), ip("10.1.0.2"), name, kind);
        assert_eq!(ask("c2", Kind::Aaaa), none);
        assert_eq!(ask("c2", Kind::Other), none);
        let six = book.answer(&id(2), ip("fd02::2"), "db", Kind::Aaaa);
        assert_eq!(six, Answer::Addresses(vec![ip("fd02::2")]));
    }

    #[test]
    fn addresses_lead_to_names() {
        let book = book();
        let ask = |network, asker: &str, name: &str| {
            book.answer(&id(network), ip(asker), name, Kind::Ptr)
        };
        let name = ask(1, "10.1.0.2", "3.0.1.10.in-addr.arpa.");
        assert_eq!(name, Answer::Name("c2.Red".into()));
        let name = ask(
            2,
            "10.2.0.2",
            "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.d.f.ip6.arpa",
        );
        assert_eq!(name, Answer::Name("c2.blue".into()));
        assert_eq!(ask(1, "10.1.0.2", "9.0.1.10.in-addr.arpa"), Answer::Nobody);
        for odd in [
            "8.8.8.8.in-addr.arpa",
            "3.0.1.in-addr.arpa",
            "1.3.0.1.10.in-addr.arpa",
            "300.0.1.10.in-addr.arpa",
            "2.ip6.arpa",
            "in-addr.arpa",
        ] {
            assert_eq!(ask(1, "10.1.0.2", odd), Answer::Elsewhere, "{odd}");
        }
    }
}
