//! Why packets are dropped: one row for each reason, with the name that `vsctl drops` prints and
//! the sentence that explains it.
//!
//! Law: every packet that came in and did not go out is counted under exactly one reason. Each
//! worker counts for itself in a [`Drops`]; control adds the workers' published counts.

macro_rules! reasons {
    ($( $id:ident $name:literal $sentence:literal; )*) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $( #[doc = $sentence] $id, )*
        }

        impl DropReason {
            /// All reasons, in table order.
            pub const ALL: &[Self] = &[ $( Self::$id, )* ];

            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name that dumps print.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$id => $name, )*
                }
            }

            /// What it means, one sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self {
                    $( Self::$id => $sentence, )*
                }
            }
        }
    };
}

reasons! {
    // What the packet is.
    TooShort "too_short" "The frame is shorter than an Ethernet header.";
    Malformed "malformed" "A header's lengths contradict each other or the frame.";

    // What the tables say.
    FragmentConfig "fragment_config" "The bridge is configured to drop fragments.";
    NoFlow "no_flow" "No flow matches, and the bridge has no flow for the rest.";
    RuleDrop "rule_drop" "The matching flow has no output.";
    OutputIngress "output_ingress" "The flow sends the packet to the port it came in by, which needs `in_port`.";
    OutputUnknown "output_unknown" "The flow sends the packet to a port number that the bridge does not have.";
    PortConfig "port_config" "The port it came in by or goes to is configured not to receive or to forward.";
    NoBucket "no_bucket" "The flow sends the packet by a group or bundle that has no member alive.";
    MeterDrop "meter" "The packet exceeds the rate of a meter.";
    NoController "no_controller" "The flow sends the packet to the controller, and there is none.";
    ControllerBusy "controller_busy" "The flow sends the packet to the controller, which has more of them than it takes.";
    VlanNotAllowed "vlan_not_allowed" "The port the packet came in by is not a member of its VLAN.";
    ReservedMac "reserved_mac" "The destination is a link-local protocol address, which a switch does not forward.";
    FdbSamePort "fdb_same_port" "The destination's address was learned on the port the packet came in by.";
    FloodNowhere "flood_nowhere" "The packet floods, and no other port takes it.";
    MirrorPort "mirror_port" "The packet came in by a port that is reserved for a mirror's output.";
    PatchUnconnected "patch_unconnected" "The packet goes to a patch port that has no peer.";
    VlanDepth "vlan_depth" "Actions push or pop more VLAN tags than the switch keeps track of.";
    TooDeep "too_deep" "The packet's lookups, groups or patch ports lead too deep into one another, as in a loop.";
    TablesChanged "tables_changed" "Tables changed while the packet was on its way through them.";
    TooMuchWork "too_much_work" "The packet needs more steps or outputs than one packet may.";
    PortUnknown "port_unknown" "The port it came in by or goes to is no longer there.";

    // What tunnels say.
    TunnelNoRemote "tunnel_no_remote" "The tunnel takes its remote from flows, and none has said a possible one.";
    TunnelNoRoute "tunnel_no_route" "No route leads to the tunnel's remote.";
    TunnelNoWay "tunnel_no_way" "The route to the tunnel's remote leads by a device that the tunnel cannot send by.";
    TunnelNoNeighbour "tunnel_no_neighbour" "The next hop to the tunnel's remote has not told its Ethernet address yet.";
    TunnelSelf "tunnel_self" "The tunnel's remote is the host itself.";
    TunnelUnknown "tunnel_unknown" "No tunnel port has the packet's network identifier and addresses.";
    TunnelFlags "tunnel_flags" "The tunnel header has a version, a flag or a protocol that the switch does not know.";
    TunnelTruncated "tunnel_truncated" "The tunnel's headers or options do not end inside the packet.";
    TunnelFragment "tunnel_fragment" "The tunnelled packet came in fragments, which are not put together.";
    TunnelChecksum "tunnel_checksum" "The checksum of the tunnel's IP or UDP header is wrong.";
    TunnelCritical "tunnel_critical_option" "The tunnel header has a critical option that the bridge has no name for.";
    TunnelCongested "tunnel_congested" "The tunnel's network marked the packet as congested, and what is inside does not know such marks.";
    TunnelSource "tunnel_source" "The tunnelled packet came from an address to which no route leads back.";
    // Routing.
    RouterNotMine "router_not_mine" "The packet came to a router's port and is addressed to another station.";
    RouterMac "router_mac" "The packet's source is the address of a router's port, and it came in by another port.";
    RouterProtocol "router_protocol" "A router forwards IPv4 and IPv6 and nothing else.";
    RouterMartian "router_martian" "A router does not forward packets from or to an address that belongs to one link, one host or a group.";
    TtlExceeded "ttl_exceeded" "The packet's hops are used up, so a router may not forward it.";
    NoRoute "no_route" "The router has no route to the packet's destination.";
    RouteBlackhole "route_blackhole" "The route to the packet's destination is a black hole.";
    RouteProhibited "route_prohibited" "The route to the packet's destination forbids it.";
    RouteUnreachable "route_unreachable" "The route to the packet's destination says that it cannot be reached.";
    NeighbourFailed "neighbour_failed" "The next hop does not answer when it is asked for.";
    NeighbourBusy "neighbour_busy" "Too many packets wait for next hops that have not answered yet.";
    RouterIgnored "router_ignored" "The packet is for a router itself, which has nothing that takes it.";
    RouterForged "router_forged" "The packet says something about a neighbour that contradicts its own source, or the port's networks.";
    RouterBusy "router_busy" "The packet asks a router for more answers than its port gives in a second.";

    // What tracking says.
    FragmentTimeout "fragment_timeout" "The fragment waited for the rest of its packet, which did not come in time.";
    FragmentGivenUp "fragment_given_up" "The fragment was given up with its packet: fragments overlapped, or too many were held.";

    // What the machine says.
    NoFrames "no_frames" "No free frame was left for a copy.";
    TooManyFrames "too_many_frames" "The packet takes more frames than the port it goes to sends as one.";
    NoHeadroom "no_headroom" "No room was left before the packet for another header.";
    PortDown "port_down" "The port it goes to is down or has no device.";
    MtuExceeded "mtu_exceeded" "The packet is larger than the MTU of the port it goes to.";
    QueueFull "worker_queue_full" "The queue to the worker that serves the port is full.";
}

/// Packets dropped, by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drops {
    counts: [u64; DropReason::COUNT],
    /// Of all: asked for with every packet that actions are done to.
    total: u64,
}

impl Default for Drops {
    fn default() -> Self {
        Self {
            counts: [0; DropReason::COUNT],
            total: 0,
        }
    }
}

impl Drops {
    /// Counts one packet.
    #[inline]
    pub fn count(&mut self, reason: DropReason) {
        self.counts[reason as usize] += 1;
        self.total += 1;
    }

    /// Packets dropped for `reason`.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.counts[reason as usize]
    }

    /// Packets dropped for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Self) {
        for (count, other) in self.counts.iter_mut().zip(&other.counts) {
            *count += other;
        }
        self.total += other.total;
    }

    /// Reasons and counts, in table order.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .copied()
            .zip(self.counts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_spelled_alike() {
        let mut names = std::collections::BTreeSet::new();
        for reason in DropReason::ALL {
            assert!(
                names.insert(reason.name()),
                "{} is there twice",
                reason.name()
            );
            assert!(
                reason
                    .name()
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == '_')
            );
            assert!(reason.sentence().ends_with('.'));
        }
    }

    #[test]
    fn counts_add_up() {
        let mut a = Drops::default();
        a.count(DropReason::NoFlow);
        let mut b = a;
        b.count(DropReason::Malformed);
        a.add(&b);
        assert_eq!(a.of(DropReason::NoFlow), 2);
        assert_eq!(a.of(DropReason::Malformed), 1);
        assert_eq!(a.total(), 3);
        assert_eq!(a.iter().map(|(_, n)| n).sum::<u64>(), 3);
    }
}
