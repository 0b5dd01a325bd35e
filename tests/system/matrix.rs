//! Every ordered pair of port types passes every kind of traffic, with all offloads left on.
//!
//! One switch per MTU carries two hosts behind each type of port, so that a pair of equal types is
//! a pair of ports too. A type that the switch refuses to offer here, with its reason, is reported
//! as ignored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use libtest_mimic::{Completion, Failed, Trial};
use vswitch_tests::topology::{Host, Kind, Topology};
use vswitch_tests::{device, traffic};

use crate::failed;

const KINDS: [Kind; 5] = [
    Kind::Afxdp,
    Kind::AfxdpGeneric,
    Kind::Tap,
    Kind::Packet,
    Kind::Internal,
];

const MTUS: [u32; 2] = [1500, 9000];

/// What must pass from one host to the other.
#[derive(Debug, Clone, Copy)]
enum Traffic {
    Ping,
    Tcp,
    Udp,
}

/// Bytes of the long transfer.
const TRANSFER: u64 = 50_000_000;

/// The switch of the MTU that is being tried, built when the first of its trials runs.
#[derive(Debug, Default, Clone)]
pub(crate) struct Rigs {
    current: Arc<Mutex<Option<Built>>>,
}

/// An MTU and its rig, or why there is none.
type Built = (u32, Result<Rig, String>);

#[derive(Debug)]
struct Rig {
    /// Two hosts of every kind that is offered; why not, where it is not.
    hosts: HashMap<Kind, Result<[Host; 2], String>>,
    /// Last, because hosts must not outlive their switch's namespace.
    topology: Topology,
}

pub(crate) fn trials(rigs: &Rigs) -> Vec<Trial> {
    let mut trials = Vec::new();
    for mtu in MTUS {
        for from in KINDS {
            for to in KINDS {
                for (name, traffic) in [
                    ("ping", Traffic::Ping),
                    ("tcp", Traffic::Tcp),
                    ("udp", Traffic::Udp),
                ] {
                    let rigs = rigs.clone();
                    trials.push(Trial::ignorable_test(
                        format!("matrix/{mtu}/{from}-to-{to}/{name}"),
                        move || rigs.with(mtu, |rig| rig.pass(from, to, traffic)),
                    ));
                }
            }
        }
    }
    trials
}

impl Rigs {
    fn with(
        &self,
        mtu: u32,
        work: impl FnOnce(&Rig) -> Result<Completion>,
    ) -> Result<Completion, Failed> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|(built, _)| *built != mtu) {
            // The old one goes first: two switches would share two cores.
            *current = None;
            *current = Some((mtu, Rig::build(mtu).map_err(|error| format!("{error:#}"))));
        }
        let Some((_, rig)) = &*current else {
            unreachable!("it was put there above")
        };
        let rig = rig.as_ref().map_err(|error| Failed::from(error.clone()))?;
        work(rig).map_err(|error| {
            let log = rig.topology.switch.log_tail();
            failed(&error.context(format!("the switch said:\n{log}\n")))
        })
    }
}

impl Rig {
    fn build(mtu: u32) -> Result<Self> {
        let topology = Topology::new(mtu)?;
        let mut hosts = HashMap::new();
        for kind in KINDS {
            let pair = || -> Result<[Host; 2]> {
                let first = topology.host(kind, false, &[])?;
                Ok([first, topology.host(kind, true, &[])?])
            };
            let pair = match (pair(), kind) {
                (Ok(pair), _) => Ok(pair),
                (Err(refusal), Kind::AfxdpGeneric) => Err(refusal.root_cause().to_string()),
                (Err(refusal), _) => return Err(refusal.context(format!("hosts on {kind}"))),
            };
            hosts.insert(kind, pair);
        }
        Ok(Self { hosts, topology })
    }

    fn pass(&self, from: Kind, to: Kind, traffic: Traffic) -> Result<Completion> {
        let (from, to) = match (&self.hosts[&from], &self.hosts[&to]) {
            (Ok(from), Ok(to)) => (&from[0], &to[1]),
            (Err(reason), _) | (_, Err(reason)) => {
                return Ok(Completion::ignored_with(reason.clone()));
            }
        };
        // Below an XDP program the kernel itself takes segmentation off the other end of a veth.
        if from.kind != Kind::Afxdp {
            device::ensure_offload(&from.namespace, &from.device, "tcp-segmentation-offload")?;
        }
        device::ensure_offload(&from.namespace, &from.device, "tx-checksumming")?;
        for address in [to.v4, to.v6] {
            match traffic {
                Traffic::Ping => {
                    for size in [56, 1600, 3200] {
                        traffic::ping(&from.namespace, address, size, 3)?;
                    }
                }
                Traffic::Tcp => {
                    traffic::tcp(&from.namespace, &to.namespace, address, TRANSFER)
                        .with_context(|| format!("TCP to {address}"))?;
                }
                Traffic::Udp => {
                    let sizes = traffic::udp_sizes();
                    traffic::udp_echo(&from.namespace, &to.namespace, address, &sizes)
                        .with_context(|| format!("UDP to {address}"))?;
                }
            }
        }
        Ok(Completion::Completed)
    }
}
