//! Networks, sandboxes and endpoints.
//!
//! A change is made in a copy of what is believed, the [driver](crate::driver) says what that means in the
//! switch, devices are made and dressed, and the copy is committed; what fails takes everything before it
//! back.

mod attach;
mod explain;
mod network;
mod sandbox;
mod tell;

use std::collections::BTreeMap;

use vswitch_rpc::{Code, Refusal};

use super::random;
use crate::model::containers::Id;

fn new_id() -> Result<Id, Refusal> {
    Ok(Id::new(random()?))
}

/// Refuses labels without a name, which nobody could ask for.
fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    match labels.keys().any(String::is_empty) {
        true => Err(Refusal::new(
            Code::Refused,
            "a label is written NAME=VALUE or NAME",
        )),
        false => Ok(()),
    }
}
