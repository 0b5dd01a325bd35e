//! Connections that a switch tracks, as far as OpenFlow reaches them.

use vswitch_flow::CtFilter;
use vswitch_flow::text::parse_ct_filter;
use vswitch_openflow::message::Message;

use super::{Answer, SWITCH};
use crate::commands::Argument::{Required, Several};
use crate::commands::{Command, Run, example};
use crate::openflow::Trouble;
use crate::openflow::session;

pub(crate) const FLUSH: Command = Command {
    words: &["ct-flush"],
    aliases: &[],
    arguments: &[
        SWITCH,
        Several(
            "CONDITION",
            "zone=N, mark=X[/M], labels=Y[/N], then the tuples of both directions",
        ),
    ],
    help: "Have a switch forget connections",
    long: "Without conditions all of them. A tuple is made of ct_nw_src, ct_nw_dst, ct_ipv6_src, \
           ct_ipv6_dst, ct_nw_proto, ct_tp_src, ct_tp_dst, icmp_id, icmp_type and icmp_code; the \
           first is that of the original direction, the second that of the reply. A whole tuple \
           without zone, mark and labels means the connection that has it in zone 0. Open vSwitch \
           before 3.3 does not know marks and labels and forgets as if they had not been given.",
    examples: &[
        example("vsctl ct-flush br0", "All connections"),
        example(
            "vsctl ct-flush br0 zone=5 ct_nw_src=10.1.1.2,ct_nw_proto=17",
            "Some of a zone",
        ),
    ],
    run: Run::OpenFlow(|typed, session| {
        let filter = parse_ct_filter(&typed.rest("CONDITION"));
        let filter = filter.map_err(|error| Trouble::Argument(error.to_string()))?;
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        session::change(&mut connection, &[Message::CtFlush(Box::new(filter))])?;
        Ok(Answer::done())
    }),
};

pub(crate) const FLUSH_ZONE: Command = Command {
    words: &["ct-flush-zone"],
    aliases: &[],
    arguments: &[SWITCH, Required("ZONE", "Its number")],
    help: "Have a switch forget the connections of a zone",
    long: "The same as vsctl ct-flush BRIDGE zone=ZONE, for switches that know only this.",
    examples: &[example("vsctl ct-flush-zone br0 5", "Zone 5")],
    run: Run::OpenFlow(|typed, session| {
        let zone = typed.text("ZONE");
        let filter: Result<CtFilter, _> = parse_ct_filter(&[format!("zone={zone}")]);
        let zone = filter.ok().and_then(|filter| filter.zone);
        let zone =
            zone.ok_or_else(|| Trouble::Argument("a zone is a number from 0 to 65535".to_owned()))?;
        let mut connection = session.open(&typed.text("BRIDGE"))?;
        session::change(&mut connection, &[Message::CtFlushZone(zone)])?;
        Ok(Answer::done())
    }),
};
