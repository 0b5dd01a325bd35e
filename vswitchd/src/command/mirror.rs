//! Mirrors.

use vswitch_rpc::Refusal;
use vswitch_rpc::method::Done;
use vswitch_rpc::mirror::{AddMirror, DelMirror};

use crate::control::Control;

impl Control {
    pub(super) async fn add_mirror(&mut self, call: AddMirror) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        next.switch
            .add_mirror(&call.bridge, &call.name, &call.options)?;
        self.commit(next, Vec::new()).await?;
        Ok(Done {})
    }

    pub(super) async fn del_mirror(&mut self, call: DelMirror) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        next.switch.del_mirror(&call.bridge, &call.name)?;
        self.commit(next, Vec::new()).await?;
        Ok(Done {})
    }
}
