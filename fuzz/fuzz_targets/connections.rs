//! Whatever packets come, connections are what a plain model says
//! (`vswitch_tests::connections`), and none is left in the end.
//!
//! An input is read from its front: whether zone 7 is limited and to how many connections, then steps
//! until nothing is left. Numbers are kept small, so that packets often meet.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use vswitch_datapath::conntrack::request::Request;
use vswitch_datapath::conntrack::seen::TcpSeen;
use vswitch_flow::action::{Nat, NatKind, NatPorts, NatRange};
use vswitch_tests::connections::{Step, Who, check};

/// Keys the table's hashes. The same for all inputs, so that one that fails fails again.
const SEED: u64 = 0x5eed;

/// Steps of an input at most: after each one all connections are compared.
const STEPS_MAX: usize = 200;

/// Longest time that passes at once, milliseconds: longer than most timeouts.
const ADVANCE_MAX: u64 = 70_000;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Unstructured::new(bytes);
    let limit = input.ratio(1, 2).and_then(|limited| match limited {
        true => input.int_in_range(0..=4).map(Some),
        false => Ok(None),
    });
    let mut steps = Vec::new();
    while !input.is_empty()
        && steps.len() < STEPS_MAX
        && let Ok(step) = step(&mut input)
    {
        steps.push(step);
    }
    check(&steps, SEED, limit.unwrap_or_default());
});

fn step(input: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match input.int_in_range(0..=15)? {
        0 => Step::Advance(input.int_in_range(0..=ADVANCE_MAX)?),
        1 => Step::Sweep(input.int_in_range(0..=8)?),
        2 => Step::Flush(zone(input)?),
        3 => Step::Check(input.arbitrary()?),
        4 => Step::Loose(input.arbitrary()?),
        _ => {
            let (who, segment) = (who(input)?, segment(input)?);
            let mut requests = vec![request(input)?];
            if input.ratio(1, 2)? {
                requests.push(request(input)?);
            }
            Step::Packet(who, segment, requests)
        }
    })
}

fn who(input: &mut Unstructured<'_>) -> Result<Who> {
    let host = |input: &mut Unstructured<'_>| input.int_in_range(1..=3_u8);
    let port = |input: &mut Unstructured<'_>| input.int_in_range(1..=3_u16);
    let earlier = |input: &mut Unstructured<'_>| input.arbitrary::<u8>().map(usize::from);
    Ok(match input.int_in_range(0..=3)? {
        0 => Who::Anybody(
            host(input)?,
            host(input)?,
            port(input)?,
            port(input)?,
            input.int_in_range(0..=5)?,
        ),
        1 => Who::Again(earlier(input)?),
        2 => Who::Answer(earlier(input)?),
        _ => Who::Complaint(host(input)?, earlier(input)?),
    })
}

fn segment(input: &mut Unstructured<'_>) -> Result<TcpSeen> {
    // The six flags that tracking looks at.
    let flags = input.int_in_range(0..=0x3f)?;
    let number = |input: &mut Unstructured<'_>| match input.ratio(3, 4)? {
        true => input.int_in_range(0..=3000),
        false => input.arbitrary(),
    };
    Ok(TcpSeen {
        flags,
        seq: number(input)?,
        ack: number(input)?,
        window: input.arbitrary()?,
        payload: input.int_in_range(0..=60_000)?,
        wscale: match input.arbitrary()? {
            true => Some(input.int_in_range(0..=15)?),
            false => None,
        },
    })
}

fn zone(input: &mut Unstructured<'_>) -> Result<u16> {
    Ok(if input.ratio(1, 4)? { 7 } else { 0 })
}

fn request(input: &mut Unstructured<'_>) -> Result<Request> {
    let zone = zone(input)?;
    let force = input.ratio(1, 8)?;
    let commit = force || input.arbitrary()?;
    let writes = commit && input.ratio(1, 4)?;
    let nat = match input.arbitrary()? {
        true => Some(nat(input)?),
        false => None,
    };
    Ok(Request {
        zone,
        commit,
        force,
        mark: if writes {
            input.arbitrary()?
        } else {
            Default::default()
        },
        label: if writes {
            input.arbitrary()?
        } else {
            Default::default()
        },
        nat,
        helper: None,
    })
}

fn nat(input: &mut Unstructured<'_>) -> Result<Nat> {
    if input.ratio(1, 3)? {
        return Ok(Nat::default());
    }
    let kind = match input.arbitrary()? {
        true => NatKind::Source,
        false => NatKind::Destination,
    };
    let (first, more) = (input.int_in_range(8..=9_u8)?, input.int_in_range(0..=1_u8)?);
    let ports = match input.arbitrary()? {
        true => {
            let port = input.int_in_range(1..=3_u16)?;
            Some((port, port + input.int_in_range(0..=2_u16)?))
        }
        false => None,
    };
    let address = |last| IpAddr::from([0, 0, 0, last]);
    Ok(Nat {
        range: Some(NatRange {
            kind,
            addresses: Some((address(first), address(first + more))),
            ports,
        }),
        persistent: more == 0 && input.arbitrary()?,
        ports: match input.arbitrary()? {
            true => NatPorts::Hash,
            false => NatPorts::Default,
        },
    })
}
