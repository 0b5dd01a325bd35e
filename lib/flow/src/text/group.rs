//! Groups and changes to groups, both ways.

use std::fmt;

use super::action_print::print_actions;
use super::actions::{Lower, PORT, Reader, named};
use super::flow::first_word;
use super::matches::read_value;
use super::names::{Lookup, Named, Names, print_port};
use super::rewrite::field_of;
use super::subfield::name_in_action;
use super::token::{Part, Parts, Token};
use super::value;
use super::{ParseError, Problem};
use crate::action::OfPort;
use crate::check::check_group_mod;
use crate::field::Field;
use crate::group::{
    BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST, BUCKET_MAX, Bucket, BucketPlace, GROUP_MAX, Group,
    GroupKind, GroupMod, SelectionMethod,
};
use crate::rule::GROUP_ANY;

/// Kinds of groups with their names; the first of several is printed.
const KINDS: [(&str, GroupKind); 5] = [
    ("all", GroupKind::All),
    ("select", GroupKind::Select),
    ("indirect", GroupKind::Indirect),
    ("ff", GroupKind::FastFailover),
    ("fast_failover", GroupKind::FastFailover),
];

/// What a change to groups does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupCommand {
    /// Adds a group.
    Add,
    /// Replaces a group.
    Modify,
    /// Replaces a group or adds it.
    AddOrModify,
    /// Deletes a group, or all.
    Delete,
    /// Puts buckets into a group.
    InsertBuckets,
    /// Takes buckets out of a group.
    RemoveBuckets,
}

/// Words before a change in a file, and what they say.
const COMMANDS: [(&str, GroupCommand); 6] = [
    ("add", GroupCommand::Add),
    ("modify", GroupCommand::Modify),
    ("add_or_mod", GroupCommand::AddOrModify),
    ("delete", GroupCommand::Delete),
    ("insert_bucket", GroupCommand::InsertBuckets),
    ("remove_bucket", GroupCommand::RemoveBuckets),
];

/// What the bits of a match are called that choose nothing: a hash of no particular fields.
const HASH: &str = "hash";
const DP_HASH: &str = "dp_hash";

/// Reads a change to groups, such as `group_id=1,type=select,bucket=output:1,bucket=output:2`. The
/// text may begin with a word that says what it does (`add`, `modify`, `add_or_mod`, `delete`,
/// `insert_bucket`, `remove_bucket`); without one it does `default`.
///
/// # Errors
/// Where the text is wrong, and what is allowed there.
pub fn parse_group_mod(
    text: &str,
    default: GroupCommand,
    names: &Names,
) -> Result<GroupMod, ParseError> {
    let token = Token::new(text);
    let (word, rest) = first_word(token);
    let change = match COMMANDS.iter().find(|(name, _)| *name == word.text) {
        Some((_, command)) => read(rest, *command, names)?,
        None => read(token, default, names)?,
    };
    check_group_mod(&change).map_err(|fault| token.fault(fault))?;
    Ok(change)
}

/// What is said before the buckets.
#[derive(Default)]
struct Said {
    id: Option<u32>,
    all: bool,
    kind: Option<GroupKind>,
    method: Option<String>,
    param: Option<u64>,
    fields: Option<Vec<(Field, u128)>>,
    place: Option<Place>,
}

/// Which buckets a command means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Last,
    All,
    Number(u32),
}

fn read<'a>(
    token: Token<'a>,
    command: GroupCommand,
    names: &'a Names,
) -> Result<GroupMod, ParseError> {
    let mut said = Said::default();
    let mut parts = token.parts();
    let mut buckets = None;
    while let Some(part) = next_before_buckets(&mut parts, &mut buckets)? {
        keyword(&part, command, names, &mut said)?;
    }
    if command == GroupCommand::Delete && (said.all || said.id.is_none()) {
        return match buckets {
            None => Ok(GroupMod::DeleteAll),
            Some(buckets) => buckets.fail(not_here("bucket")),
        };
    }
    let Some(id) = said.id else {
        return token.fail(Problem::Missing("group_id=NUMBER"));
    };
    let takes = !matches!(command, GroupCommand::Delete | GroupCommand::RemoveBuckets);
    let kind = match (said.kind, command) {
        (Some(kind), _) => kind,
        (None, GroupCommand::InsertBuckets) => GroupKind::Select,
        (None, _) if takes => {
            return token.fail(Problem::Missing("type=all, select, indirect or ff"));
        }
        (None, _) => GroupKind::All,
    };
    let list = match buckets {
        Some(list) if takes => read_buckets(list, kind, command, names)?,
        Some(list) => return list.fail(not_here("bucket")),
        None => Vec::new(),
    };
    let group = |said: Said| -> Result<Group, ParseError> {
        Ok(Group {
            id,
            kind,
            selection: selection(token, kind, said)?,
            buckets: list.clone(),
        })
    };
    Ok(match command {
        GroupCommand::Add => GroupMod::Add(group(said)?),
        GroupCommand::Modify => GroupMod::Modify(group(said)?),
        GroupCommand::AddOrModify => GroupMod::AddOrModify(group(said)?),
        GroupCommand::Delete => GroupMod::Delete(id),
        GroupCommand::InsertBuckets => GroupMod::InsertBuckets {
            id,
            place: match said.place {
                Some(Place::First) => BucketPlace::First,
                Some(Place::Last) => BucketPlace::Last,
                Some(Place::Number(bucket)) => BucketPlace::After(bucket),
                Some(Place::All) | None => {
                    let text = "command_bucket_id=first, last or a number";
                    return token.fail(Problem::Missing(text));
                }
            },
            buckets: list,
        },
        GroupCommand::RemoveBuckets => GroupMod::RemoveBucket {
            id,
            bucket: match said.place {
                Some(Place::First) => BUCKET_FIRST,
                Some(Place::Last) => BUCKET_LAST,
                Some(Place::Number(bucket)) => bucket,
                Some(Place::All) | None => BUCKET_ALL,
            },
        },
    })
}

fn not_here(name: &str) -> Problem {
    Problem::NotHere {
        name: name.to_owned(),
        hint: "another command on groups takes it",
    }
}

/// The next part, unless it is `bucket=`, which goes to the end of the text.
fn next_before_buckets<'a>(
    parts: &mut Parts<'a>,
    buckets: &mut Option<Token<'a>>,
) -> Result<Option<Part<'a>>, ParseError> {
    let rest = parts.rest();
    let text = rest.text.trim_start_matches([',', ' ', '\t', '\r', '\n']);
    if text.starts_with("bucket=") || text.starts_with("buckets=") {
        *buckets = Some(rest.slice(rest.text.len() - text.len(), rest.text.len()));
        return Ok(None);
    }
    parts.next().transpose()
}

fn keyword(
    part: &Part<'_>,
    command: GroupCommand,
    names: &Names,
    said: &mut Said,
) -> Result<(), ParseError> {
    let makes = matches!(
        command,
        GroupCommand::Add | GroupCommand::Modify | GroupCommand::AddOrModify
    );
    let places = matches!(
        command,
        GroupCommand::InsertBuckets | GroupCommand::RemoveBuckets
    );
    match part.name.text {
        "group_id" if part.value.text == "all" => said.all = true,
        "group_id" => said.id = Some(part.number(0, GROUP_MAX.into())? as u32),
        "type" if makes => said.kind = Some(named(part, &KINDS)?),
        "selection_method" if makes => {
            let allowed = "hash or dp_hash";
            let value = part.need(allowed)?;
            if !matches!(value.text, HASH | DP_HASH) {
                return part.refuse(value, allowed);
            }
            said.method = Some(value.text.to_owned());
        }
        "selection_method_param" if makes => said.param = Some(part.u64()?),
        "fields" if makes => said.fields = Some(fields(part, names)?),
        "command_bucket_id" if places => {
            said.place = Some(match part.value.text {
                "first" => Place::First,
                "last" => Place::Last,
                "all" if command == GroupCommand::RemoveBuckets => Place::All,
                _ => Place::Number(part.number(0, BUCKET_MAX.into())? as u32),
            });
        }
        name @ ("type"
        | "selection_method"
        | "selection_method_param"
        | "fields"
        | "command_bucket_id") => return part.whole.fail(not_here(name)),
        _ => {
            let allowed = "group_id, type, selection_method, selection_method_param, fields, \
                           command_bucket_id and bucket";
            return part.unknown("a group", allowed);
        }
    }
    Ok(())
}

/// Reads `fields=ip_dst` or `fields(ip_dst,nw_proto=0xff)`, where a value is a mask.
fn fields(part: &Part<'_>, names: &Names) -> Result<Vec<(Field, u128)>, ParseError> {
    let mut fields: Vec<(Field, u128)> = Vec::new();
    for inner in part.value.parts() {
        let inner = inner?;
        let field = field_of(inner.name)?;
        let row = field.info();
        let mask = match inner.value() {
            None => row.max(),
            Some(value) => {
                let names = Lookup::Names(names);
                let (mask, bits) = read_value(inner.whole, inner.name, Some(value), field, names)?;
                if mask == 0 || bits != row.max() {
                    return inner.refuse(value, "a mask that is not zero");
                }
                mask
            }
        };
        if mask != row.max() && !row.maskable {
            return inner.name.fail(Problem::Mask {
                name: row.name.to_owned(),
            });
        }
        if fields.iter().any(|(other, _)| *other == field) {
            return inner.name.fail(Problem::Twice("a field"));
        }
        fields.push((field, mask));
    }
    if fields.is_empty() {
        part.need("names of fields, such as ip_src or (ip_src,ip_dst)")?;
    }
    Ok(fields)
}

fn selection(token: Token<'_>, kind: GroupKind, said: Said) -> Result<SelectionMethod, ParseError> {
    let param = said.param.unwrap_or(0);
    let fields = said.fields.unwrap_or_default();
    let method = said.method.as_deref();
    if method.is_some() && kind != GroupKind::Select {
        return token.fail(Problem::NotHere {
            name: "selection_method".to_owned(),
            hint: "only select groups choose",
        });
    }
    if method != Some(HASH) && !fields.is_empty() {
        return token.fail(Problem::NotHere {
            name: "fields".to_owned(),
            hint: "only selection_method=hash takes it",
        });
    }
    match method {
        Some(HASH) => Ok(SelectionMethod::Hash { fields, param }),
        Some(_) => Ok(SelectionMethod::DpHash { param }),
        None if param != 0 => token.fail(Problem::NotHere {
            name: "selection_method_param".to_owned(),
            hint: "only a selection_method takes it",
        }),
        None => Ok(SelectionMethod::Default),
    }
}

/// Reads `bucket=...,bucket=...`, each with what follows it up to the next.
fn read_buckets<'a>(
    token: Token<'a>,
    kind: GroupKind,
    command: GroupCommand,
    names: &'a Names,
) -> Result<Vec<Bucket>, ParseError> {
    let mut buckets = Vec::new();
    let mut rest = token;
    while let Some((_, after)) = rest.split("=") {
        // A bucket's parts cannot be called so, so this is where the next one begins.
        let next = match after.text.find("bucket=") {
            Some(at) => after.slice(at, after.text.len()),
            None => after.slice(after.text.len(), after.text.len()),
        };
        let own = after.slice(0, next.at - after.at);
        let id = buckets.len() as u32;
        buckets.push(bucket(own, id, kind, command, names)?);
        rest = next;
    }
    Ok(buckets)
}

fn bucket<'a>(
    token: Token<'a>,
    id: u32,
    kind: GroupKind,
    command: GroupCommand,
    names: &'a Names,
) -> Result<Bucket, ParseError> {
    let select = kind == GroupKind::Select && command != GroupCommand::InsertBuckets;
    let mut bucket = Bucket {
        id,
        weight: u16::from(select),
        watch_port: OfPort::ANY,
        watch_group: GROUP_ANY,
        actions: Vec::new(),
    };
    let mut reader = Reader::alone(Lookup::Names(names), true);
    let mut acts = false;
    for part in token.parts() {
        let part = part?;
        let mut lower = Lower::new();
        match lower.of(part.name.text) {
            "weight" => bucket.weight = part.u16()?,
            "bucket_id" => bucket.id = part.number(0, BUCKET_MAX.into())? as u32,
            "watch_port" => bucket.watch_port = watch_port(&part, names)?,
            "watch_group" => bucket.watch_group = part.number(0, GROUP_MAX.into())? as u32,
            "action" | "actions" => {
                acts = true;
                bucket.actions.extend(reader.list(part.value)?);
            }
            _ => {
                acts = true;
                bucket.actions.extend(reader.list(part.whole)?);
            }
        }
    }
    if acts {
        Ok(bucket)
    } else {
        token.fail(Problem::Missing(
            "actions of the bucket (actions=drop for none)",
        ))
    }
}

fn watch_port(part: &Part<'_>, names: &Names) -> Result<OfPort, ParseError> {
    let value = part.need(PORT)?;
    match value::port(value.text, Lookup::Names(names)) {
        Some(port @ (OfPort::ANY | OfPort::CONTROLLER | OfPort::LOCAL)) => Ok(port),
        Some(port) if port <= OfPort::MAX => Ok(port),
        _ => part.refuse(value, PORT),
    }
}

impl fmt::Display for Group {
    /// As `dump-groups` shows it, with the numbers of buckets where they say more than the order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_group(self, None, is_numbered(self), f)
    }
}

impl fmt::Display for Named<'_, Group> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_group(self.0, Some(self.1), is_numbered(self.0), f)
    }
}

/// A line of `dump-groups`, letter by letter as `ovs-ofctl` writes it after its leading blank.
#[derive(Clone, Copy, Debug)]
pub struct GroupLine<'a> {
    /// The group.
    pub group: &'a Group,
    /// Whether the peer's buckets have numbers of their own (OpenFlow 1.5, and Nicira's of 1.0).
    pub numbered: bool,
    /// Names, for `--names`.
    pub names: Option<&'a Names>,
}

impl fmt::Display for GroupLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_group(self.group, self.names, self.numbered, f)
    }
}

/// Whether the numbers of buckets say more than their order.
fn is_numbered(group: &Group) -> bool {
    let mut buckets = (0..).zip(&group.buckets);
    buckets.any(|(place, bucket)| bucket.id != place)
}

fn print_group(
    group: &Group,
    names: Option<&Names>,
    numbered: bool,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let kind = KINDS.iter().find(|(_, kind)| *kind == group.kind);
    let kind = kind.map_or("", |(name, _)| name);
    write!(f, "group_id={},type={kind}", group.id)?;
    match &group.selection {
        SelectionMethod::Default => {}
        SelectionMethod::DpHash { param } => print_method(DP_HASH, *param, f)?,
        SelectionMethod::Hash { fields, param } => {
            print_method(HASH, *param, f)?;
            print_fields(fields, names, f)?;
        }
    }
    for bucket in &group.buckets {
        f.write_str(",bucket=")?;
        if numbered {
            write!(f, "bucket_id:{},", bucket.id)?;
        }
        if bucket.weight != u16::from(group.kind == GroupKind::Select) {
            write!(f, "weight:{},", bucket.weight)?;
        }
        if bucket.watch_port != OfPort::ANY {
            f.write_str("watch_port:")?;
            print_port(bucket.watch_port, names, f)?;
            f.write_str(",")?;
        }
        if bucket.watch_group != GROUP_ANY {
            write!(f, "watch_group:{},", bucket.watch_group)?;
        }
        f.write_str("actions=")?;
        print_actions(&bucket.actions, names, f)?;
    }
    Ok(())
}

fn print_method(name: &str, param: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, ",selection_method={name}")?;
    match param {
        0 => Ok(()),
        param => write!(f, ",selection_method_param={param}"),
    }
}

fn print_fields(
    fields: &[(Field, u128)],
    names: Option<&Names>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let [first, rest @ ..] = fields else {
        return Ok(());
    };
    let whole = first.1 == first.0.info().max();
    let alone = rest.is_empty() && whole;
    f.write_str(if alone { ",fields=" } else { ",fields(" })?;
    for (index, (field, mask)) in fields.iter().enumerate() {
        let row = field.info();
        f.write_str(if index == 0 { "" } else { "," })?;
        f.write_str(name_in_action(*field))?;
        if *mask != row.max() {
            f.write_str("=")?;
            value::print_in_action(row, *mask, row.max(), names, f)?;
        }
    }
    f.write_str(if alone { "" } else { ")" })
}
