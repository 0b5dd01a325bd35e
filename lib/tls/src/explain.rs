//! Why TLS failed, as a person would say it.

use rustls::{AlertDescription, CertificateError, Error};

/// A sentence about "it", the peer, without a full stop.
pub fn explain(error: &Error) -> String {
    match error {
        Error::NoCertificatesPresented => "it shows no certificate".into(),
        Error::InvalidCertificate(why) => certificate(why),
        Error::AlertReceived(alert) => refusal(*alert),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "it does not speak TLS".into()
        }
        Error::PeerIncompatible(why) => {
            format!("it speaks no TLS 1.2 or 1.3 that is known here ({why:?})")
        }
        other => format!("TLS failed: {other}"),
    }
}

fn certificate(why: &CertificateError) -> String {
    use CertificateError as Why;
    match why {
        Why::UnknownIssuer => "its certificate was not signed by our CA".into(),
        Why::BadSignature => "the signature of its certificate is wrong".into(),
        Why::Expired | Why::ExpiredContext { .. } => "its certificate has expired".into(),
        Why::NotValidYet | Why::NotValidYetContext { .. } => {
            "its certificate is not valid yet".into()
        }
        Why::InvalidPurpose | Why::InvalidPurposeContext { .. } => {
            "its certificate is not for this use".into()
        }
        other => format!("its certificate is not accepted: {other}"),
    }
}

fn refusal(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    match alert {
        Alert::UnknownCA => "it refuses our certificate: its CA did not sign it".into(),
        Alert::CertificateExpired => "it refuses our certificate: it has expired".into(),
        Alert::CertificateRequired | Alert::NoCertificate => {
            "it wants a certificate and got none".into()
        }
        Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateRevoked
        | Alert::UnsupportedCertificate
        | Alert::AccessDenied
        | Alert::DecryptError => format!("it refuses our certificate: {alert:?}"),
        other => format!("it ended the handshake: {other:?}"),
    }
}
