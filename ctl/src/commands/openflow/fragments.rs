//! What the flows of a switch see of IP fragments.

use serde_json::json;
use vswitch_openflow::config::{ConfigFlags, SwitchConfig};
use vswitch_openflow::message::Message;

use super::{Answer, SWITCH};
use crate::commands::Argument::Required;
use crate::commands::{Command, Run, example};
use crate::openflow::Trouble;
use crate::openflow::session::{self, config};
use crate::openflow::text::fragments;

/// What may be set.
const WORDS: [&str; 4] = ["normal", "drop", "reassemble", "nx-match"];

pub(crate) const GET: Command = Command {
    words: &["get-frags"],
    aliases: &[],
    arguments: &[SWITCH],
    help: "Show what flows see of fragments",
    long: "normal: their ports, or type and code of ICMP, are 0. drop: they are dropped. nx-match: \
           the first fragment of a packet shows its ports.",
    examples: &[example("vsctl get-frags br0", "What they see")],
    run: Run::OpenFlow(|typed, session| {
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        let word = fragments(config(&mut connection)?.flags);
        Ok(Answer {
            text: format!("{word}\n"),
            json: json!({ "fragments": word }),
        })
    }),
};

pub(crate) const SET: Command = Command {
    words: &["set-frags"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required("HANDLING", "normal, drop, reassemble or nx-match"),
    ],
    help: "Set what flows see of fragments",
    long: "As vsctl get-frags says. No switch is known that takes reassemble.",
    examples: &[
        example("vsctl set-frags br0 nx-match", "Ports of first fragments"),
        example("vsctl set-frags br0 drop", "No fragments"),
    ],
    run: Run::OpenFlow(|typed, session| {
        let word = typed.text("HANDLING");
        let value = WORDS.iter().position(|known| *known == word);
        let value = value.ok_or_else(|| {
            Trouble::Argument(format!(
                "'{word}' is no way to handle fragments: {}, {}, {} or {}",
                WORDS[0], WORDS[1], WORDS[2], WORDS[3]
            ))
        })?;
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        let before = config(&mut connection)?;
        let others = before.flags.without(ConfigFlags::FRAG_MASK);
        let wanted = SwitchConfig {
            flags: others.with(ConfigFlags(value as u16)),
            ..before
        };
        session::change(&mut connection, &[Message::SetConfig(wanted)])?;
        // A switch may pass over what it does not know.
        let after = config(&mut connection)?;
        if fragments(after.flags) == word {
            Ok(Answer::done())
        } else {
            Err(Trouble::Argument(format!(
                "the switch does not handle fragments as '{word}'; it stays with '{}'",
                fragments(after.flags)
            ))
            .into())
        }
    }),
};
