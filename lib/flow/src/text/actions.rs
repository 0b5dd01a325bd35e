//! Text → actions and instructions.
//!
//! Each action is checked against the match, and against what the actions before it make of the
//! packet, when it is read, so that an error says where it is ([`crate::check`]).
//!
//! Of OpenFlow 1.0's actions those that OpenFlow 1.3 has not are read as what `ovs-ofctl` makes of
//! them: `mod_vlan_vid:5` is `push_vlan:0x8100,set_field:4101->vlan_vid` where the match promises no
//! tag, and `enqueue:1:2` is `set_queue:2,output:1,pop_queue`. A list of actions alone, of which
//! nobody knows the packets, keeps them.

use super::matches::read_value;
use super::names::Lookup;
use super::subfield;
use super::token::{Mark, Part, Token};
use super::value;
use super::{ParseError, PortNames, Problem};
use crate::action::{Action, Instructions, OfPort, Reason, ToController};
use crate::check::{Checker, check_goto, check_meter_number};
use crate::field::Field;
use crate::matches::Match;
use crate::rule::TABLE_MAX;

/// Actions within actions go no deeper than this.
const DEPTH_MAX: u8 = 32;

/// Reasons of a packet-in with their names.
pub(super) const REASONS: [(&str, Reason); 6] = [
    ("no_match", Reason::NoMatch),
    ("action", Reason::Action),
    ("invalid_ttl", Reason::InvalidTtl),
    ("action_set", Reason::ActionSet),
    ("group", Reason::Group),
    ("packet_out", Reason::PacketOut),
];

/// Reads a list of actions, such as `set_field:10.0.0.1->ip_dst,output:2`. As there is no match
/// beside it, nothing is known of the packets: `mod_tp_src` and `mod_tp_dst` cannot be read.
///
/// # Errors
/// Where the text is wrong, and what is allowed there.
pub fn parse_actions(text: &str, names: PortNames<'_>) -> Result<Vec<Action>, ParseError> {
    Reader::alone(Lookup::Ports(names), false).list(Token::new(text))
}

/// Reads lists of actions.
pub(super) struct Reader<'a> {
    pub(super) names: Lookup<'a>,
    pub(super) checker: Checker,
    /// Actions that OpenFlow 1.3 has not become some that it has.
    pub(super) translate: bool,
    depth: u8,
}

/// In which order instructions stand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Meter,
    Apply,
    Clear,
    Write,
    Metadata,
    Goto,
}

impl<'a> Reader<'a> {
    /// For the actions of a flow with this match.
    pub(super) fn of(matches: &Match, names: Lookup<'a>) -> Self {
        Self {
            names,
            checker: Checker::new(matches, true),
            translate: true,
            depth: 0,
        }
    }

    /// For actions of which nobody knows the packets.
    pub(super) fn alone(names: Lookup<'a>, translate: bool) -> Self {
        Self {
            names,
            checker: Checker::unknown(),
            translate,
            depth: 0,
        }
    }

    /// Reads what stands after `actions=` in a flow of this table.
    pub(super) fn instructions(
        &mut self,
        token: Token<'a>,
        table: u8,
    ) -> Result<Instructions, ParseError> {
        let mut all = Instructions::default();
        let mut apply = Vec::new();
        let mut before = None;
        let mut drop = None;
        let mut count = 0;
        for part in token.parts() {
            let part = part?;
            count += 1;
            let mut lower = Lower::new();
            let name = lower.of(part.name.text);
            let step = match name {
                // What comes first is the same as an instruction.
                "meter" if !matches!(before, Some(Step::Apply)) => {
                    let meter = part.u32()?;
                    check_meter_number(meter).map_err(|fault| part.value.fault(fault))?;
                    all.meter = Some(meter);
                    Step::Meter
                }
                "clear_actions" => {
                    part.alone()?;
                    all.clear = true;
                    Step::Clear
                }
                "write_actions" => {
                    all.write = self.action_set(&part)?.into();
                    Step::Write
                }
                "write_metadata" => {
                    all.metadata = Some(metadata(&part)?);
                    Step::Metadata
                }
                "goto_table" => {
                    let to = self.table(&part, part.need(TABLE)?)?;
                    check_goto(table, to).map_err(|fault| part.value.fault(fault))?;
                    all.goto = Some(to);
                    Step::Goto
                }
                "apply_actions" => return part.name.fail(Problem::Apply),
                "drop" => {
                    part.alone()?;
                    drop = Some(part.whole);
                    continue;
                }
                _ => {
                    self.action(&part, name, &mut apply)?;
                    Step::Apply
                }
            };
            match before {
                Some(last) if step < last || step == last && step != Step::Apply => {
                    return part.whole.fail(Problem::Order);
                }
                _ => before = Some(step),
            }
        }
        self.whole(token, &apply, drop, count)?;
        all.apply = apply.into();
        Ok(all)
    }

    /// Reads a list of actions.
    pub(super) fn list(&mut self, token: Token<'a>) -> Result<Vec<Action>, ParseError> {
        let mut actions = Vec::new();
        let mut drop = None;
        let mut count = 0;
        for part in token.parts() {
            let part = part?;
            count += 1;
            let mut lower = Lower::new();
            match lower.of(part.name.text) {
                "drop" => {
                    part.alone()?;
                    drop = Some(part.whole);
                }
                name => self.action(&part, name, &mut actions)?,
            }
        }
        self.whole(token, &actions, drop, count)?;
        Ok(actions)
    }

    /// Checks what the actions of a list are together.
    fn whole(
        &self,
        token: Token<'_>,
        actions: &[Action],
        drop: Option<Token<'_>>,
        count: usize,
    ) -> Result<(), ParseError> {
        if let Some(drop) = drop
            && count > 1
        {
            return drop.fail(Problem::DropWithOthers);
        }
        Checker::conjunction(actions).map_err(|fault| token.fault(fault))
    }

    /// Reads a list within an action. What it makes of the packet ends with it.
    pub(super) fn within(&self, part: &Part<'a>) -> Result<Vec<Action>, ParseError> {
        if part.mark != Mark::Open {
            part.need("actions in parentheses")?;
        }
        if self.depth >= DEPTH_MAX {
            return part.whole.fail(Problem::Depth);
        }
        let mut inner = Reader {
            names: self.names,
            checker: self.checker.clone(),
            translate: self.translate,
            depth: self.depth + 1,
        };
        inner.list(part.value)
    }

    fn action_set(&self, part: &Part<'a>) -> Result<Vec<Action>, ParseError> {
        let mut checker = self.checker.clone();
        checker.be_lenient();
        let mut inner = Reader {
            names: self.names,
            checker,
            translate: self.translate,
            depth: self.depth + 1,
        };
        let actions = inner.list(part.value)?;
        let mut checker = self.checker.clone();
        let checked = checker.action_set(&actions);
        checked.map_err(|fault| part.value.fault(fault))?;
        Ok(actions)
    }

    /// Takes an action into the list if it can be done.
    pub(super) fn push(
        &mut self,
        token: Token<'_>,
        action: Action,
        actions: &mut Vec<Action>,
    ) -> Result<(), ParseError> {
        let checked = self.checker.action(&action);
        checked.map_err(|fault| token.fault(fault))?;
        actions.push(action);
        Ok(())
    }

    /// Reads one action.
    fn action(
        &mut self,
        part: &Part<'a>,
        name: &str,
        actions: &mut Vec<Action>,
    ) -> Result<(), ParseError> {
        if part.target.is_some() && name != "check_pkt_larger" {
            return part.whole.fail(Problem::UnwantedTarget);
        }
        let action = match name {
            "output" => self.output(part)?,
            "controller" => self.controller(part)?,
            "enqueue" => return self.enqueue(part, actions),
            "group" => Action::Group(part.u32()?),
            "set_queue" => Action::SetQueue(part.u32()?),
            "pop_queue" => alone(part, Action::PopQueue)?,
            "exit" => alone(part, Action::Exit)?,
            "ct_clear" => alone(part, Action::CtClear)?,
            "dec_mpls_ttl" => alone(part, Action::DecMplsTtl)?,
            "copy_ttl_out" => alone(part, Action::CopyTtlOut)?,
            "copy_ttl_in" => alone(part, Action::CopyTtlIn)?,
            "pop_pbb" => alone(part, Action::PopPbb)?,
            "pop_vlan" | "strip_vlan" => alone(part, Action::PopVlan)?,
            "push_vlan" => Action::PushVlan(part.u16()?),
            "push_mpls" => Action::PushMpls(part.u16()?),
            "pop_mpls" => Action::PopMpls(part.u16()?),
            "push_pbb" => Action::PushPbb(part.u16()?),
            "push" => Action::StackPush(subfield::parse(part.need(BITS)?)?),
            "pop" => Action::StackPop(subfield::parse(part.need(BITS)?)?),
            "move" => {
                let (src, dst) = subfield::parse_move(part.need("source->destination")?)?;
                Action::Move { src, dst }
            }
            "dec_ttl" => dec_ttl(part)?,
            "resubmit" => self.resubmit(part)?,
            "note" => Action::Note(hex_bytes(part, part.value)?),
            "conjunction" => conjunction(part)?,
            "fin_timeout" => fin_timeout(part)?,
            "clone" => Action::Clone(self.within(part)?),
            "ct" => self.ct(part)?,
            "learn" => self.learn(part)?,
            "multipath" => super::choice::multipath(part)?,
            "bundle" => super::choice::bundle(part, false, self.names)?,
            "bundle_load" => super::choice::bundle(part, true, self.names)?,
            "check_pkt_larger" => super::choice::check_pkt_larger(part)?,
            "sample" => super::choice::sample(part, self.names)?,
            "delete_field" => {
                let name = part.need("a field")?;
                Action::DeleteField(super::rewrite::field_of(name)?)
            }
            "meter" => Action::Meter(part.u32()?),
            "write_actions" | "clear_actions" | "write_metadata" | "goto_table"
            | "apply_actions" => return part.name.fail(Problem::Instruction),
            _ => {
                if self.rewrite(part, name, actions)? {
                    return Ok(());
                }
                self.port_alone(part)?
            }
        };
        self.push(part.whole, action, actions)
    }

    /// A table's number or name.
    pub(super) fn table(&self, part: &Part<'_>, value: Token<'_>) -> Result<u8, ParseError> {
        match self.names.table(value.text) {
            Some(table) => Ok(table),
            None => part.refuse(value, TABLE),
        }
    }

    pub(super) fn port(&self, part: &Part<'_>, value: Token<'_>) -> Result<OfPort, ParseError> {
        match value::port(value.text, self.names) {
            Some(port) => Ok(port),
            None => part.refuse(value, PORT),
        }
    }

    /// Reads the name or number of a port, which alone is an output.
    fn port_alone(&self, part: &Part<'_>) -> Result<Action, ParseError> {
        match value::port(part.name.text, self.names) {
            Some(port) => alone(part, Action::Output(port)),
            None => part.name.fail(Problem::UnknownAction),
        }
    }

    fn output(&self, part: &Part<'_>) -> Result<Action, ParseError> {
        let value = part.need(PORT)?;
        if value.text.contains("max_len") {
            let (mut port, mut max_len) = (None, None);
            for inner in value.parts() {
                let inner = inner?;
                match inner.name.text {
                    "port" => port = Some(self.port(&inner, inner.need(PORT)?)?),
                    "max_len" => max_len = Some(inner.number(14, u32::MAX.into())? as u32),
                    _ => return inner.unknown("output", "port and max_len"),
                }
            }
            let (Some(port), Some(max_len)) = (port, max_len) else {
                return part.refuse(value, "port=PORT,max_len=BYTES");
            };
            return Ok(Action::OutputTruncated { port, max_len });
        }
        if let Some(port) = value::port(value.text, self.names) {
            return Ok(Action::Output(port));
        }
        let name = value.text.split('[').next().unwrap_or_default();
        if subfield::field(name).is_none() {
            return part.refuse(value, format!("{PORT}, or a field that holds one"));
        }
        Ok(Action::OutputField {
            src: subfield::parse(value)?,
            max_len: u16::MAX,
        })
    }

    fn controller(&self, part: &Part<'_>) -> Result<Action, ParseError> {
        let mut to = ToController::new(u16::MAX);
        let Some(value) = part.value() else {
            return Ok(Action::Output(OfPort::CONTROLLER));
        };
        if value.text.bytes().all(|byte| byte.is_ascii_digit()) {
            to.max_len = part.u16()?;
        } else {
            for inner in value.parts() {
                let inner = inner?;
                match inner.name.text {
                    "max_len" => to.max_len = inner.u16()?,
                    "id" => to.id = inner.u16()?,
                    "meter_id" => to.meter = Some(inner.u32()?),
                    "userdata" => to.userdata = hex_bytes(&inner, inner.value)?,
                    "pause" => {
                        inner.alone()?;
                        to.pause = true;
                    }
                    "reason" => to.reason = named(&inner, &REASONS)?,
                    _ => {
                        let allowed = "max_len, reason, id, userdata, pause and meter_id";
                        return inner.unknown("controller", allowed);
                    }
                }
            }
        }
        if to.is_plain() && to.max_len == u16::MAX {
            return Ok(Action::Output(OfPort::CONTROLLER));
        }
        Ok(Action::Controller(Box::new(to)))
    }

    fn enqueue(&mut self, part: &Part<'a>, actions: &mut Vec<Action>) -> Result<(), ParseError> {
        let allowed = "PORT:QUEUE";
        let value = part.need(allowed)?;
        let ends = value.split(":").or_else(|| value.split(","));
        let Some((port, queue)) = ends.or_else(|| value.split("q")) else {
            return part.refuse(value, allowed);
        };
        let port = self.port(part, port)?;
        let number = value::number(queue.text.trim()).and_then(|queue| u32::try_from(queue).ok());
        let Some(queue) = number else {
            return part.refuse(queue, "a queue's number");
        };
        if !self.translate {
            return self.push(part.whole, Action::Enqueue { port, queue }, actions);
        }
        let enqueue = self.checker.action(&Action::Enqueue { port, queue });
        enqueue.map_err(|fault| part.whole.fault(fault))?;
        actions.extend([
            Action::SetQueue(queue),
            Action::Output(port),
            Action::PopQueue,
        ]);
        Ok(())
    }

    fn resubmit(&self, part: &Part<'_>) -> Result<Action, ParseError> {
        let allowed = "PORT, or (PORT,TABLE), or (,TABLE), or (PORT,TABLE,ct)";
        let value = part.need(allowed)?;
        let (first, rest) = match value.split(",") {
            Some((first, rest)) => (first.trim(), Some(rest)),
            None => (value.trim(), None),
        };
        let (second, third) = match rest.and_then(|rest| rest.split(",")) {
            Some((second, third)) => (Some(second.trim()), Some(third.trim())),
            None => (rest.map(Token::trim), None),
        };
        let port = match first.text {
            "" => OfPort::IN_PORT,
            _ => self.port(part, first)?,
        };
        let table = match second {
            Some(token) if !token.text.is_empty() => Some(self.table(part, token)?),
            _ => None,
        };
        let ct_tuple = match third.map_or("", |third| third.text) {
            "" => false,
            "ct" => true,
            _ => return part.refuse(third.unwrap_or(value), "ct, or nothing"),
        };
        let port = (port != OfPort::IN_PORT).then_some(port);
        let table = table.filter(|table| *table != 0xff);
        if port.is_none() && table.is_none() {
            return part.refuse(value, format!("{allowed}: a port or a table must be said"));
        }
        Ok(Action::Resubmit {
            port,
            table,
            ct_tuple,
        })
    }

    /// Reads a value of a field for an action.
    pub(super) fn value_of(
        &self,
        part: &Part<'_>,
        field: Field,
    ) -> Result<(u128, u128), ParseError> {
        read_value(part.whole, part.name, part.value(), field, self.names)
    }
}

/// What a table may be.
pub(super) const TABLE: &str = "a table's number up to 254, or its name";
/// What a port may be.
pub(super) const PORT: &str = "a port number, LOCAL, or a port's name";
/// What bits of a field may be.
pub(super) const BITS: &str = "bits of a field, such as NXM_NX_REG0[0..15]";
const _: () = assert!(TABLE_MAX == 253, "the highest table is hidden");

fn alone(part: &Part<'_>, action: Action) -> Result<Action, ParseError> {
    part.alone().map(|()| action)
}

/// The value's meaning among names.
pub(super) fn named<T: Copy>(part: &Part<'_>, names: &[(&str, T)]) -> Result<T, ParseError> {
    let allowed = || {
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    };
    let found = names
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(part.value.text));
    match found {
        Some((_, value)) => Ok(*value),
        None => part.refuse(part.need(&allowed())?, format!("one of {}", allowed())),
    }
}

/// Reads hexadecimal digits in pairs, with or without dots between them.
fn hex_bytes(part: &Part<'_>, value: Token<'_>) -> Result<Vec<u8>, ParseError> {
    let mut bytes = Vec::with_capacity(value.text.len() / 2);
    let mut high = None;
    for c in value.text.chars() {
        match (c.to_digit(16), high) {
            (Some(digit), None) => high = Some(digit),
            (Some(digit), Some(first)) => {
                bytes.push((first << 4 | digit) as u8);
                high = None;
            }
            (None, None) if c == '.' || c.is_ascii_whitespace() => {}
            _ => return part.refuse(value, "pairs of hexadecimal digits, such as 00.1f"),
        }
    }
    match high {
        None => Ok(bytes),
        Some(_) => part.refuse(value, "pairs of hexadecimal digits, such as 00.1f"),
    }
}

fn dec_ttl(part: &Part<'_>) -> Result<Action, ParseError> {
    let mut ids = Vec::new();
    for word in part.value.words() {
        match word.text.parse() {
            Ok(id) => ids.push(id),
            Err(_) => return part.refuse(word, "controllers' numbers up to 65535"),
        }
    }
    Ok(Action::DecTtl(ids))
}

fn conjunction(part: &Part<'_>) -> Result<Action, ParseError> {
    let allowed = "ID,CLAUSE/CLAUSES, such as 7,1/3";
    let value = part.need(allowed)?;
    let read = || -> Option<(u32, u8, u8)> {
        let (id, rest) = value.text.split_once(',')?;
        let (clause, clauses) = rest.split_once('/')?;
        let id = u32::try_from(value::number(id.trim())?).ok()?;
        let clause: u8 = clause.trim().parse().ok()?;
        Some((id, clause.checked_sub(1)?, clauses.trim().parse().ok()?))
    };
    match read() {
        Some((id, clause, clauses)) => Ok(Action::Conjunction {
            id,
            clause,
            clauses,
        }),
        None => part.refuse(value, allowed),
    }
}

fn fin_timeout(part: &Part<'_>) -> Result<Action, ParseError> {
    let (mut idle, mut hard) = (0, 0);
    for inner in part.value.parts() {
        let inner = inner?;
        match inner.name.text {
            "idle_timeout" => idle = inner.u16()?,
            "hard_timeout" => hard = inner.u16()?,
            _ => return inner.unknown("fin_timeout", "idle_timeout and hard_timeout"),
        }
    }
    Ok(Action::FinTimeout { idle, hard })
}

fn metadata(part: &Part<'_>) -> Result<(u64, u64), ParseError> {
    let allowed = "a number of 64 bits, with /mask";
    let value = part.need(allowed)?;
    let number = |text: &str| u64::try_from(value::number(text)?).ok();
    let read = match value.text.split_once('/') {
        Some((value, mask)) => number(value).zip(number(mask)),
        None => number(value.text).map(|value| (value, u64::MAX)),
    };
    match read {
        Some(both) => Ok(both),
        None => part.refuse(value, allowed),
    }
}

/// A name in lower case, as actions have no case.
pub(super) struct Lower {
    bytes: [u8; 24],
}

impl Lower {
    pub(super) fn new() -> Self {
        Self { bytes: [0; 24] }
    }

    /// The name; one that is longer than any action's stays as it is.
    pub(super) fn of<'b>(&'b mut self, name: &'b str) -> &'b str {
        let Some(bytes) = self.bytes.get_mut(..name.len()) else {
            return name;
        };
        bytes.copy_from_slice(name.as_bytes());
        bytes.make_ascii_lowercase();
        std::str::from_utf8(bytes).unwrap_or(name)
    }
}
