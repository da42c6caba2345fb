//! Why a peer was not authenticated, or an authenticated stream ended, and who is to blame.

use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::text::{MAX_TEXT_BYTES, bounded, harmless};
use crate::transport::Rejection;

/// Why a peer was not authenticated, or an authenticated stream ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// What came is no TLS.
    #[error(
        "what the other side sent is no TLS: is it started without certificates, or is another program there?"
    )]
    NotTls,
    /// The two sides' TLS do not fit each other.
    #[error("the other side's TLS does not fit: {0}; TLS 1.3 with a certificate is needed at both sides")]
    Incompatible(String),
    /// The certificate is missing or not good.
    #[error("the other side's certificate is not accepted: {0}")]
    Certificate(String),
    /// The certificate is good, and somebody else's.
    #[error("the other side is not who it should be: {0}")]
    Name(String),
    /// The other side said why it ends the connection.
    #[error("the other side ended the connection with the alert {alert}: {remedy}")]
    Alert {
        /// Its name in RFC 8446.
        alert: String,
        /// What that most often means.
        remedy: &'static str,
    },
    /// The peer broke the rules of TLS, or somebody changed what was on the way.
    #[error("the other side's TLS is broken, or was changed on the way: {0}")]
    Broken(String),
    /// More bytes than an authentication takes.
    #[error("the other side sent more than {0} bytes before it was authenticated")]
    TooLarge(usize),
    /// The peer was not authenticated in time.
    #[error("the other side was not authenticated within {0} s")]
    TooSlow(f64),
    /// The connection ended before the peer was authenticated.
    #[error("the connection ended before the other side was authenticated: its own message says more")]
    Closed,
    /// The connection broke before the peer was authenticated.
    #[error("the connection broke before the other side was authenticated: {0}")]
    Io(#[source] io::Error),
}

impl TlsError {
    /// In one word.
    #[must_use]
    pub const fn rejection(&self) -> Rejection {
        match self {
            Self::NotTls | Self::Incompatible(_) | Self::Broken(_) => Rejection::Protocol,
            Self::Certificate(_) => Rejection::Certificate,
            Self::Name(_) => Rejection::Name,
            Self::Alert { .. } => Rejection::Refused,
            Self::TooLarge(_) => Rejection::TooLarge,
            Self::TooSlow(_) => Rejection::TooSlow,
            Self::Closed | Self::Io(_) => Rejection::Broken,
        }
    }

    /// As the error of a stream that was authenticated before.
    pub(super) fn into_io(self) -> io::Error {
        let kind = match self {
            Self::Alert { .. } => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        use rustls::Error::{
            AlertReceived, InvalidCertificate, InvalidMessage as Invalid, NoCertificatesPresented,
            PeerIncompatible, PeerSentOversizedRecord,
        };
        match error {
            // What no TLS begins with; a length that no record has is how other protocols look most often.
            Invalid(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge,
            ) => Self::NotTls,
            PeerSentOversizedRecord => Self::NotTls,
            PeerIncompatible(reason) => Self::Incompatible(said(&format!("{reason:?}"))),
            NoCertificatesPresented => Self::Certificate("it has none".to_owned()),
            InvalidCertificate(reason) => of_certificate(&reason),
            AlertReceived(alert) => Self::Alert { alert: said(&format!("{alert:?}")), remedy: remedy(alert) },
            other => Self::Broken(said(&other.to_string())),
        }
    }
}

fn of_certificate(reason: &CertificateError) -> TlsError {
    match reason {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsError::Name(said(&reason.to_string()))
        }
        // A bad signature is that of an authority that has the name of the right one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            TlsError::Certificate("it is not signed by the authority that is trusted here".to_owned())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            TlsError::Certificate(
                "its extended key usage is another: the source's needs clientAuth, the destination's serverAuth"
                    .to_owned(),
            )
        }
        other => TlsError::Certificate(said(&other.to_string())),
    }
}

/// What a peer's alert most often means for whoever gets it.
fn remedy(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it does not trust the authority of this side's certificate"
        }
        AlertDescription::CertificateExpired => "this side's certificate has expired, or the clocks differ",
        AlertDescription::CertificateRequired => "this side has shown no certificate",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => {
            "it does not accept this side's certificate; its own message says more"
        }
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            "it has no version or cipher of TLS in common with this side"
        }
        _ => "its own message says more",
    }
}

/// The library's text may quote the peer.
fn said(text: &str) -> String {
    harmless(bounded(text, MAX_TEXT_BYTES).as_bytes())
}
