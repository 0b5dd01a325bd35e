//! Actions and instructions → text, as Open vSwitch prints them (`format_*` in `lib/ofp-actions.c`).

use std::fmt;
use std::net::IpAddr;

use super::actions::REASONS;
use super::choice::{BUNDLES, HASHES, MULTILINKS};
use super::match_print::List;
use super::names::{Named, Names, print_port, print_table};
use super::nested::HELPERS;
use super::subfield::{self, name_in_action};
use super::{DEFAULT_PRIORITY, value};
use crate::action::{
    Action, Bundle, Ct, CtZone, Instructions, Learn, LearnSource, LearnSpec, Multipath, Nat,
    NatKind, NatPorts, OfPort, Sample, Subfield, ToController,
};
use crate::field::Field;
use crate::key::FlowKey;

/// Prints a list of actions; the empty list is `drop`.
#[derive(Clone, Copy, Debug)]
pub struct Actions<'a>(
    /// The actions, in order.
    pub &'a [Action],
);

impl fmt::Display for Actions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_actions(self.0, None, f)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_action(self, None, f)
    }
}

impl fmt::Display for Instructions {
    /// What stands after `actions=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_instructions(self, None, f)
    }
}

impl fmt::Display for Named<'_, [Action]> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_actions(self.0, Some(self.1), f)
    }
}

impl fmt::Display for Named<'_, Action> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_action(self.0, Some(self.1), f)
    }
}

impl fmt::Display for Named<'_, Instructions> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_instructions(self.0, Some(self.1), f)
    }
}

/// Bits of a field, in a format string.
struct Bits(Subfield);

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        subfield::print(self.0, f)
    }
}

/// What bits of a field are in a packet: `NXM_NX_REG0[] is now 0x3`, as traces say it.
#[derive(Clone, Copy, Debug)]
pub struct IsNow<'a>(
    /// Which bits.
    pub Subfield,
    /// The packet.
    pub &'a FlowKey,
);

impl fmt::Display for IsNow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bits, key) = *self;
        let row = bits.field.info();
        write!(f, "{} is now ", Bits(bits))?;
        let value = (key.field(bits.field) & bits.mask()) >> bits.offset;
        if bits == Subfield::whole(bits.field) {
            value::print_in_action(row, value, row.max(), None, f)
        } else {
            value::hex(value, f)
        }
    }
}

/// A hexadecimal number, of which zero has no `0x`.
struct Hex(u128);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        value::hex(self.0, f)
    }
}

/// The name of a value among names.
fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    let found = names.iter().find(|(_, other)| other == value);
    found.map_or("", |(name, _)| name)
}

pub(super) fn print_instructions(
    instructions: &Instructions,
    names: Option<&Names>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if instructions.is_drop() {
        return f.write_str("drop");
    }
    let mut list = List { f, first: true };
    if let Some(meter) = instructions.meter {
        write!(list.next()?, "meter:{meter}")?;
    }
    if !instructions.apply.is_empty() {
        print_actions(&instructions.apply, names, list.next()?)?;
    }
    if instructions.clear {
        list.next()?.write_str("clear_actions")?;
    }
    if !instructions.write.is_empty() {
        let f = list.next()?;
        f.write_str("write_actions(")?;
        print_actions(&instructions.write, names, f)?;
        f.write_str(")")?;
    }
    if let Some((value, mask)) = instructions.metadata {
        let f = list.next()?;
        write!(f, "write_metadata:{}", Hex(value.into()))?;
        if mask != u64::MAX {
            write!(f, "/{}", Hex(mask.into()))?;
        }
    }
    if let Some(table) = instructions.goto {
        let f = list.next()?;
        f.write_str("goto_table:")?;
        print_table(table, names, f)?;
    }
    Ok(())
}

pub(super) fn print_actions(
    actions: &[Action],
    names: Option<&Names>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if actions.is_empty() {
        return f.write_str("drop");
    }
    let mut list = List { f, first: true };
    for action in actions {
        print_action(action, names, list.next()?)?;
    }
    Ok(())
}

fn print_action(action: &Action, names: Option<&Names>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match action {
        Action::Output(OfPort::CONTROLLER) => f.write_str("CONTROLLER:65535"),
        Action::Output(port) => {
            f.write_str(if *port < OfPort::UNSET { "output:" } else { "" })?;
            print_port(*port, names, f)
        }
        Action::OutputTruncated { port, max_len } => {
            f.write_str("output(port=")?;
            print_port(*port, names, f)?;
            write!(f, ",max_len={max_len})")
        }
        Action::OutputField { src, .. } => write!(f, "output:{}", Bits(*src)),
        Action::Controller(to) => print_controller(to, f),
        Action::Enqueue { port, queue } => {
            f.write_str("enqueue:")?;
            print_port(*port, names, f)?;
            write!(f, ":{queue}")
        }
        Action::SetQueue(queue) => write!(f, "set_queue:{queue}"),
        Action::PopQueue => f.write_str("pop_queue"),
        Action::Group(group) => write!(f, "group:{group}"),
        Action::SetField { field, value, mask } => print_set(*field, *value, *mask, names, f),
        Action::Load { dst, value } => write!(f, "load:{}->{}", Hex(*value), Bits(*dst)),
        Action::Move { src, dst } => write!(f, "move:{}->{}", Bits(*src), Bits(*dst)),
        Action::StackPush(src) => write!(f, "push:{}", Bits(*src)),
        Action::StackPop(dst) => write!(f, "pop:{}", Bits(*dst)),
        Action::SetVlanVid(vid) => write!(f, "mod_vlan_vid:{vid}"),
        Action::SetVlanPcp(pcp) => write!(f, "mod_vlan_pcp:{pcp}"),
        Action::PushVlan(tpid) => write!(f, "push_vlan:{}", Hex((*tpid).into())),
        Action::PopVlan => f.write_str("pop_vlan"),
        Action::PushMpls(ethertype) => write!(f, "push_mpls:0x{ethertype:04x}"),
        Action::PopMpls(ethertype) => write!(f, "pop_mpls:0x{ethertype:04x}"),
        Action::PushPbb(ethertype) => write!(f, "push_pbb:0x{ethertype:04x}"),
        Action::PopPbb => f.write_str("pop_pbb"),
        Action::DecTtl(ids) if ids.is_empty() => f.write_str("dec_ttl"),
        Action::DecTtl(ids) => {
            f.write_str("dec_ttl(")?;
            let mut list = List { f, first: true };
            for id in ids {
                write!(list.next()?, "{id}")?;
            }
            list.f.write_str(")")
        }
        Action::DecMplsTtl => f.write_str("dec_mpls_ttl"),
        Action::CopyTtlOut => f.write_str("copy_ttl_out"),
        Action::CopyTtlIn => f.write_str("copy_ttl_in"),
        Action::Resubmit {
            port,
            table,
            ct_tuple,
        } => print_resubmit(*port, *table, *ct_tuple, names, f),
        Action::Clone(inner) => {
            f.write_str("clone(")?;
            print_actions(inner, names, f)?;
            f.write_str(")")
        }
        Action::Learn(learn) => print_learn(learn, names, f),
        Action::Conjunction {
            id,
            clause,
            clauses,
        } => write!(f, "conjunction({id},{}/{clauses})", u16::from(*clause) + 1),
        Action::Note(bytes) => {
            f.write_str("note:")?;
            print_bytes(bytes, f)
        }
        Action::Exit => f.write_str("exit"),
        Action::Multipath(multipath) => print_multipath(multipath, f),
        Action::Bundle(bundle) => print_bundle(bundle, names, f),
        Action::CheckPktLarger { len, dst } => write!(f, "check_pkt_larger({len})->{}", Bits(*dst)),
        Action::FinTimeout { idle, hard } => {
            f.write_str("fin_timeout(")?;
            let mut list = List { f, first: true };
            for (name, seconds) in [("idle_timeout", idle), ("hard_timeout", hard)] {
                if *seconds != 0 {
                    write!(list.next()?, "{name}={seconds}")?;
                }
            }
            list.f.write_str(")")
        }
        Action::Ct(ct) => print_ct(ct, names, f),
        Action::CtClear => f.write_str("ct_clear"),
        Action::Meter(id) => write!(f, "meter:{id}"),
        Action::Sample(sample) => print_sample(sample, names, f),
        Action::DeleteField(field) => write!(f, "delete_field:{}", name_in_action(*field)),
    }
}

fn print_set(
    field: Field,
    value: u128,
    mask: u128,
    names: Option<&Names>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let row = field.info();
    // These are actions of their own in OpenFlow 1.3.
    match field {
        Field::IpTtl if mask == row.max() => return write!(f, "mod_nw_ttl:{value}"),
        Field::MplsTtl if mask == row.max() => return write!(f, "set_mpls_ttl({value})"),
        _ => {}
    }
    f.write_str("set_field:")?;
    value::print_in_action(row, value, mask, names, f)?;
    write!(f, "->{}", name_in_action(field))
}

fn print_controller(to: &ToController, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if to.is_plain() {
        return write!(f, "CONTROLLER:{}", to.max_len);
    }
    f.write_str("controller(")?;
    let mut list = List { f, first: true };
    if name_of(&REASONS, &to.reason) != "action" {
        write!(list.next()?, "reason={}", name_of(&REASONS, &to.reason))?;
    }
    if to.max_len != u16::MAX {
        write!(list.next()?, "max_len={}", to.max_len)?;
    }
    if to.id != 0 {
        write!(list.next()?, "id={}", to.id)?;
    }
    if !to.userdata.is_empty() {
        let f = list.next()?;
        f.write_str("userdata=")?;
        print_bytes(&to.userdata, f)?;
    }
    if to.pause {
        list.next()?.write_str("pause")?;
    }
    if let Some(meter) = to.meter {
        write!(list.next()?, "meter_id={meter}")?;
    }
    list.f.write_str(")")
}

fn print_bytes(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        write!(f, "{}{byte:02x}", if index == 0 { "" } else { "." })?;
    }
    Ok(())
}

fn print_resubmit(
    port: Option<OfPort>,
    table: Option<u8>,
    ct_tuple: bool,
    names: Option<&Names>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if let Some(port) = port
        && table.is_none()
        && !ct_tuple
    {
        f.write_str("resubmit:")?;
        return print_port(port, names, f);
    }
    f.write_str("resubmit(")?;
    if let Some(port) = port {
        print_port(port, names, f)?;
    }
    f.write_str(",")?;
    if let Some(table) = table {
        print_table(table, names, f)?;
    }
    f.write_str(if ct_tuple { ",ct)" } else { ")" })
}

fn print_learn(learn: &Learn, names: Option<&Names>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("learn(table=")?;
    print_table(learn.table, names, f)?;
    for (name, number, default) in [
        ("idle_timeout", learn.idle_timeout, 0),
        ("hard_timeout", learn.hard_timeout, 0),
        ("fin_idle_timeout", learn.fin_idle_timeout, 0),
        ("fin_hard_timeout", learn.fin_hard_timeout, 0),
        ("priority", learn.priority, DEFAULT_PRIORITY),
    ] {
        if number != default {
            write!(f, ",{name}={number}")?;
        }
    }
    if learn.send_flow_rem {
        f.write_str(",send_flow_rem")?;
    }
    if learn.delete_learned {
        f.write_str(",delete_learned")?;
    }
    if learn.cookie != 0 {
        write!(f, ",cookie={:#x}", learn.cookie)?;
    }
    if learn.limit != 0 {
        write!(f, ",limit={}", learn.limit)?;
    }
    if let Some(dst) = learn.result {
        write!(f, ",result_dst={}", Bits(dst))?;
    }
    for spec in &learn.specs {
        f.write_str(",")?;
        print_spec(spec, names, f)?;
    }
    f.write_str(")")
}

fn print_spec(spec: &LearnSpec, names: Option<&Names>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match spec {
        LearnSpec::Output(src) => write!(f, "output:{}", Bits(*src)),
        LearnSpec::Load { src, dst } => match src {
            LearnSource::Field(src) => write!(f, "load:{}->{}", Bits(*src), Bits(*dst)),
            LearnSource::Value(value) => write!(f, "load:{}->{}", Hex(*value), Bits(*dst)),
        },
        LearnSpec::Match { src, dst } => match src {
            LearnSource::Field(src) if (src.field, src.offset) == (dst.field, dst.offset) => {
                write!(f, "{}", Bits(*dst))
            }
            LearnSource::Field(src) => write!(f, "{}={}", Bits(*dst), Bits(*src)),
            LearnSource::Value(value) if subfield::is_whole(*dst) => {
                print_whole(*dst, *value, names, f)
            }
            LearnSource::Value(value) => write!(f, "{}={}", Bits(*dst), Hex(*value)),
        },
    }
}

/// Prints `field=value` for a whole field.
fn print_whole(
    dst: Subfield,
    value: u128,
    names: Option<&Names>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let row = dst.field.info();
    if dst.field != Field::InPort {
        write!(f, "{}=", name_in_action(dst.field))?;
        return value::print_in_action(row, value, row.max(), names, f);
    }
    // The 16 bits of a reserved port are its low ones.
    let (name, port) = match dst.bits {
        16 if value >= 0xfff7 => ("in_port", value as u32 | 0xffff_0000),
        16 => ("in_port", value as u32),
        _ => ("in_port_oxm", value as u32),
    };
    write!(f, "{name}=")?;
    print_port(OfPort(port), names, f)
}

fn print_multipath(multipath: &Multipath, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "multipath({},{},{},{},{},{})",
        name_of(&HASHES, &multipath.fields),
        multipath.basis,
        name_of(&MULTILINKS, &multipath.algorithm),
        u32::from(multipath.max_link) + 1,
        multipath.arg,
        Bits(multipath.dst)
    )
}

fn print_bundle(bundle: &Bundle, names: Option<&Names>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "{}({},{},{},ofport,",
        if bundle.dst.is_some() {
            "bundle_load"
        } else {
            "bundle"
        },
        name_of(&HASHES, &bundle.fields),
        bundle.basis,
        name_of(&BUNDLES, &bundle.algorithm),
    )?;
    if let Some(dst) = bundle.dst {
        write!(f, "{},", Bits(dst))?;
    }
    f.write_str("members:")?;
    let mut list = List { f, first: true };
    for port in &bundle.members {
        print_port(*port, names, list.next()?)?;
    }
    list.f.write_str(")")
}

fn print_ct(ct: &Ct, names: Option<&Names>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("ct(")?;
    let mut list = List { f, first: true };
    if ct.commit {
        list.next()?.write_str("commit")?;
    }
    if ct.force {
        list.next()?.write_str("force")?;
    }
    if let Some(table) = ct.table {
        let f = list.next()?;
        f.write_str("table=")?;
        print_table(table, names, f)?;
    }
    match ct.zone {
        CtZone::Number(0) => {}
        CtZone::Number(zone) => write!(list.next()?, "zone={zone}")?,
        CtZone::Field(src) => write!(list.next()?, "zone={}", Bits(src))?,
    }
    if let Some(nat) = &ct.nat {
        print_nat(nat, list.next()?)?;
    }
    if !ct.exec.is_empty() {
        let f = list.next()?;
        f.write_str("exec(")?;
        print_actions(&ct.exec, names, f)?;
        f.write_str(")")?;
    }
    if let Some(helper) = &ct.helper {
        write!(list.next()?, "alg={}", name_of(&HELPERS, helper))?;
    }
    list.f.write_str(")")
}

fn print_nat(nat: &Nat, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("nat")?;
    let Some(range) = &nat.range else {
        return Ok(());
    };
    f.write_str(match range.kind {
        NatKind::Source => "(src",
        NatKind::Destination => "(dst",
    })?;
    if let Some((first, last)) = range.addresses {
        f.write_str("=")?;
        let brackets = range.ports.is_some();
        print_address(first, brackets, f)?;
        if last != first {
            f.write_str("-")?;
            print_address(last, brackets, f)?;
        }
    }
    if let Some((first, last)) = range.ports {
        write!(f, ":{first}")?;
        if last != first {
            write!(f, "-{last}")?;
        }
    }
    if nat.persistent {
        f.write_str(",persistent")?;
    }
    match nat.ports {
        NatPorts::Default => {}
        NatPorts::Hash => f.write_str(",hash")?,
        NatPorts::Random => f.write_str(",random")?,
    }
    f.write_str(")")
}

fn print_address(address: IpAddr, brackets: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match address {
        IpAddr::V6(address) if brackets => write!(f, "[{address}]"),
        address => write!(f, "{address}"),
    }
}

fn print_sample(sample: &Sample, names: Option<&Names>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "sample(probability={},collector_set_id={},obs_domain_id={},obs_point_id={}",
        sample.probability, sample.collector_set, sample.domain, sample.point
    )?;
    if let Some(port) = sample.port {
        f.write_str(",sampling_port=")?;
        print_port(port, names, f)?;
    }
    f.write_str(")")
}
