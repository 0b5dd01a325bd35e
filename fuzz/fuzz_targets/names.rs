//! Any bytes at all, as a question to the name server of a container network.
#![no_main]
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vswitchd::ipam::Defaults;
use vswitchd::model::containers::{Containers, Id, NewEndpoint, NewNetwork, NewSandbox};
use vswitchd::names::{Asker, Book, DATAGRAM_MAX, Reply, Zone, reply};

const NETWORK: Id = Id::new([1; 32]);

/// A network of both families with some members, who share a name.
static BOOK: LazyLock<Book> = LazyLock::new(|| {
    let mut containers = Containers::default();
    let new = NewNetwork {
        name: "red".into(),
        ipv4: true,
        ipv6: true,
        ..NewNetwork::default()
    };
    let defaults = Defaults::local([9; 5]);
    containers
        .create_network(NETWORK, new, &defaults, &[])
        .expect("a network");
    for number in 2..100 {
        let (sandbox, endpoint) = (Id::new([number; 32]), Id::new([number + 100; 32]));
        let new = NewSandbox {
            name: format!("c{number}"),
            ..NewSandbox::default()
        };
        containers.create_sandbox(sandbox, new).expect("a sandbox");
        let new = NewEndpoint {
            name: format!("c{number}"),
            aliases: ["web".to_owned()].into(),
            ..NewEndpoint::default()
        };
        containers
            .create_endpoint(endpoint, &NETWORK, new)
            .expect("an endpoint");
        containers.join(&endpoint, &sandbox, "eth").expect("joins");
    }
    let mut book = Book::default();
    for network in containers.networks() {
        book.put(network.id, Zone::of(&containers, network));
    }
    book
});

fuzz_target!(|input: &[u8]| {
    for datagram in [true, false] {
        let asker = Asker {
            network: NETWORK,
            address: IpAddr::from([172, 17, 0, 2]),
            datagram,
        };
        if let Reply::Bytes(answer) = reply(&BOOK, asker, input, input.len()) {
            assert_eq!(
                answer.get(..2),
                input.get(..2),
                "the answer is to something else"
            );
            assert!(!datagram || answer.len() <= DATAGRAM_MAX);
        }
    }
});
