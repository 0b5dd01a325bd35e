//! The traffic of the other trials over a plain cable, where no switch can be at fault: what passes
//! here must pass there, and what is broken here on purpose must be noticed.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use vswitch_tests::netns::Namespace;
use vswitch_tests::service::{self, Service, Talk};
use vswitch_tests::{device, traffic};

use crate::failed;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("cable/traffic_passes", || passes().map_err(|e| failed(&e))),
        Trial::test("cable/services_tell_whom_they_see", || {
            services_tell().map_err(|e| failed(&e))
        }),
        Trial::test("cable/a_cut_is_noticed", || {
            cut_is_noticed().map_err(|e| failed(&e))
        }),
    ]
}

fn cable(names: [&str; 2]) -> Result<([Namespace; 2], [IpAddr; 2])> {
    let [a, b] = [Namespace::create(names[0])?, Namespace::create(names[1])?];
    device::veth((&a, "eth0"), (&b, "eth0"), 1500)?;
    device::addresses(&a, "eth0", &["10.88.0.1/24", "fd00:88::1/64"])?;
    device::addresses(&b, "eth0", &["10.88.0.2/24", "fd00:88::2/64"])?;
    device::await_carrier(&a, "eth0")?;
    Ok(([a, b], ["10.88.0.2".parse()?, "fd00:88::2".parse()?]))
}

fn passes() -> Result<()> {
    let ([a, b], addresses) = cable(["cable-a", "cable-b"])?;
    device::ensure_offload(&a, "eth0", "tcp-segmentation-offload")?;
    for address in addresses {
        traffic::ping(&a, address, 3200, 3)?;
        traffic::udp_echo(&a, &b, address, &traffic::udp_sizes())?;
        let transfer = traffic::tcp(&a, &b, address, 20_000_001)?;
        ensure!(transfer.size == 20_000_001);
        let rate = traffic::tcp_rate(&a, &b, address, Duration::from_millis(50))?;
        ensure!(rate.size > 0 && rate.gbit_per_second() > 0.0);
        traffic::connections(&a, &b, address, 20)?;
        let latency = traffic::ping_pong(&a, &b, address, 100)?;
        ensure!(latency.p50 <= latency.p99);
        let stream = traffic::Stream::start(&a, &b, address, Duration::from_millis(1))?;
        traffic::ping(&a, address, 56, 5)?;
        let count = stream.finish()?;
        ensure!(count.sent > 10 && count.lost() == 0, "{count:?}");
    }
    Ok(())
}

fn services_tell() -> Result<()> {
    let ([a, b], addresses) = cable(["tell-a", "tell-b"])?;
    for address in addresses {
        let service = Service::start(&b, "b", address, 0)?;
        let mut talk = Talk::open(&a, service.target())?;
        for _ in 0..3 {
            let told = talk.ask()?;
            ensure!(told.name == "b" && told.seen == talk.local()?, "{told}");
        }
        talk.close()?;
        let told = service::ask_by_datagram(&a, service.target(), 4000)?;
        ensure!(told.seen.port() == 4000, "{told}");
        // Who is reached is no proof of a way that is closed, nor is who is there one of nobody.
        ensure!(service::ensure_no_way(&a, service.target()).is_err());
        ensure!(service::ensure_told_of_nobody(&a, service.target()).is_err());
        let target = service.target();
        drop(service);
        service::ensure_told_of_nobody(&a, target)?;
        service::ensure_no_way(&a, target)?;
    }
    Ok(())
}

fn cut_is_noticed() -> Result<()> {
    let ([a, b], [address, _]) = cable(["cut-a", "cut-b"])?;
    let stream = traffic::Stream::start(&a, &b, address, Duration::from_millis(1))?;
    traffic::ping(&a, address, 56, 5)?;
    // Frames to a wrong MAC address vanish without a word, as in a switch that loses them.
    let neighbour = address.to_string();
    let wrong = [
        "neigh",
        "replace",
        &neighbour,
        "lladdr",
        "02:00:00:00:00:01",
    ];
    a.ip(&[&wrong[..], &["dev", "eth0", "nud", "permanent"]].concat())?;
    ensure!(
        traffic::ping(&a, address, 56, 1).is_err(),
        "ping passed a cut"
    );
    ensure!(
        traffic::udp_echo(&a, &b, address, &[100]).is_err(),
        "UDP passed a cut"
    );
    a.ip(&["neigh", "del", &neighbour, "dev", "eth0"])?;
    traffic::ping(&a, address, 56, 5)?;
    let count = stream.finish()?;
    ensure!(
        count.lost() > 100 && count.longest_gap > Duration::from_millis(100),
        "the cut was not counted: {count:?}"
    );
    Ok(())
}
