//! Names of bits.

use vswitch_openflow::Version;
use vswitch_openflow::bundle::BundleFlags;
use vswitch_openflow::features::Capabilities;
use vswitch_openflow::port::{PortConfig, PortFeatures, PortState};

/// The names of the bits that are set, with blanks between them; bits without a name as one number;
/// `0` when none is set.
fn spell(bits: u32, names: &[(u32, &str)]) -> String {
    let mut words = Vec::new();
    let mut left = bits;
    for (bit, name) in names {
        if left & bit != 0 {
            words.push((*name).to_owned());
            left &= !bit;
        }
    }
    if left != 0 || words.is_empty() {
        words.push(match left {
            0 => "0".to_owned(),
            left => format!("{left:#x}"),
        });
    }
    words.join(" ")
}

/// `FLOW_STATS TABLE_STATS ...`
pub(super) fn capabilities(found: Capabilities, version: Version) -> String {
    let third = if version == Version::V10 {
        "STP"
    } else {
        "GROUP_STATS"
    };
    let names = [
        (1, "FLOW_STATS"),
        (1 << 1, "TABLE_STATS"),
        (1 << 2, "PORT_STATS"),
        (1 << 3, third),
        (1 << 5, "IP_REASM"),
        (1 << 6, "QUEUE_STATS"),
        (1 << 7, "ARP_MATCH_IP"),
        (1 << 8, "PORT_BLOCKED"),
        (1 << 9, "BUNDLES"),
        (1 << 10, "FLOW_MONITORING"),
    ];
    spell(found.0, &names)
}

/// How flows to evict are chosen.
pub(super) fn eviction(flags: u32) -> String {
    let names = [(1, "OTHER"), (1 << 1, "IMPORTANCE"), (1 << 2, "LIFETIME")];
    spell(flags, &names).replace(' ', "|")
}

/// The actions of OpenFlow 1.0 by the bits of the features.
pub(super) fn actions_10(bits: u32) -> String {
    const NAMES: [(u32, &str); 12] = [
        (1, "output"),
        (1 << 11, "enqueue"),
        (1 << 1, "set_vlan_vid"),
        (1 << 2, "set_vlan_pcp"),
        (1 << 3, "strip_vlan"),
        (1 << 4, "mod_dl_src"),
        (1 << 5, "mod_dl_dst"),
        (1 << 6, "mod_nw_src"),
        (1 << 7, "mod_nw_dst"),
        (1 << 8, "mod_nw_tos"),
        (1 << 9, "mod_tp_src"),
        (1 << 10, "mod_tp_dst"),
    ];
    spell(bits, &NAMES)
}

/// Actions of groups and tables by their numbers since OpenFlow 1.1, in the order in which Open
/// vSwitch names them.
pub(super) fn actions(bits: u32) -> String {
    const NAMES: [(u32, &str); 15] = [
        (1, "output"),
        (1 << 22, "group"),
        (1 << 25, "set_field"),
        (1 << 18, "strip_vlan"),
        (1 << 17, "push_vlan"),
        (1 << 23, "mod_nw_ttl"),
        (1 << 24, "dec_ttl"),
        (1 << 11, "copy_ttl_out"),
        (1 << 12, "copy_ttl_in"),
        (1 << 15, "set_mpls_ttl"),
        (1 << 16, "dec_mpls_ttl"),
        (1 << 19, "push_mpls"),
        (1 << 20, "pop_mpls"),
        (1 << 26, "push_pbb"),
        (1 << 27, "pop_pbb"),
    ];
    let mut names = NAMES.to_vec();
    names.push((1 << 21, "set_queue"));
    spell(bits, &names)
}

/// `PORT_DOWN NO_FLOOD`
pub(super) fn port_config(config: PortConfig) -> String {
    const NAMES: [(u32, &str); 7] = [
        (1, "PORT_DOWN"),
        (1 << 1, "NO_STP"),
        (1 << 2, "NO_RECV"),
        (1 << 3, "NO_RECV_STP"),
        (1 << 4, "NO_FLOOD"),
        (1 << 5, "NO_FWD"),
        (1 << 6, "NO_PACKET_IN"),
    ];
    spell(config.0, &NAMES)
}

/// `LINK_DOWN`, `LIVE`
pub(super) fn port_state(state: PortState) -> String {
    let mut words = Vec::new();
    let flags = spell(
        state.0 & 7,
        &[(1, "LINK_DOWN"), (2, "BLOCKED"), (4, "LIVE")],
    );
    if state.0 & 7 != 0 {
        words.push(flags.as_str());
    }
    match state.0 & 0x300 {
        0x100 => words.push("STP_LEARN"),
        0x200 => words.push("STP_FORWARD"),
        0x300 => words.push("STP_BLOCK"),
        _ => {}
    }
    match words.is_empty() {
        true => "0".to_owned(),
        false => words.join(" "),
    }
}

/// `10GB-FD COPPER`
pub(super) fn port_features(features: PortFeatures) -> String {
    const NAMES: [(u32, &str); 16] = [
        (1, "10MB-HD"),
        (1 << 1, "10MB-FD"),
        (1 << 2, "100MB-HD"),
        (1 << 3, "100MB-FD"),
        (1 << 4, "1GB-HD"),
        (1 << 5, "1GB-FD"),
        (1 << 6, "10GB-FD"),
        (1 << 7, "40GB-FD"),
        (1 << 8, "100GB-FD"),
        (1 << 9, "1TB-FD"),
        (1 << 10, "OTHER"),
        (1 << 11, "COPPER"),
        (1 << 12, "FIBER"),
        (1 << 13, "AUTO_NEG"),
        (1 << 14, "AUTO_PAUSE"),
        (1 << 15, "AUTO_PAUSE_ASYM"),
    ];
    spell(features.0, &NAMES)
}

/// `atomic ordered`
pub(super) fn bundle(flags: BundleFlags) -> String {
    spell(flags.0.into(), &[(1, "atomic"), (2, "ordered")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_without_a_name_are_a_number() {
        assert_eq!(port_config(PortConfig(0)), "0");
        assert_eq!(port_config(PortConfig(0x11)), "PORT_DOWN NO_FLOOD");
        assert_eq!(port_config(PortConfig(0x101)), "PORT_DOWN 0x100");
        assert_eq!(port_state(PortState(5)), "LINK_DOWN LIVE");
    }
}
