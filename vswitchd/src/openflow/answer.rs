//! What each message does, changes to flows, groups and meters aside ([`super::turn`]).

use vswitch_dpapi::BridgeId;
use vswitch_dpapi::message::Request;
use vswitch_flow::CtFilter;
use vswitch_flow::action::OfPort;
use vswitch_openflow::async_config::AsyncForm;
use vswitch_openflow::bundle::{BundleCommand, BundleControl};
use vswitch_openflow::config::{ConfigFlags, SwitchConfig};
use vswitch_openflow::features::{Capabilities, SwitchFeatures};
use vswitch_openflow::nicira::{FlowFormat, TlvTable};
use vswitch_openflow::packet_in::PacketIn;
use vswitch_openflow::packet_out::PacketOut;
use vswitch_openflow::queue::QueueConfig;
use vswitch_openflow::role::{Role, RoleReason, RoleRequest, RoleStatus};
use vswitch_openflow::{ErrorCode, Layout, Message, Version};

use super::link::Head;
use super::session::{Kind, Session};
use super::turn::Out;
use crate::control::Control;
use crate::dataplane::DataplaneError;

/// Tables, 0 to 253.
const TABLES: u8 = 254;

/// Actions of 1.0 as bits: all that it has.
const ACTIONS_10: u32 = 0xfff;

impl Control {
    /// Does what one message asks.
    pub(super) async fn answer(
        &mut self,
        session: &mut Session,
        head: &Head,
        message: Message,
        out: &mut Out,
    ) -> Result<(), ErrorCode> {
        let changes = matches!(
            message,
            Message::PacketOut(_)
                | Message::PortMod(_)
                | Message::TableMod(_)
                | Message::BundleControl(_)
                | Message::BundleAdd(_)
                | Message::Resume(_)
                | Message::TlvTableMod(_)
                | Message::CtFlush(_)
                | Message::CtFlushZone(_)
        );
        if changes && !session.may_change() {
            return Err(ErrorCode::BrcIsSecondary);
        }
        match message {
            // A second hello says nothing new, and an error is about what we said.
            Message::Hello(_) | Message::Error(_) | Message::EchoReply(_) => {}
            Message::EchoRequest(bytes) => out.reply(session, head, &Message::EchoReply(bytes)),
            Message::FeaturesRequest => {
                let features = self.features(session).ok_or(ErrorCode::BrcEperm)?;
                out.reply(session, head, &Message::FeaturesReply(features));
            }
            Message::ConfigRequest => {
                let ttl = session.version == Version::V10 && session.invalid_ttl();
                let mut flags = self.fragment_flags(session.bridge);
                if ttl {
                    flags.0 |= ConfigFlags::INVALID_TTL_TO_CONTROLLER.0;
                }
                let config = SwitchConfig {
                    flags,
                    miss_send_len: session.miss_send_len,
                };
                out.reply(session, head, &Message::ConfigReply(config));
            }
            Message::SetConfig(config) => {
                let fragments = ConfigFlags(config.flags.0 & ConfigFlags::FRAG_MASK.0);
                if fragments != self.fragment_flags(session.bridge) {
                    if !session.may_change() {
                        return Err(ErrorCode::BrcIsSecondary);
                    }
                    self.set_fragment_flags(session.bridge, fragments).await?;
                }
                session.miss_send_len = config.miss_send_len;
                // Since 1.3 this is one of the asynchronous messages that are chosen.
                if session.version == Version::V10 {
                    let ttl = config.flags.has(ConfigFlags::INVALID_TTL_TO_CONTROLLER);
                    session.set_invalid_ttl(ttl);
                }
            }
            Message::BarrierRequest => out.reply(session, head, &Message::BarrierReply),
            Message::MultipartRequest(request, more) => {
                self.answer_multipart(session, head, request, more, out)
                    .await?;
            }
            Message::PacketOut(packet) => self.packet_out(session.bridge, *packet).await?,
            Message::PortMod(change) => self.change_port(session.bridge, &change).await?,
            // In 1.3 there is nothing that could be changed: what it says of missed packets has no
            // meaning any more.
            Message::TableMod(change) => {
                if session.version >= Version::V14 {
                    self.change_table(session.bridge, &change).await?;
                }
            }
            Message::QueueConfigRequest(port) => {
                self.require_port(session.bridge, port, ErrorCode::QofcBadPort)?;
                let config = QueueConfig {
                    port,
                    queues: Vec::new(),
                };
                out.reply(session, head, &Message::QueueConfigReply(config));
            }
            Message::RoleRequest(request) => {
                let reply = self.take_role(session, request)?;
                out.reply(session, head, &Message::RoleReply(reply));
            }
            Message::AsyncRequest => {
                let wishes = session.wishes(AsyncForm::Standard);
                out.reply(session, head, &Message::AsyncReply(wishes));
            }
            Message::SetAsync(config) => session.set_wishes(&config),
            Message::BundleControl(control) => {
                self.bundle(session, head, control, out).await?;
            }
            Message::BundleAdd(add) => {
                let inner = add.inner().map_err(|error| error.code)?;
                let inner_head = Head::of(&add.message);
                let size = add.message.len();
                session.add_to_bundle(add.bundle, add.flags, inner_head, inner.message, size)?;
            }
            Message::SetFlowFormat(format) => {
                session.layout = match format {
                    FlowFormat::OpenFlow10 => Layout::Standard,
                    FlowFormat::Nxm => Layout::Nicira,
                };
            }
            // The link has taken note of it; ages are always told.
            Message::FlowModTableId(_) | Message::FlowAge => {}
            Message::SetPacketInFormat(format) => session.packet_in_format = format,
            Message::SetControllerId(id) => session.controller_id = id,
            Message::Resume(packet) => self.resume(session.bridge, *packet).await?,
            Message::TlvTableRequest => {
                out.reply(session, head, &Message::TlvTableReply(TlvTable::default()));
            }
            Message::TlvTableMod(_) => return Err(ErrorCode::NxttmfcTableFull),
            Message::CtFlushZone(zone) => self.flush(CtFilter::zone(zone)).await?,
            Message::CtFlush(filter) => self.flush(*filter).await?,
            Message::FlowMonitorCancel(id) => session.monitors.cancel(id)?,
            // Changes do not come here, the others are what a switch says.
            Message::FlowMod(_)
            | Message::GroupMod(_)
            | Message::MeterMod(_)
            | Message::FeaturesReply(_)
            | Message::ConfigReply(_)
            | Message::PacketIn(_)
            | Message::FlowRemoved(_)
            | Message::PortStatus(_)
            | Message::BarrierReply
            | Message::MultipartReply(..)
            | Message::QueueConfigReply(_)
            | Message::RoleReply(_)
            | Message::RoleStatus(_)
            | Message::AsyncReply(_)
            | Message::TableStatus(_)
            | Message::RequestForward(_)
            | Message::TlvTableReply(_)
            | Message::FlowMonitorPaused
            | Message::FlowMonitorResumed => return Err(ErrorCode::BrcBadType),
        }
        Ok(())
    }

    /// Forgets connections; that there are none to forget is no error.
    async fn flush(&mut self, filter: CtFilter) -> Result<(), ErrorCode> {
        match self.flush_connections(filter).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "connections could not be forgotten");
                Err(ErrorCode::BrcEperm)
            }
        }
    }

    fn features(&self, session: &Session) -> Option<SwitchFeatures> {
        let bridge = self.bridge_by_id(session.bridge)?;
        let mut capabilities = Capabilities::FLOW_STATS
            .with(Capabilities::TABLE_STATS)
            .with(Capabilities::PORT_STATS)
            .with(Capabilities::QUEUE_STATS);
        capabilities = match session.version {
            Version::V10 => capabilities.with(Capabilities::ARP_MATCH_IP),
            Version::V13 => capabilities.with(Capabilities::GROUP_STATS),
            Version::V14 | Version::V15 => capabilities
                .with(Capabilities::GROUP_STATS)
                .with(Capabilities::BUNDLES)
                .with(Capabilities::FLOW_MONITORING),
        };
        Some(SwitchFeatures {
            datapath_id: bridge.datapath_id(),
            buffers: 0,
            tables: TABLES,
            auxiliary: 0,
            capabilities,
            actions: ACTIONS_10,
            ports: self.port_descs(bridge),
        })
    }

    /// Refuses a port that the bridge does not have.
    pub(super) fn require_port(
        &self,
        bridge: u32,
        port: OfPort,
        code: ErrorCode,
    ) -> Result<(), ErrorCode> {
        let mut ports = self
            .bridge_by_id(bridge)
            .into_iter()
            .flat_map(|b| b.ports.values());
        let found = port == OfPort::ANY || ports.any(|other| other.of_port == port.0);
        if found { Ok(()) } else { Err(code) }
    }

    /// Sends a packet of a peer's.
    pub(super) async fn packet_out(
        &mut self,
        bridge: u32,
        packet: PacketOut,
    ) -> Result<(), ErrorCode> {
        // There are no buffers, so there is none of this number.
        if packet.buffer.is_some() {
            return Err(ErrorCode::BrcBufferUnknown);
        }
        let mut actions: Vec<_> = packet.settings().collect();
        actions.extend(packet.actions);
        let request = Request::PacketOut {
            bridge: BridgeId(bridge),
            in_port: packet.in_port,
            packet: packet.packet,
            actions,
        };
        self.dataplane.tell(&request, &[]).await.map_err(|error| {
            tracing::debug!(%error, "a packet was not sent");
            ErrorCode::BrcBadPacket
        })
    }

    /// Lets a packet go on that waited.
    async fn resume(&mut self, bridge: u32, packet: PacketIn) -> Result<(), ErrorCode> {
        let continuation = packet.continuation.ok_or(ErrorCode::NxrStale)?;
        let request = Request::Resume {
            bridge: BridgeId(bridge),
            packet: packet.packet,
            fields: Box::new(packet.metadata),
            continuation,
        };
        match self.dataplane.tell(&request, &[]).await {
            Ok(()) => Ok(()),
            Err(DataplaneError::Refused(why)) => {
                tracing::debug!(why, "a packet was not resumed");
                Err(ErrorCode::NxrStale)
            }
            Err(_) => Err(ErrorCode::NxrNotSupported),
        }
    }

    /// Gives a peer the role that it asks for; its answer.
    fn take_role(
        &mut self,
        session: &mut Session,
        request: RoleRequest,
    ) -> Result<RoleRequest, ErrorCode> {
        let bridge = session.bridge;
        let doors = self
            .agent
            .bridges
            .get_mut(&bridge)
            .ok_or(ErrorCode::RrfcUnsup)?;
        let decides = matches!(request.role, Role::Primary | Role::Secondary);
        if decides && request.layout == Layout::Standard {
            // Generations wrap around (OpenFlow 1.3.5 §6.3.5).
            let age = |known: u64| request.generation.wrapping_sub(known).cast_signed();
            if doors.generation.is_some_and(|known| age(known) < 0) {
                return Err(ErrorCode::RrfcStale);
            }
            doors.generation = Some(request.generation);
        }
        let generation = doors.generation;
        if request.role != Role::NoChange {
            session.role = request.role;
        }
        if request.role == Role::Primary {
            let status = RoleStatus {
                role: Role::Secondary,
                reason: RoleReason::PrimaryRequest,
                generation: generation.unwrap_or(u64::MAX),
            };
            let peers = self.agent.sessions.values_mut();
            for peer in peers.filter(|peer| peer.bridge == bridge && peer.role == Role::Primary) {
                peer.role = Role::Secondary;
                if peer.version > Version::V10 && peer.wants(Kind::RoleStatus, 0) {
                    peer.tell(&Message::RoleStatus(status));
                }
            }
        }
        Ok(RoleRequest {
            layout: request.layout,
            role: session.role,
            generation: generation.unwrap_or(u64::MAX),
        })
    }

    async fn bundle(
        &mut self,
        session: &mut Session,
        head: &Head,
        control: BundleControl,
        out: &mut Out,
    ) -> Result<(), ErrorCode> {
        let (id, flags) = (control.bundle, control.flags);
        let answer = match control.command {
            BundleCommand::OpenRequest => {
                session.open_bundle(id, flags)?;
                BundleCommand::OpenReply
            }
            BundleCommand::CloseRequest => {
                session.close_bundle(id, flags)?;
                BundleCommand::CloseReply
            }
            BundleCommand::CommitRequest => {
                let messages = session.take_bundle(id, flags)?;
                self.commit_bundle(session, messages, out).await?;
                BundleCommand::CommitReply
            }
            BundleCommand::DiscardRequest => {
                session.discard_bundle(id)?;
                BundleCommand::DiscardReply
            }
            BundleCommand::OpenReply
            | BundleCommand::CloseReply
            | BundleCommand::CommitReply
            | BundleCommand::DiscardReply => return Err(ErrorCode::BfcBadType),
        };
        let reply = BundleControl {
            command: answer,
            ..control
        };
        out.reply(session, head, &Message::BundleControl(reply));
        Ok(())
    }
}
