//! Mirrors: which packets are copied where.
//!
//! Law, as in Open vSwitch: one packet goes to one mirror once, and to mirrors with the same
//! destination once together, unless actions changed it in between. A port that takes a mirror's
//! copies takes no part in forwarding. A packet that comes in by such a port is dropped.

use vswitch_dpapi::MirrorSpec;

use super::vlan;
use crate::port::PortIndex;

/// A set of a bridge's mirrors, one bit each.
pub(super) type MirrorSet = u32;

/// Where a mirror's copies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// To one port.
    Port(PortIndex),
    /// To all ports of a VLAN.
    Vlan(u16),
}

/// A mirror in force.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) output: Output,
    /// The VLANs it is restricted to.
    vlans: Option<Box<[u64; 64]>>,
    /// Mirrors with the same output, itself included.
    pub(super) same: MirrorSet,
}

/// The mirrors of a bridge. One without an output is not in force and has no entry.
#[derive(Debug, Default)]
pub(super) struct Mirrors(Vec<Option<Mirror>>);

impl Mirror {
    pub(super) fn selects(&self, vlan: u16) -> bool {
        self.vlans
            .as_ref()
            .is_none_or(|bits| bits[usize::from(vlan & vlan::VID) / 64] >> (vlan % 64) & 1 == 1)
    }
}

impl Mirrors {
    /// Mirrors that a [`MirrorSet`] can hold.
    pub(super) const MAX: usize = MirrorSet::BITS as usize;

    pub(super) fn new(specs: &[MirrorSpec]) -> Self {
        let output = |spec: &MirrorSpec| match (spec.output_port, spec.output_vlan) {
            (Some(port), _) => Some(Output::Port(PortIndex(port.0))),
            (None, Some(vlan)) => Some(Output::Vlan(vlan & vlan::VID)),
            (None, None) => None,
        };
        let outputs: Vec<_> = specs.iter().map(output).collect();
        let mirrors = specs.iter().zip(&outputs).map(|(spec, own)| {
            let same = |at: usize| outputs.get(at) == Some(own);
            let vlans = (!spec.select_vlan.is_empty()).then(|| {
                let mut bits = Box::new([0; 64]);
                for &vlan in &spec.select_vlan {
                    vlan::set(&mut bits, vlan, true);
                }
                bits
            });
            Some(Mirror {
                output: (*own)?,
                vlans,
                same: (0..outputs.len().min(Self::MAX))
                    .filter(|at| same(*at))
                    .fold(0, |set, at| set | 1 << at),
            })
        });
        Self(mirrors.collect())
    }

    pub(super) fn get(&self, at: usize) -> Option<&Mirror> {
        self.0.get(at)?.as_ref()
    }
}
