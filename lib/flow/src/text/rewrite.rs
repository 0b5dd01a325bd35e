//! Text → actions that write fields.

use super::actions::Reader;
use super::matches::{in_packet, read_value};
use super::subfield::{self, similar};
use super::token::{Part, Token};
use super::value;
use super::{ParseError, Problem};
use crate::action::Action;
use crate::field::Field;

/// What the port of a transport protocol needs.
const TRANSPORT: &str = "tcp, udp or sctp (or the same with 6)";

/// The field of a name, short or long.
pub(super) fn field_of(name: Token<'_>) -> Result<Field, ParseError> {
    match subfield::field(name.text) {
        Some(field) => Ok(field),
        None => name.fail(Problem::UnknownField {
            allowed: similar(name.text),
        }),
    }
}

impl<'a> Reader<'a> {
    /// Reads an action that writes a field. False if it is another one.
    pub(super) fn rewrite(
        &mut self,
        part: &Part<'a>,
        name: &str,
        actions: &mut Vec<Action>,
    ) -> Result<bool, ParseError> {
        let field = match name {
            "set_field" => return self.set_field(part, actions).map(|()| true),
            "load" => return self.load(part, actions).map(|()| true),
            "mod_vlan_vid" | "set_vlan_vid" => {
                let vid = part.number(0, 0xfff)? as u16;
                if name == "mod_vlan_vid" && !self.translate {
                    self.push(part.whole, Action::SetVlanVid(vid), actions)?;
                    return Ok(true);
                }
                self.tag(part, name == "mod_vlan_vid", actions)?;
                return self.set(part, Field::VlanVid, u128::from(vid) | 0x1000, actions);
            }
            "mod_vlan_pcp" | "set_vlan_pcp" => {
                let pcp = part.number(0, 7)? as u8;
                if name == "mod_vlan_pcp" && !self.translate {
                    self.push(part.whole, Action::SetVlanPcp(pcp), actions)?;
                    return Ok(true);
                }
                self.tag(part, name == "mod_vlan_pcp", actions)?;
                return self.set(part, Field::VlanPcp, u128::from(pcp), actions);
            }
            "mod_nw_tos" => {
                let tos = part.number(0, 0xff)?;
                if tos & 3 != 0 {
                    return part
                        .refuse(part.value, "a number up to 252 whose ECN bits (1, 2) are 0");
                }
                return self.set(part, Field::IpDscp, u128::from(tos >> 2), actions);
            }
            "mod_dl_src" => Field::EthSrc,
            "mod_dl_dst" => Field::EthDst,
            "mod_nw_src" => Field::Ipv4Src,
            "mod_nw_dst" => Field::Ipv4Dst,
            "mod_nw_ecn" => Field::IpEcn,
            "mod_nw_ttl" | "set_nw_ttl" => Field::IpTtl,
            "set_mpls_label" => Field::MplsLabel,
            "set_mpls_tc" => Field::MplsTc,
            "set_mpls_ttl" => Field::MplsTtl,
            "set_tunnel" | "set_tunnel64" => Field::TunId,
            "mod_tp_src" | "mod_tp_dst" => {
                let key = self.checker.key();
                let legacy = name.trim_start_matches("mod_");
                let Some(field) = key.and_then(|key| in_packet(legacy, key).flatten()) else {
                    return part.name.fail(Problem::Prerequisite {
                        name: name.to_owned(),
                        needs: TRANSPORT,
                    });
                };
                field
            }
            _ => return Ok(false),
        };
        let (value, mask) = self.value_of(part, field)?;
        self.push(part.whole, Action::SetField { field, value, mask }, actions)?;
        Ok(true)
    }

    /// Pushes a tag if the packet need not have one, as OpenFlow 1.0 does; or else says so.
    fn tag(
        &mut self,
        part: &Part<'a>,
        make: bool,
        actions: &mut Vec<Action>,
    ) -> Result<(), ParseError> {
        if make && !self.checker.is_tagged() {
            self.push(part.whole, Action::PushVlan(0x8100), actions)?;
        }
        Ok(())
    }

    fn set(
        &mut self,
        part: &Part<'a>,
        field: Field,
        value: u128,
        actions: &mut Vec<Action>,
    ) -> Result<bool, ParseError> {
        let mask = field.info().max();
        self.push(part.whole, Action::SetField { field, value, mask }, actions)?;
        Ok(true)
    }

    /// Reads `value[/mask]->field`.
    fn set_field(&mut self, part: &Part<'a>, actions: &mut Vec<Action>) -> Result<(), ParseError> {
        let allowed = "value[/mask]->field";
        let Some((text, name)) = part.need(allowed)?.split("->") else {
            return part.whole.fail(Problem::NoValue {
                name: part.name.text.to_owned(),
                allowed: allowed.to_owned(),
            });
        };
        let here = self.checker.key().and_then(|key| in_packet(name.text, key));
        let field = match here {
            Some(Some(field)) => field,
            Some(None) => {
                return name.fail(Problem::Prerequisite {
                    name: name.text.to_owned(),
                    needs: TRANSPORT,
                });
            }
            None => field_of(name)?,
        };
        let value = (!text.text.is_empty()).then_some(text);
        let (value, mask) = read_value(text, name, value, field, self.names)?;
        // What is called nw_tos leaves the ECN bits alone.
        let action = match field {
            Field::IpTos => Action::SetField {
                field: Field::IpDscp,
                value: value >> 2,
                mask: mask >> 2,
            },
            field => Action::SetField { field, value, mask },
        };
        self.push(name, action, actions)
    }

    /// Reads `value->bits`.
    fn load(&mut self, part: &Part<'a>, actions: &mut Vec<Action>) -> Result<(), ParseError> {
        let Some((text, name)) = part.need("value->bits")?.split("->") else {
            return part.value.fail(Problem::NoArrow);
        };
        let dst = subfield::parse(name)?;
        let number = value::number(text.text).filter(|value| subfield::fits(*value, dst));
        let Some(value) = number else {
            return part.refuse(text, format!("a number of {} bits", dst.bits));
        };
        self.push(name, Action::Load { dst, value }, actions)
    }
}
