//! The action `learn`: the flow that a packet makes.
//!
//! Law: translation says which flow, and control adds it; until then packets go as if it were not
//! there. The flow's bits come from fields that are in the answer's mask, so every packet of a
//! cached answer makes the same flow.
//!
//! Spec: `ovs-actions(7)`; Open vSwitch `lib/learn.c`.

use vswitch_flow::action::{Learn, LearnSource, LearnSpec};
use vswitch_flow::{
    Action, FlowCommand, FlowFlags, FlowKey, FlowMask, FlowMod, FlowRule, Instructions, Match,
    Subfield,
};

use super::Effect;
use super::act::port_of;
use super::translate::Walk;

impl Walk<'_> {
    pub(super) fn learn_flow(&mut self, learn: &Learn) {
        let Some(bridge) = self.bridge() else { return };
        let rule = self.learned(learn);
        let full = learn.limit != 0
            && bridge.learned_len(learn.table, learn.cookie) >= learn.limit
            && bridge
                .rule(learn.table, &rule.matches, rule.priority)
                .is_none();
        if let Some(result) = learn.result {
            self.store(result, u128::from(!full));
        }
        if full {
            return self.say(|| "learned flows have reached their limit".to_owned());
        }
        self.say(|| rule.to_string());
        self.effect(Effect::Learn {
            bridge: bridge.id,
            change: FlowMod::new(FlowCommand::Add, rule),
            limit: learn.limit,
        });
    }

    fn value(&mut self, source: &LearnSource) -> u128 {
        match source {
            LearnSource::Field(field) => self.fetch(*field),
            LearnSource::Value(value) => *value,
        }
    }

    /// The flow that the packet makes.
    fn learned(&mut self, learn: &Learn) -> FlowRule {
        let (mut key, mut mask) = (FlowKey::default(), FlowMask::default());
        let mut actions = Vec::new();
        if learn.fin_idle_timeout != 0 || learn.fin_hard_timeout != 0 {
            actions.push(Action::FinTimeout {
                idle: learn.fin_idle_timeout,
                hard: learn.fin_hard_timeout,
            });
        }
        for spec in &learn.specs {
            match spec {
                LearnSpec::Match { src, dst } => {
                    let value = self.value(src);
                    let Subfield { field, offset, .. } = *dst;
                    let bits = dst.mask();
                    key.set(field, key.field(field) & !bits | value << offset & bits);
                    mask.set(field, mask.field(field) | bits);
                }
                LearnSpec::Load { src, dst } => {
                    let value = self.value(src) & (dst.mask() >> dst.offset);
                    actions.push(Action::Load { dst: *dst, value });
                }
                LearnSpec::Output(src) => {
                    actions.push(Action::Output(port_of(self.fetch(*src))));
                }
            }
        }
        FlowRule {
            table: learn.table,
            priority: learn.priority,
            cookie: learn.cookie,
            matches: Match::new(&key, &mask),
            instructions: Instructions::apply(actions),
            idle_timeout: learn.idle_timeout,
            hard_timeout: learn.hard_timeout,
            importance: 0,
            flags: if learn.send_flow_rem {
                FlowFlags::SEND_FLOW_REM
            } else {
                FlowFlags::default()
            },
        }
    }
}
