//! Connections and fragments from the datapath's words into those of the answer.

use vswitch_dpapi::conntrack::{
    CtEnds, CtEntry, CtExpectation, CtState, CtTuple, FragmentsWaiting, TcpState,
};
use vswitch_dpapi::message::{Reply, Request};
use vswitch_flow::CtFilter;
use vswitch_flow::action::CtHelper;
use vswitch_rpc::Refusal;
use vswitch_rpc::dpctl::{
    Connection, Counter, Ends, Expectation, FragmentList, TcpEnd, Tuple, protocol_name,
};

use super::PART;
use crate::control::Control;
use crate::dataplane::unexpected;

impl Control {
    /// All connections that a filter means.
    pub(super) async fn connections(
        &mut self,
        filter: CtFilter,
    ) -> Result<Vec<Connection>, Refusal> {
        let mut all = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let request = Request::Connections {
                from,
                max: PART,
                filter: Box::new(filter),
            };
            next = match self.dataplane.ask(&request).await? {
                Reply::Connections { rows, next } => {
                    all.extend(rows.iter().map(connection));
                    next
                }
                other => return Err(unexpected(&other).into()),
            };
        }
        Ok(all)
    }

    /// What helpers expect, in a zone or in all.
    pub(super) async fn expected(
        &mut self,
        zone: Option<u16>,
    ) -> Result<Vec<Expectation>, Refusal> {
        let rows = match self.dataplane.ask(&Request::Expectations).await? {
            Reply::Expectations(rows) => rows.into_iter(),
            other => return Err(unexpected(&other).into()),
        };
        let rows = rows.filter(|row| zone.is_none_or(|zone| zone == row.zone));
        Ok(rows.map(|row| expectation(&row)).collect())
    }
}

/// States that other trackers do not tell apart, as one.
pub(super) const fn coalesced(state: TcpState) -> TcpState {
    match state {
        TcpState::FinWait2 => TcpState::TimeWait,
        state => state,
    }
}

fn connection(row: &CtEntry) -> Connection {
    let counter = |(packets, bytes)| Counter { packets, bytes };
    let (state, ends) = match row.state {
        CtState::Tcp(ends) => {
            let [one, two] = ends.map(|end| end.state);
            let ends = ends.map(|end| TcpEnd {
                state: end.state.name().to_owned(),
                wscale: end.scale,
                missed: end.missed,
            });
            (Some(coalesced(one.max(two)).name().to_owned()), Some(ends))
        }
        CtState::Other { .. } => (None, None),
    };
    Connection {
        protocol: protocol_name(row.original.protocol),
        original: tuple(&row.original),
        reply: tuple(&row.reply),
        id: row.id,
        zone: row.zone,
        status: status(row),
        mark: row.mark,
        labels: format!("{:#x}", row.labels),
        state,
        ends,
        helper: row.helper.map(|helper| {
            let name = match helper {
                CtHelper::Ftp => "ftp",
                CtHelper::Tftp => "tftp",
            };
            name.to_owned()
        }),
        parent: row.parent.as_ref().map(tuple),
        timeout_s: row.timeout_ms / 1000,
        age_s: row.age_ms / 1000,
        original_counter: counter(row.counters[0]),
        reply_counter: counter(row.counters[1]),
    }
}

/// The bits that Open vSwitch's `-m` names, as far as there is such a thing here.
fn status(row: &CtEntry) -> Vec<String> {
    let replied = match row.state {
        CtState::Tcp([_, other]) => other.state != TcpState::Closed,
        CtState::Other { replied } => replied,
    };
    let bits = [
        ("EXPECTED", row.parent.is_some()),
        ("SEEN_REPLY", replied),
        ("CONFIRMED", true),
        ("SRC_NAT", row.snat),
        ("DST_NAT", row.dnat),
    ];
    let set = bits.into_iter().filter(|(_, is)| *is);
    set.map(|(name, _)| name.to_owned()).collect()
}

fn tuple(tuple: &CtTuple) -> Tuple {
    Tuple {
        src: tuple.src,
        dst: tuple.dst,
        ends: match tuple.ends {
            CtEnds::Ports { src, dst } => Ends::Ports {
                sport: src,
                dport: dst,
            },
            CtEnds::Icmp { id, kind, code } => Ends::Icmp {
                id,
                r#type: kind,
                code,
            },
        },
    }
}

fn expectation(row: &CtExpectation) -> Expectation {
    Expectation {
        protocol: protocol_name(row.original.protocol),
        original: tuple(&row.original),
        zone: row.zone,
        mark: row.mark,
        labels: format!("{:#x}", row.labels),
        parent: tuple(&row.parent),
    }
}

/// A packet that is not whole.
pub(super) fn fragments(row: FragmentsWaiting) -> FragmentList {
    let state = match (row.is_spoiled, row.has_first, row.has_last) {
        (true, ..) => "reassemble fail",
        (_, true, true) => "first/last frag",
        (_, true, false) => "first frag",
        (_, false, true) => "last frag",
        (_, false, false) => "other frag",
    };
    FragmentList {
        src: row.src,
        dst: row.dst,
        ident: row.ident,
        zone: row.zone,
        protocol: row.protocol,
        fragments: row.len,
        state: state.to_owned(),
    }
}
