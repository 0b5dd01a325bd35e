//! What a trace says of connection tracking: what is asked of it, and what is taken for its answer.
//!
//! Nobody knows what tracking would find, so the asker of a trace chooses, or a new connection is
//! taken; where addresses are translated, the first of a range is.
//!
//! Spec: `format_odp_ct_action` in `lib/odp-util.c`, `ofproto_trace` in `ofproto-dpif-trace.c` of Open
//! vSwitch.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vswitch_flow::action::{CtHelper, Nat, NatKind, NatPorts};
use vswitch_flow::{Field, FlowKey, FlowMask, Match};

use crate::conntrack::request::state;
use crate::pipeline::CtAction;

/// Takes an answer of tracking into a packet's fields: the states `next`, or those of a new
/// connection. What is translated is written as a packet gets it that nobody is in the way of, if
/// `translates`. Answers how that is told, and the lines about translation.
pub fn resume_tracked(
    ct: &CtAction,
    key: &mut FlowKey,
    next: Option<u8>,
    translates: bool,
) -> (String, Vec<String>) {
    let (state, how) = match next {
        Some(state) => (state, format!("ct_state={}", state_text(state))),
        None => (
            state::TRACKED | state::NEW,
            "default ct_state=trk|new (use --ct-next to customize)".to_owned(),
        ),
    };
    key.set(Field::CtState, state.into());
    let mut lines = Vec::new();
    if let Some(nat) = ct.request.nat.as_ref().filter(|_| translates) {
        lines.push("Replacing src/dst IP/ports to simulate NAT:".to_owned());
        let family = nat.range.as_ref().and_then(|range| range.addresses);
        lines.push(format!(" Initial flow: {}", tuple_text(key, family)));
        simulate(nat, key);
        lines.push(format!(" Modified flow: {}", tuple_text(key, family)));
    }
    (how, lines)
}

/// Writes the first address and port of a range, as a packet that nobody is in the way of gets them.
fn simulate(nat: &Nat, key: &mut FlowKey) {
    let Some(range) = &nat.range else { return };
    let (v4, v6, port) = match range.kind {
        NatKind::Source => (Field::Ipv4Src, Field::Ipv6Src, Field::TcpSrc),
        NatKind::Destination => (Field::Ipv4Dst, Field::Ipv6Dst, Field::TcpDst),
    };
    match range.addresses {
        Some((IpAddr::V4(first), _)) => key.set(v4, first.to_bits().into()),
        Some((IpAddr::V6(first), _)) => key.set(v6, first.to_bits()),
        None => {}
    }
    if let Some((first, _)) = range.ports {
        key.set(port, first.into());
    }
}

/// Addresses and ports of a packet; nothing without an address to be put in their place.
fn tuple_text(key: &FlowKey, family: Option<(IpAddr, IpAddr)>) -> String {
    let (src, dst) = (key.field(Field::TcpSrc), key.field(Field::TcpDst));
    let v4 = |field| Ipv4Addr::from(key.field(field) as u32);
    let v6 = |field| Ipv6Addr::from(key.field(field));
    match family {
        Some((IpAddr::V4(_), _)) => format!(
            "nw_src={},tp_src={src},nw_dst={},tp_dst={dst}",
            v4(Field::Ipv4Src),
            v4(Field::Ipv4Dst)
        ),
        Some((IpAddr::V6(_), _)) => format!(
            "ipv6_src=[{}],tp_src={src},ipv6_dst=[{}],tp_dst={dst}",
            v6(Field::Ipv6Src),
            v6(Field::Ipv6Dst)
        ),
        None => String::new(),
    }
}

/// What is asked of tracking; what does not matter is left out.
pub(super) fn ct_text(ct: &CtAction) -> String {
    let request = &ct.request;
    let mut parts = Vec::new();
    match (request.commit, request.force) {
        (true, true) => parts.push("force_commit".to_owned()),
        (true, false) => parts.push("commit".to_owned()),
        (false, _) => {}
    }
    if request.zone != 0 {
        parts.push(format!("zone={}", request.zone));
    }
    let (mark, mask) = request.mark;
    if mask != 0 {
        parts.push(format!("mark={mark:#x}/{mask:#x}"));
    }
    match request.label {
        (_, 0) => {}
        (label, u128::MAX) => parts.push(format!("label={label:#x}")),
        (label, mask) => parts.push(format!("label={label:#x}/{mask:#x}")),
    }
    match request.helper {
        Some(CtHelper::Ftp) => parts.push("helper=ftp".to_owned()),
        Some(CtHelper::Tftp) => parts.push("helper=tftp".to_owned()),
        None => {}
    }
    parts.extend(request.nat.as_ref().map(nat_text));
    match parts.as_slice() {
        [] => "ct".to_owned(),
        parts => format!("ct({})", parts.join(",")),
    }
}

fn nat_text(nat: &Nat) -> String {
    let Some(range) = &nat.range else {
        return "nat".to_owned();
    };
    let mut text = match range.kind {
        NatKind::Source => "nat(src".to_owned(),
        NatKind::Destination => "nat(dst".to_owned(),
    };
    if let Some((first, last)) = range.addresses {
        let spell = |address| match address {
            IpAddr::V6(address) if range.ports.is_some() => format!("[{address}]"),
            address => address.to_string(),
        };
        let _ = write!(text, "={}", spell(first));
        if last != first {
            let _ = write!(text, "-{}", spell(last));
        }
    }
    if let Some((first, last)) = range.ports {
        let _ = write!(text, ":{first}");
        if last != first {
            let _ = write!(text, "-{last}");
        }
    }
    if nat.persistent {
        text.push_str(",persistent");
    }
    match nat.ports {
        NatPorts::Default => {}
        NatPorts::Hash => text.push_str(",hash"),
        NatPorts::Random => text.push_str(",random"),
    }
    text.push(')');
    text
}

/// Bits of `ct_state`, as flows write them.
fn state_text(bits: u8) -> String {
    let (mut key, mut mask) = (FlowKey::default(), FlowMask::default());
    key.set(Field::CtState, bits.into());
    mask.set(Field::CtState, Field::CtState.info().max());
    let text = Match::new(&key, &mask).to_string();
    text.trim_start_matches("ct_state=").to_owned()
}
