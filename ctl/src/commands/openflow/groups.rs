//! Groups.

use serde_json::{Value, json};
use vswitch_flow::Group;
use vswitch_flow::text::{GroupCommand, parse_group_mod};
use vswitch_openflow::Version;
use vswitch_openflow::group::GROUP_ALL;
use vswitch_openflow::message::Message;
use vswitch_openflow::multipart::{Reply, Request};

use super::flows::actions_text;
use super::{Answer, BUNDLE, FILE, NAMES, SWITCH, ask, at_least, gather, make, read_lines};
use crate::args::Typed;
use crate::commands::Argument::{Flag, Optional, Required};
use crate::commands::{Command, Run, example};
use crate::error::Failure;
use crate::openflow::Trouble;
use crate::openflow::session::{self, Session};

pub(crate) const ADD: Command = Command {
    words: &["add-group"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required("GROUP", "The group, as ovs-ofctl writes it"),
        BUNDLE,
    ],
    help: "Add a group to a bridge",
    long: "There must be no group with this number yet.",
    examples: &[example(
        "vsctl add-group br0 group_id=1,type=select,bucket=output:1,bucket=output:2",
        "Share traffic among two ports",
    )],
    run: Run::OpenFlow(|typed, session| {
        change(typed, session, &typed.text("GROUP"), GroupCommand::Add)
    }),
};

pub(crate) const ADD_ALL: Command = Command {
    words: &["add-groups"],
    aliases: &[],
    arguments: &[SWITCH, FILE, BUNDLE],
    help: "Add the groups of a file to a bridge",
    long: "One group a line; # begins a comment. A line may begin with add, modify, add_or_mod, \
           delete, insert_bucket or remove_bucket. A line that cannot be read is named, and \
           nothing is sent then.",
    examples: &[example(
        "vsctl add-groups br0 groups.txt",
        "The groups of a file",
    )],
    run: Run::OpenFlow(|typed, session| {
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        at_least(&connection, Version::V13, "groups")?;
        let names = session::names(&mut connection)?;
        let messages = read_lines(session, &typed.text("FILE"), |line| {
            parse_group_mod(line, GroupCommand::Add, &names)
                .map(Message::GroupMod)
                .map_err(|error| error.to_string())
        })?;
        make(typed, &mut connection, &messages)
    }),
};

pub(crate) const MODIFY: Command = Command {
    words: &["mod-group"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required("GROUP", "The group, as ovs-ofctl writes it"),
        Flag("may-create", None, "Add the group if there is none"),
        BUNDLE,
    ],
    help: "Replace a group of a bridge",
    long: "Flows that use the group go on using it.",
    examples: &[example(
        "vsctl mod-group br0 group_id=1,type=all,bucket=output:3",
        "Another bucket",
    )],
    run: Run::OpenFlow(|typed, session| {
        let command = match typed.flag("may-create") {
            true => GroupCommand::AddOrModify,
            false => GroupCommand::Modify,
        };
        change(typed, session, &typed.text("GROUP"), command)
    }),
};

pub(crate) const DELETE: Command = Command {
    words: &["del-groups"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Optional("GROUP", "group_id=NUMBER; all groups without it"),
        BUNDLE,
    ],
    help: "Remove groups from a bridge",
    long: "Flows that use a group go with it.",
    examples: &[
        example("vsctl del-groups br0", "All groups"),
        example("vsctl del-groups br0 group_id=1", "One group"),
    ],
    run: Run::OpenFlow(|typed, session| {
        let text = typed.optional("GROUP").unwrap_or_default();
        change(typed, session, &text, GroupCommand::Delete)
    }),
};

pub(crate) const INSERT: Command = Command {
    words: &["insert-buckets"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required("BUCKETS", "group_id=, command_bucket_id= and buckets"),
        BUNDLE,
    ],
    help: "Put buckets into a group",
    long: "command_bucket_id is the number of a bucket to put them behind, first or last.",
    examples: &[example(
        "vsctl insert-buckets br0 group_id=1,command_bucket_id=last,bucket=output:3",
        "One more bucket",
    )],
    run: Run::OpenFlow(|typed, session| {
        change(
            typed,
            session,
            &typed.text("BUCKETS"),
            GroupCommand::InsertBuckets,
        )
    }),
};

pub(crate) const REMOVE: Command = Command {
    words: &["remove-buckets"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required("BUCKETS", "group_id= and command_bucket_id="),
        BUNDLE,
    ],
    help: "Take buckets out of a group",
    long: "command_bucket_id is the number of a bucket, first, last or all.",
    examples: &[example(
        "vsctl remove-buckets br0 group_id=1,command_bucket_id=0",
        "The bucket with number 0",
    )],
    run: Run::OpenFlow(|typed, session| {
        change(
            typed,
            session,
            &typed.text("BUCKETS"),
            GroupCommand::RemoveBuckets,
        )
    }),
};

pub(crate) const DUMP: Command = Command {
    words: &["dump-groups"],
    aliases: &[],
    arguments: &[SWITCH, NAMES],
    help: "Show the groups of a bridge",
    long: "The text can be given to add-groups again.",
    examples: &[example("vsctl dump-groups br0", "All groups")],
    run: Run::OpenFlow(|typed, session| {
        ask(
            typed,
            session,
            Request::GroupDesc(GROUP_ALL),
            |reply| match reply {
                Reply::GroupDesc(groups) => groups.iter().map(row).collect(),
                _ => Value::Null,
            },
        )
    }),
};

pub(crate) const STATS: Command = Command {
    words: &["dump-group-stats"],
    aliases: &[],
    arguments: &[SWITCH, Optional("GROUP", "Only the group with this number")],
    help: "Show the counters of groups",
    long: "Of each group and of each of its buckets.",
    examples: &[
        example("vsctl dump-group-stats br0", "All groups"),
        example("vsctl dump-group-stats br0 1", "One group"),
    ],
    run: Run::OpenFlow(|typed, session| {
        let id = match typed.optional("GROUP") {
            None => GROUP_ALL,
            Some(text) => number(&text)?,
        };
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        Ok(gather(
            &mut connection,
            Request::Group(id),
            None,
            |reply| match reply {
                Reply::Group(groups) => groups
                    .iter()
                    .map(|group| {
                        json!({
                            "group": group.id,
                            "references": group.references,
                            "packets": group.packets,
                            "bytes": group.bytes,
                            "buckets": group.buckets.iter().map(|(packets, bytes)| {
                                json!({ "packets": packets, "bytes": bytes })
                            }).collect::<Value>(),
                        })
                    })
                    .collect(),
                _ => Value::Null,
            },
        )?)
    }),
};

pub(crate) const FEATURES: Command = Command {
    words: &["dump-group-features"],
    aliases: &[],
    arguments: &[SWITCH],
    help: "Show which groups a bridge can have",
    long: "Types, how many of each, and what their buckets may do.",
    examples: &[example("vsctl dump-group-features br0", "What is possible")],
    run: Run::OpenFlow(|typed, session| {
        ask(
            typed,
            session,
            Request::GroupFeatures,
            |reply| match reply {
                Reply::GroupFeatures(features) => json!({
                    "types": features.types,
                    "capabilities": features.capabilities.0,
                    "max_groups": features.max_groups,
                    "actions": features.actions,
                }),
                _ => Value::Null,
            },
        )
    }),
};

fn number(text: &str) -> Result<u32, Trouble> {
    let digits = text.trim_start_matches("group_id=");
    digits
        .parse()
        .map_err(|_| Trouble::Argument(format!("'{text}' is no number of a group")))
}

fn change(
    typed: &Typed<'_>,
    session: &Session,
    text: &str,
    command: GroupCommand,
) -> Result<Answer, Failure> {
    let mut connection = session.open(&typed.text("BRIDGE"))?;
    at_least(&connection, Version::V13, "groups")?;
    let names = session::names(&mut connection)?;
    let change = parse_group_mod(text, command, &names).map_err(Trouble::from)?;
    make(typed, &mut connection, &[Message::GroupMod(change)])
}

fn row(group: &Group) -> Value {
    let buckets = group.buckets.iter().map(|bucket| {
        json!({
            "id": bucket.id,
            "weight": bucket.weight,
            "actions": actions_text(&bucket.actions),
        })
    });
    json!({
        "group": group.id,
        "type": format!("{:?}", group.kind).to_lowercase(),
        "buckets": buckets.collect::<Value>(),
        "text": group.to_string(),
    })
}
