//! Who is at the other end of an authenticated connection.

use std::fmt;

use rustls_pki_types::CertificateDer;

use crate::digest::sha256;
use crate::text::{MAX_TEXT_BYTES, bounded, harmless};

/// Who is at the other end of a connection: the certificate that it proved to have the key of.
///
/// Two connections are of the same peer if their certificates are the same, byte for byte; the name is for people.
#[derive(Clone, Debug)]
pub struct PeerIdentity {
    fingerprint: [u8; 32],
    name: Option<String>,
}

impl PeerIdentity {
    /// Of a certificate that has been verified.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let parsed = webpki::EndEntityCert::try_from(certificate).ok();
        let name = parsed.as_ref().and_then(|parsed| parsed.valid_dns_names().next());
        Self {
            fingerprint: sha256(certificate),
            name: name.map(|name| harmless(bounded(name, MAX_TEXT_BYTES).as_bytes())),
        }
    }

    /// The SHA-256 of the certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// The first DNS name of the certificate, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl PartialEq for PeerIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for PeerIdentity {}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (certificate ", self.name().unwrap_or("a peer without a DNS name"))?;
        self.fingerprint[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
