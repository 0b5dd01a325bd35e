//! The action `learn`: the flow that a packet makes.
//!
//! Law: translation says which flow, and control adds it; until then packets go as if it were not
//! there. The flow's bits come from fields that are in the answer's mask, so every packet of a
//! cached answer makes the same flow.
//!
//! Spec: `ovs-actions(7)`; Open vSwitch `lib/learn.c`.

use vswitch_flow::action::{Learn, LearnSource, LearnSpec};
use vswitch_flow::text::Actions;
use vswitch_flow::{
    Action, FlowCommand, FlowFlags, FlowKey, FlowMask, FlowMod, FlowRule, Instructions, Match,
    Subfield,
};

use super::Effect;
use super::act::port_of;
use super::translate::Walk;

/// A learned flow as traces tell of it.
fn learned_text(rule: &FlowRule) -> String {
    let mut parts = vec![format!("table={}", rule.table)];
    if !rule.matches.is_any() {
        parts.push(rule.matches.to_string());
    }
    parts.push(format!("priority={}", rule.priority));
    if rule.cookie != 0 {
        parts.push(format!("cookie={:#x}", rule.cookie));
    }
    if rule.idle_timeout != 0 {
        parts.push(format!("idle={}", rule.idle_timeout));
    }
    if rule.hard_timeout != 0 {
        parts.push(format!("hard={}", rule.hard_timeout));
    }
    if rule.flags.has(FlowFlags::SEND_FLOW_REM) {
        parts.push("send_flow_rem".to_owned());
    }
    parts.push(format!("actions={}", Actions(&rule.instructions.apply)));
    parts.join(" ")
}

impl Walk<'_> {
    pub(super) fn learn_flow(&mut self, learn: &Learn) {
        let Some(bridge) = self.bridge() else { return };
        let rule = self.learned(learn);
        let full = learn.limit != 0
            && bridge.learned_len(learn.table, learn.cookie) >= learn.limit
            && bridge
                .rule(learn.table, &rule.matches, rule.priority)
                .is_none();
        if self.trace.as_ref().is_some_and(|trace| trace.teaches()) {
            self.detail(|| learned_text(&rule));
        } else {
            self.say(|| "suppressing side effects, so learn action ignored".to_owned());
        }
        if let Some(result) = learn.result {
            self.store(result, u128::from(!full));
            self.tell_bits(result);
        }
        if full {
            return self.detail(|| "Limit exceeded, learn failed".to_owned());
        }
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
