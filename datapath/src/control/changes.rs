//! Changes to flows, groups and meters: the ledger makes them, workers get the new tables, and what
//! has gone is told when all traffic of it is known.

use std::sync::Arc;

use vswitch_dpapi::message::Reply;
use vswitch_dpapi::{BridgeId, Change};
use vswitch_flow::{FlowRule, Group, Meter};

use super::{ChangeError, Control, Refusal, removal};
use crate::pipeline::Gone;
use crate::worker::Command;

impl Control {
    pub(super) fn set_tables(
        &mut self,
        bridge: BridgeId,
        flows: Vec<FlowRule>,
        groups: Vec<Group>,
        meters: Vec<Meter>,
    ) -> Result<Reply, Refusal> {
        let before = Arc::clone(self.ledger.tables());
        let now = self.now();
        let gone = self.ledger.set_tables(bridge, flows, groups, meters, now)?;
        self.publish(before)?;
        self.tell_gone(&gone)?;
        Ok(Reply::Done)
    }

    pub(super) fn change(
        &mut self,
        bridge: BridgeId,
        changes: Vec<Change>,
    ) -> Result<Reply, Refusal> {
        let before = Arc::clone(self.ledger.tables());
        match self.ledger.change(bridge, changes, self.now()) {
            Ok(gone) => {
                self.publish(before)?;
                self.tell_gone(&gone)?;
                Ok(Reply::Done)
            }
            Err(ChangeError::Refused { at, why }) => {
                Ok(Reply::ChangeRefused { at: at as u32, why })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes out flows whose timeouts have ended. Workers are asked for their traffic only when some
    /// flow's timeout would have ended without any.
    pub(super) fn expire_flows(&mut self) -> Result<(), Refusal> {
        let now = self.now();
        if self.ledger.next_expiry().is_none_or(|at| at >= now) {
            return Ok(());
        }
        self.ask_all(Command::CreditRules)?;
        let before = Arc::clone(self.ledger.tables());
        let gone = self.ledger.expire(now);
        self.publish(before)?;
        self.tell_gone(&gone)
    }

    /// Tells of flows that have gone. The tables without them have been published.
    pub(super) fn tell_gone(&mut self, gone: &[Gone]) -> Result<(), Refusal> {
        if !gone.iter().any(Gone::is_told) {
            return Ok(());
        }
        // No packet meets them any more; what workers still know of is the last of their traffic.
        self.ask_all(Command::CreditRules)?;
        let now = self.now();
        for event in gone.iter().filter_map(|gone| removal(gone, now)) {
            self.tell(event);
        }
        Ok(())
    }
}
