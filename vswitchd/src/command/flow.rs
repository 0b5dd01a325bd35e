//! Flows and what they do to a packet.
//!
//! Flows are changed in the way of OpenFlow's own changes (`control/change.rs`), so a new datapath gets
//! them again, and they end with the switch.

use vswitch_dpapi::BridgeId;
use vswitch_dpapi::message::{FlowStats, Reply, Request, TraceFrame, TraceRequest};
use vswitch_flow::text::{Actions, ParseError, parse_flow, parse_match};
use vswitch_flow::{FlowCommand, FlowFlags, FlowMod, FlowRule, FlowSelect, OfPort};
use vswitch_rpc::flow::{AddFlow, DelFlows, DumpFlows, Row, Story, Trace};
use vswitch_rpc::method::{Done, Removed};
use vswitch_rpc::{Code, Refusal};

use super::frame::{self, FrameError};
use super::tracking::state_bits;
use crate::control::Control;
use crate::dataplane::unexpected;
use crate::model::Bridge;
use crate::openflow::tables::Tables;

/// Bytes behind the headers of a packet that is made for a trace, as Open vSwitch has it.
pub(super) const PAYLOAD: usize = 64;

/// Which flows of a bridge are meant.
struct Filter {
    rule: FlowRule,
    /// Only flows of the rule's table.
    table: bool,
    /// Only flows of the rule's priority with exactly its match.
    strict: bool,
}

impl Filter {
    /// Reads a match, with `table=` and `priority=` in it where they are meant.
    fn parse(bridge: &Bridge, text: Option<&str>, strict: bool) -> Result<Self, Refusal> {
        let text = text.unwrap_or_default();
        let named = |key: &str| {
            let mut pieces = text.split([',', ' ']);
            pieces.any(|piece| piece.trim().starts_with(key))
        };
        let whole = format!("{text} actions=drop");
        let rule = parse_flow(&whole, &|name| number(bridge, name)).map_err(bad_text)?;
        if named("priority=") && !strict {
            let text = "only a strict deletion takes priority=";
            return Err(Refusal::new(Code::Refused, text));
        }
        Ok(Self {
            rule,
            table: strict || named("table="),
            strict,
        })
    }

    fn takes(&self, flow: &FlowRule) -> bool {
        if self.table && flow.table != self.rule.table {
            return false;
        }
        if self.strict {
            flow.priority == self.rule.priority && flow.matches == self.rule.matches
        } else {
            self.rule.matches.covers(&flow.matches)
        }
    }
}

fn number(bridge: &Bridge, name: &str) -> Option<OfPort> {
    bridge.ports.get(name).map(|port| OfPort(port.of_port))
}

fn bad_text(error: ParseError) -> Refusal {
    Refusal::new(Code::Refused, format!("the flow cannot be read: {error}"))
}

/// Refuses what a flow says of its life, which is OpenFlow's part.
fn check_lasting(flow: &FlowRule) -> Result<(), Refusal> {
    let lasts = flow.idle_timeout == 0 && flow.hard_timeout == 0 && flow.importance == 0;
    if lasts && flow.flags == FlowFlags::default() {
        return Ok(());
    }
    let text = "a flow added here stays until it is removed: timeouts, importance, send_flow_rem, \
                check_overlap and reset_counts are not possible";
    Err(Refusal::new(Code::Refused, text))
}

impl Control {
    pub(super) async fn add_flow(&mut self, call: AddFlow) -> Result<Done, Refusal> {
        let bridge = self.belief.switch.bridge(&call.bridge)?;
        let rule = parse_flow(&call.flow, &|name| number(bridge, name)).map_err(bad_text)?;
        check_lasting(&rule)?;
        let change = FlowMod::new(FlowCommand::Add, rule);
        let bridge = bridge.id;
        self.change(bridge, vec![change.into()]).await?;
        Ok(Done {})
    }

    pub(super) async fn del_flows(&mut self, call: DelFlows) -> Result<Removed, Refusal> {
        let bridge = self.belief.switch.bridge(&call.bridge)?;
        let filter = Filter::parse(bridge, call.filter.as_deref(), call.strict)?;
        let command = if filter.strict {
            FlowCommand::DeleteStrict
        } else {
            FlowCommand::Delete
        };
        let change = FlowMod {
            all_tables: !filter.table,
            ..FlowMod::new(command, filter.rule)
        };
        let bridge = bridge.id;
        let flows = self.tables.get(&bridge).map(Tables::flows);
        let concerned = flows
            .into_iter()
            .flatten()
            .filter(|rule| change.concerns(rule));
        let removed = concerned.count() as u64;
        self.change(bridge, vec![change.into()]).await?;
        Ok(Removed { removed })
    }

    pub(super) async fn dump_flows(&mut self, call: DumpFlows) -> Result<Vec<Row>, Refusal> {
        let bridge = self.belief.switch.bridge(&call.bridge)?;
        let filter = Filter::parse(bridge, call.filter.as_deref(), false)?;
        let bridge = BridgeId(bridge.id);
        let request = Request::Flows {
            bridge,
            select: Box::new(FlowSelect::default()),
            max: u32::MAX,
        };
        let mut flows = match self.dataplane.ask(&request).await? {
            Reply::Flows { rows, .. } => rows,
            other => return Err(unexpected(&other).into()),
        };
        flows.retain(|stats| filter.takes(&stats.flow));
        flows.sort_by(|a, b| {
            let order =
                |stats: &FlowStats| (stats.flow.table, std::cmp::Reverse(stats.flow.priority));
            order(a).cmp(&order(b))
        });
        Ok(flows
            .into_iter()
            .map(|stats| Row {
                table: stats.flow.table,
                priority: stats.flow.priority,
                cookie: stats.flow.cookie,
                duration_s: stats.age_ms as f64 / 1000.0,
                packets: stats.packets,
                bytes: stats.bytes,
                matches: stats.flow.matches.to_string(),
                actions: Actions(&stats.flow.instructions.apply).to_string(),
                text: stats.flow.to_string(),
            })
            .collect())
    }

    pub(super) async fn trace(&mut self, call: Trace) -> Result<Story, Refusal> {
        let bridge = self.belief.switch.bridge(&call.bridge)?;
        let packet = parse_match(&call.flow, &|name| number(bridge, name)).map_err(bad_text)?;
        let frame = match (call.packet, call.generate) {
            (None, false) => TraceFrame::None,
            (None, true) => TraceFrame::Made(frame::payload(PAYLOAD)),
            (Some(bytes), false) => {
                let bytes = frame::read_frame(&bytes);
                let refused = |why: FrameError| Refusal::new(Code::Refused, why.to_string());
                TraceFrame::Bytes(bytes.map_err(refused)?)
            }
            (Some(_), true) => {
                let text = "either a packet is given or one is to be made, not both";
                return Err(Refusal::new(Code::Refused, text));
            }
        };
        let states = call.ct_next.iter().map(|text| state_bits(text));
        let ct_next = states.collect::<Result<_, _>>();
        let request = TraceRequest {
            bridge: BridgeId(bridge.id),
            key: packet.key(),
            frame,
            actions: None,
            names: call.names,
            ct_next: ct_next.map_err(|why| Refusal::new(Code::Refused, why.to_string()))?,
        };
        self.follow(request).await
    }

    /// Traces a packet.
    pub(in crate::command) async fn follow(
        &mut self,
        request: TraceRequest,
    ) -> Result<Story, Refusal> {
        let request = Request::Trace(Box::new(request));
        match self.dataplane.ask(&request).await? {
            Reply::Trace(report) => Ok(Story {
                lines: report.lines,
                datapath_actions: report.actions,
                failure: report.failure,
            }),
            other => Err(unexpected(&other).into()),
        }
    }
}
