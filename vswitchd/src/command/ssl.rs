//! By which files the switch proves who it is.

use vswitch_rpc::method::Done;
use vswitch_rpc::ssl::SetSsl;
use vswitch_rpc::{Code, Refusal};
use vswitch_tls::Identity;

use crate::control::Control;
use crate::model::Ssl;

impl Control {
    pub(super) async fn set_ssl(&mut self, call: SetSsl) -> Result<Done, Refusal> {
        let ssl = Ssl {
            private_key: call.private_key.into(),
            certificate: call.certificate.into(),
            ca_cert: call.ca_cert.into(),
        };
        ssl.check()?;
        // Who types them learns at once what is wrong with them.
        Identity::load(&ssl.files())
            .map_err(|error| Refusal::new(Code::Refused, error.to_string()))?;
        self.keep_ssl(Some(ssl)).await
    }

    pub(super) async fn del_ssl(&mut self) -> Result<Done, Refusal> {
        self.keep_ssl(None).await
    }

    async fn keep_ssl(&mut self, ssl: Option<Ssl>) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        next.switch.ssl = ssl;
        self.commit(next, Vec::new()).await?;
        Ok(Done {})
    }

    pub(super) fn read_ssl(&self) -> Result<Option<SetSsl>, Refusal> {
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        Ok(self.belief.switch.ssl.as_ref().map(|ssl| SetSsl {
            private_key: text(&ssl.private_key),
            certificate: text(&ssl.certificate),
            ca_cert: text(&ssl.ca_cert),
        }))
    }
}
