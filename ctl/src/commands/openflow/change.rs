//! Changes of several kinds at once, and packets sent by hand.

use vswitch_flow::text::{
    GroupCommand, Names, parse_actions, parse_flow_mod, parse_group_mod, parse_match,
};
use vswitch_flow::{FlowCommand, OfPort};
use vswitch_openflow::Version;
use vswitch_openflow::bundle::{BundleAdd, BundleCommand, BundleControl, BundleFlags};
use vswitch_openflow::flow_mod::FlowModMessage;
use vswitch_openflow::message::Message;
use vswitch_openflow::packet_out::PacketOut;

use super::{Answer, FILE, SWITCH, at_least, read_lines};
use crate::commands::Argument::Required;
use crate::commands::{Command, Run, example};
use crate::openflow::Trouble;
use crate::openflow::connection::Connection;
use crate::openflow::session;

/// The one bundle of a command's connection.
const BUNDLE: u32 = 1;

pub(crate) const BUNDLE_FILE: Command = Command {
    words: &["bundle"],
    aliases: &[],
    arguments: &[SWITCH, FILE],
    help: "Change flows and groups, all or nothing",
    long: "Each line begins with flow, group or packet-out, then what add-flows, add-groups or \
           packet-out take. If the switch refuses one, none is made.",
    examples: &[example(
        "vsctl bundle br0 changes.txt",
        "The changes of a file",
    )],
    run: Run::OpenFlow(|typed, session| {
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        let names = session::names(&mut connection)?;
        let messages = read_lines(session, &typed.text("FILE"), |line| {
            parse_line(line, &names).map_err(|error| error.to_string())
        })?;
        bundle(&mut connection, &messages)?;
        Ok(Answer::done())
    }),
};

pub(crate) const PACKET_OUT: Command = Command {
    words: &["packet-out"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Required("PACKET-OUT", "in_port=PORT packet=HEX actions=ACTIONS"),
    ],
    help: "Send a packet through a switch",
    long: "in_port says by which port the packet is to seem to have come (controller without it); \
           actions=table sends it through the flow tables.",
    examples: &[example(
        "vsctl packet-out br0 in_port=1,packet=50540000000a5054000000090800,actions=output:2",
        "An empty frame out of port 2",
    )],
    run: Run::OpenFlow(|typed, session| {
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        let names = session::names(&mut connection)?;
        let message = packet_out(&typed.text("PACKET-OUT"), &names)?;
        session::change(&mut connection, &[message])?;
        Ok(Answer::done())
    }),
};

/// Makes changes in a bundle: all of them, or none if one is refused.
pub(crate) fn bundle(connection: &mut Connection, messages: &[Message]) -> Result<(), Trouble> {
    at_least(connection, Version::V13, "bundles")?;
    let flags = BundleFlags::ATOMIC.with(BundleFlags::ORDERED);
    let control = |command| {
        Message::BundleControl(BundleControl {
            bundle: BUNDLE,
            command,
            flags,
        })
    };
    connection.ask(&control(BundleCommand::OpenRequest))?;
    // The message within has the xid of the one around it, which is sent next.
    let adds = connection.numbered(messages, |message, version, xid| {
        BundleAdd::new(BUNDLE, flags, message, version, xid).map(Message::BundleAdd)
    })?;
    let refused = connection.change(&adds)?;
    if !refused.is_empty() {
        connection.ask(&control(BundleCommand::DiscardRequest))?;
        return session::said(refused.into_iter().map(|refused| refused.error));
    }
    connection.ask(&control(BundleCommand::CloseRequest))?;
    let committed = connection.ask(&control(BundleCommand::CommitRequest));
    let errors = connection.errors();
    match committed {
        Ok(_) => session::said(errors),
        Err(Trouble::Refused { error }) => session::said(errors.into_iter().chain([*error])),
        Err(error) => Err(error),
    }
}

fn parse_line(line: &str, names: &Names) -> Result<Message, Trouble> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim_start();
    match word {
        "flow" => {
            let change = parse_flow_mod(rest, FlowCommand::Add, names)?;
            Ok(Message::FlowMod(Box::new(FlowModMessage::from(change))))
        }
        "group" => {
            let change = parse_group_mod(rest, GroupCommand::Add, names)?;
            Ok(Message::GroupMod(change))
        }
        "packet-out" => packet_out(rest, names),
        word => Err(Trouble::Argument(format!(
            "a line begins with flow, group or packet-out, not with '{word}'"
        ))),
    }
}

/// Reads `in_port=1 packet=HEX actions=...`.
fn packet_out(text: &str, names: &Names) -> Result<Message, Trouble> {
    let (before, actions) = text
        .split_once("actions=")
        .ok_or_else(|| Trouble::Argument("a packet-out needs actions=, at its end".to_owned()))?;
    let mut in_port = OfPort::CONTROLLER;
    let mut packet = None;
    let mut metadata = Vec::new();
    for piece in before
        .split([',', ' ', '\t'])
        .filter(|piece| !piece.is_empty())
    {
        match piece.split_once('=') {
            Some(("in_port", port)) => in_port = port_number(port, names)?,
            Some(("packet", hex)) => packet = Some(bytes(hex)?),
            Some(_) => metadata.push(piece),
            None => {
                return Err(Trouble::Argument(format!(
                    "'{piece}' is not part of a packet-out: in_port=, packet=, actions= and, in \
                     OpenFlow 1.5, metadata= and registers are"
                )));
            }
        }
    }
    let metadata = parse_match(&metadata.join(","), &|name| names.port(name))?;
    let packet = packet.ok_or_else(|| {
        Trouble::Argument("a packet-out needs packet=, the frame in hexadecimal".to_owned())
    })?;
    Ok(Message::PacketOut(Box::new(PacketOut {
        buffer: None,
        in_port,
        metadata,
        actions: parse_actions(actions, &|name| names.port(name))?,
        packet,
    })))
}

fn port_number(text: &str, names: &Names) -> Result<OfPort, Trouble> {
    let reserved = [
        ("controller", OfPort::CONTROLLER),
        ("local", OfPort::LOCAL),
        ("none", OfPort::ANY),
        ("any", OfPort::ANY),
    ];
    let reserved = reserved
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    let found = reserved.map(|(_, port)| *port);
    let found = found.or_else(|| text.parse().ok().map(OfPort));
    found
        .or_else(|| names.port(text))
        .ok_or_else(|| Trouble::Argument(format!("there is no port {text}")))
}

fn bytes(hex: &str) -> Result<Vec<u8>, Trouble> {
    let bad = || Trouble::Argument("a packet is an even number of hexadecimal digits".to_owned());
    if hex.is_empty() || !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return Err(bad());
    }
    (0..hex.len())
        .step_by(2)
        .map(|at| {
            let digits = hex.get(at..at + 2).ok_or_else(bad)?;
            u8::from_str_radix(digits, 16).map_err(|_| bad())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_packet_out_is_said() {
        let refused = |text| packet_out(text, &Names::default()).unwrap_err().to_string();
        assert!(refused("in_port=1 packet=00").contains("actions="));
        assert!(refused("in_port=1 actions=drop").contains("packet="));
        assert!(refused("in_port=1 packet=0 actions=drop").contains("even number"));
        assert!(refused("colour=1 packet=00 actions=drop").contains("colour"));
        assert!(refused("in_port=x packet=00 actions=drop").contains("no port x"));
        let Ok(Message::PacketOut(out)) = packet_out(
            "in_port=local packet=0a0B actions=output:2",
            &Names::default(),
        ) else {
            panic!("it is a packet-out");
        };
        assert_eq!((out.in_port, out.packet), (OfPort::LOCAL, vec![10, 11]));
    }

    #[test]
    fn lines_of_a_bundle_say_what_they_are() {
        let names = Names::default();
        assert!(matches!(
            parse_line("flow delete table=1", &names),
            Ok(Message::FlowMod(_))
        ));
        assert!(matches!(
            parse_line("group add group_id=1,type=all", &names),
            Ok(Message::GroupMod(_))
        ));
        assert!(parse_line("meter add meter=1", &names).is_err());
    }
}
