//! Requests for lists and statistics (`OFPT_MULTIPART_REQUEST`).

use std::time::Duration;

use vswitch_dpapi::BridgeId;
use vswitch_dpapi::message::{Reply as Answer, Request as Question};
use vswitch_flow::meter::METER_ALL;
use vswitch_flow::rule::TABLE_MAX;
use vswitch_flow::{Field, OfPort};
use vswitch_openflow::flow_stats::{Aggregate, FlowRequest};
use vswitch_openflow::group::{GROUP_ALL, GroupCapabilities, GroupFeatures, GroupStats};
use vswitch_openflow::meter::{MeterFeatures, MeterStats};
use vswitch_openflow::multipart::{Reply, Request, SwitchDesc};
use vswitch_openflow::table::{
    FieldId, Flows, TableConfig, TableFeatures, TableProperty, TableStats, TypeId,
};
use vswitch_openflow::wire::Text;
use vswitch_openflow::{ErrorCode, Message};

use super::dump::Dump;
use super::link::Head;
use super::session::Session;
use super::turn::Out;
use crate::control::Control;
use crate::dataplane::unexpected;

/// Flows that a table without a limit is said to take. There is no other limit than memory; this is
/// what Open vSwitch says.
const ENTRIES: u32 = 1_000_000;

/// All fields of a match of 1.0 may be left out.
const WILDCARDS_10: u32 = (1 << 22) - 1;

/// Meters and groups that there can be.
const METERS: u32 = 65_536;

/// Bands of a meter.
const BANDS: u8 = 8;

/// Actions that groups and tables can have, as bits: all of 1.3 but those of PBB.
const ACTIONS: u32 = 1
    | 1 << 11
    | 1 << 12
    | 1 << 15
    | 1 << 16
    | 1 << 17
    | 1 << 18
    | 1 << 19
    | 1 << 20
    | 1 << 21
    | 1 << 22
    | 1 << 23
    | 1 << 24
    | 1 << 25;

impl Control {
    /// Answers a request for a list.
    pub(super) async fn answer_multipart(
        &mut self,
        session: &mut Session,
        head: &Head,
        request: Request,
        more: bool,
        out: &mut Out,
    ) -> Result<(), ErrorCode> {
        if more {
            // Only table features may come in parts, and those cannot be set.
            return Err(match request {
                Request::TableFeatures(_) => ErrorCode::TffcEperm,
                _ => ErrorCode::BrcMultipartBufferOverflow,
            });
        }
        let reply = match request {
            Request::Flow(request) => {
                out.dump(Dump {
                    bridge: session.bridge,
                    select: request.select,
                    version: session.version,
                    layout: request.layout,
                    xid: head.xid(),
                    under_way: None,
                });
                return Ok(());
            }
            Request::Aggregate(request) => self.aggregate(session, request).await?,
            Request::Desc => Reply::Desc(Box::new(self.desc(session)?)),
            Request::Table => Reply::Table(self.table_stats(session).await?),
            Request::Port(port) => {
                self.require_port(session.bridge, port, ErrorCode::BrcBadPort)?;
                let only = Some(port).filter(|port| *port != OfPort::ANY);
                let counters = self.port_counters(session.bridge, only).await;
                Reply::Port(counters.map_err(|error| gone(&error))?)
            }
            Request::Queue(select) => {
                self.require_port(session.bridge, select.port, ErrorCode::QofcBadPort)?;
                Reply::Queue(Vec::new())
            }
            Request::QueueDesc(select) => {
                self.require_port(session.bridge, select.port, ErrorCode::QofcBadPort)?;
                Reply::QueueDesc(Vec::new())
            }
            Request::Group(id) => {
                let rows = self.groups(session, id).await?;
                Reply::Group(rows.iter().map(group_stats).collect())
            }
            Request::GroupDesc(id) => {
                let rows = self.groups(session, id).await?;
                Reply::GroupDesc(rows.into_iter().map(|row| row.group).collect())
            }
            Request::GroupFeatures => Reply::GroupFeatures(GroupFeatures {
                types: 0xf,
                capabilities: GroupCapabilities::SELECT_WEIGHT
                    .with(GroupCapabilities::SELECT_LIVENESS)
                    .with(GroupCapabilities::CHAINING)
                    .with(GroupCapabilities::CHAINING_CHECKS),
                max_groups: [vswitch_flow::group::GROUP_MAX; 4],
                actions: [ACTIONS; 4],
            }),
            Request::Meter(id) => {
                let rows = self.meters(session, id).await?;
                Reply::Meter(rows.iter().map(meter_stats).collect())
            }
            Request::MeterConfig(id) => {
                let rows = self.meters(session, id).await?;
                Reply::MeterConfig(rows.into_iter().map(|row| row.meter).collect())
            }
            Request::MeterFeatures => Reply::MeterFeatures(MeterFeatures {
                max_meters: METERS,
                band_types: 1 << 1 | 1 << 2,
                capabilities: 0xf,
                max_bands: BANDS,
                max_color: 0,
            }),
            Request::TableFeatures(tables) if tables.is_empty() => {
                Reply::TableFeatures(self.table_features(session))
            }
            Request::TableFeatures(_) => return Err(ErrorCode::TffcEperm),
            Request::PortDesc(port) => {
                self.require_port(session.bridge, port, ErrorCode::BrcBadPort)?;
                let bridge = self
                    .bridge_by_id(session.bridge)
                    .ok_or(ErrorCode::BrcEperm)?;
                let mut ports = self.port_descs(bridge);
                ports.retain(|desc| port == OfPort::ANY || desc.port == port);
                Reply::PortDesc(ports)
            }
            Request::TableDesc => Reply::TableDesc(self.table_descs(session.bridge)),
            Request::FlowMonitor(requests) => {
                return self.monitor(session, head, requests, out);
            }
        };
        out.reply(session, head, &Message::MultipartReply(reply, false));
        Ok(())
    }

    async fn ask_datapath(&mut self, question: &Question) -> Result<Answer, ErrorCode> {
        self.dataplane
            .ask(question)
            .await
            .map_err(|error| gone(&error))
    }

    async fn aggregate(
        &mut self,
        session: &Session,
        request: FlowRequest,
    ) -> Result<Reply, ErrorCode> {
        let question = Question::Aggregate {
            bridge: BridgeId(session.bridge),
            select: Box::new(request.select),
        };
        match self.ask_datapath(&question).await? {
            Answer::Aggregate {
                packets,
                bytes,
                flows,
            } => {
                let aggregate = Aggregate {
                    packets,
                    bytes,
                    flows,
                };
                Ok(Reply::Aggregate(request.layout, aggregate))
            }
            other => Err(gone(&unexpected(&other))),
        }
    }

    fn desc(&self, session: &Session) -> Result<SwitchDesc, ErrorCode> {
        let bridge = self
            .bridge_by_id(session.bridge)
            .ok_or(ErrorCode::BrcEperm)?;
        Ok(SwitchDesc {
            manufacturer: Text::from("vswitch"),
            hardware: Text::from("userspace"),
            software: Text::from(env!("CARGO_PKG_VERSION")),
            serial: Text::from("None"),
            datapath: Text::from(bridge.name.as_str()),
        })
    }

    fn limit(&self, session: &Session, table: u8) -> u32 {
        let bridge = self.bridge_by_id(session.bridge);
        let limit = bridge.and_then(|bridge| bridge.settings.flow_limit);
        limit.filter(|_| table == 0).unwrap_or(ENTRIES)
    }

    async fn table_stats(&mut self, session: &Session) -> Result<Vec<TableStats>, ErrorCode> {
        let question = Question::Tables {
            bridge: BridgeId(session.bridge),
        };
        let rows = match self.ask_datapath(&question).await? {
            Answer::Tables(rows) => rows,
            other => return Err(gone(&unexpected(&other))),
        };
        let stats = |table| {
            let row = rows.iter().find(|row| row.table == table).copied();
            let row = row.unwrap_or_default();
            TableStats {
                table,
                name: Text::from(""),
                wildcards: WILDCARDS_10,
                max_entries: self.limit(session, table),
                active: row.active,
                lookups: row.lookups,
                matches: row.matched,
            }
        };
        Ok((0..=TABLE_MAX).map(stats).collect())
    }

    async fn groups(
        &mut self,
        session: &Session,
        id: u32,
    ) -> Result<Vec<vswitch_dpapi::message::GroupStats>, ErrorCode> {
        let question = Question::Groups {
            bridge: BridgeId(session.bridge),
            id: Some(id).filter(|id| *id != GROUP_ALL),
        };
        match self.ask_datapath(&question).await? {
            Answer::Groups(rows) => Ok(rows),
            other => Err(gone(&unexpected(&other))),
        }
    }

    async fn meters(
        &mut self,
        session: &Session,
        id: u32,
    ) -> Result<Vec<vswitch_dpapi::message::MeterStats>, ErrorCode> {
        let question = Question::Meters {
            bridge: BridgeId(session.bridge),
            id: Some(id).filter(|id| *id != METER_ALL),
        };
        let rows = match self.ask_datapath(&question).await? {
            Answer::Meters(rows) => rows,
            other => return Err(gone(&unexpected(&other))),
        };
        if rows.is_empty() && id != METER_ALL {
            return Err(ErrorCode::MmfcUnknownMeter);
        }
        Ok(rows)
    }

    fn table_features(&self, session: &Session) -> Vec<TableFeatures> {
        let version = session.version;
        let fields = |masked: bool, only: fn(Field) -> bool| -> Vec<FieldId> {
            let fields = Field::all().filter(|field| only(*field));
            let id = |field: Field| FieldId::new(field, masked && field.info().maskable, version);
            fields.filter_map(id).collect()
        };
        let writable = fields(false, |field| field.info().writable);
        let instructions: Vec<TypeId> = (1_u16..=6).map(TypeId::from).collect();
        let bits = (0_u16..32).filter(|bit| ACTIONS >> bit & 1 == 1);
        let actions: Vec<TypeId> = bits.map(TypeId::from).collect();
        let features = |table: u8| TableFeatures {
            table,
            name: Text::from(""),
            metadata_match: u64::MAX,
            metadata_write: u64::MAX,
            config: TableConfig::default(),
            max_entries: self.limit(session, table),
            properties: vec![
                TableProperty::Instructions(Flows::Regular, instructions.clone()),
                TableProperty::NextTables(Flows::Regular, (table + 1..=TABLE_MAX).collect()),
                TableProperty::WriteActions(Flows::Regular, actions.clone()),
                TableProperty::ApplyActions(Flows::Regular, actions.clone()),
                TableProperty::Match(fields(true, |_| true)),
                TableProperty::Wildcards(fields(false, |_| true)),
                TableProperty::WriteSetField(Flows::Regular, writable.clone()),
                TableProperty::ApplySetField(Flows::Regular, writable.clone()),
            ],
        };
        (0..=TABLE_MAX).map(features).collect()
    }
}

/// A datapath that does not answer.
fn gone(error: &dyn std::fmt::Display) -> ErrorCode {
    tracing::warn!(%error, "a list could not be asked for");
    ErrorCode::BrcEperm
}

fn group_stats(row: &vswitch_dpapi::message::GroupStats) -> GroupStats {
    GroupStats {
        id: row.group.id,
        references: row.references,
        packets: row.packets,
        bytes: row.bytes,
        duration: Some(Duration::from_millis(row.age_ms).into()),
        buckets: row.buckets.clone(),
    }
}

fn meter_stats(row: &vswitch_dpapi::message::MeterStats) -> MeterStats {
    MeterStats {
        id: row.meter.id,
        flows: row.flows,
        packets: row.packets,
        bytes: row.bytes,
        duration: Duration::from_millis(row.age_ms).into(),
        bands: row.bands.clone(),
    }
}
