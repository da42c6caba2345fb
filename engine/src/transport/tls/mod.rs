//! TLS 1.3 with both sides authenticated, and nothing else: no older version, no resumption, no early data.
//!
//! Each side has a certificate, its key, and the authority that signed the other side's ([`TlsFiles`]). Whoever dials also
//! holds the other's certificate against the name that was dialled, or another one; whoever listens takes every certificate
//! of the authority, or those of one name. `CERTIFICATES.md` beside this file shows how to make them.
//!
//! A migration of memory is worth an authority of its own: every certificate that it signs may send a guest, or receive one.

mod error;
mod files;
mod handshake;
mod stream;
mod verify;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::ServerName;

pub use error::TlsError;
pub use files::{TlsFileError, TlsFiles, TlsRole};
pub(super) use handshake::{Handshake, Step};

use super::Address;
use crate::connection::PeerIdentity;
use verify::NamedClients;

/// How connections are protected.
#[derive(Clone, Debug)]
pub enum Security {
    /// Not at all: whoever is on the way reads and changes the guest's memory.
    Plain,
    /// By TLS 1.3, both sides authenticated.
    Tls {
        /// This side's certificate, and the authority that signs those of the other side.
        tls: Tls,
        /// Whose certificate the other side must have. Without it, a dialer asks for the host of the address, and a
        /// listener takes every certificate of the authority.
        peer_name: Option<PeerName>,
    },
}

/// A certificate, its key, and an authority, ready to be used. Clones share them.
#[derive(Clone)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    authority: Arc<RootCertStore>,
    own: Arc<SingleCertAndKey>,
    identity: PeerIdentity,
    warnings: Vec<String>,
}

/// The name of a host as its certificate states it: a DNS name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerName(ServerName<'static>);

/// Text that is no name of a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name that a certificate can have: write a DNS name or an IP address")]
pub struct NoPeerName(String);

impl Tls {
    /// What an operator should know about the files.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// This side's own identity, as the other side will see it.
    #[must_use]
    pub const fn identity(&self) -> &PeerIdentity {
        &self.identity
    }

    /// What a side that dials works by.
    fn client(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let versions = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let mut config = versions
            .with_root_certificates(Arc::clone(&self.authority))
            .with_client_cert_resolver(self.own.clone());
        config.resumption = Resumption::disabled();
        config.max_fragment_size = Some(RECORD_BYTES);
        Ok(Arc::new(config))
    }

    /// What a side that listens works by.
    fn server(&self, peer_name: Option<&PeerName>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let verifier = NamedClients::new(self, peer_name.map(|name| name.0.clone()))?;
        let versions = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let mut config =
            versions.with_client_cert_verifier(Arc::new(verifier)).with_cert_resolver(self.own.clone());
        config.max_fragment_size = Some(RECORD_BYTES);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// A dialer's half of [`Security`], resolved.
#[derive(Clone)]
pub(super) struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// A listener's half of [`Security`], resolved.
#[derive(Clone)]
pub(super) struct TlsServer(Arc<ServerConfig>);

impl TlsClient {
    pub(super) fn new(
        tls: &Tls,
        peer_name: Option<PeerName>,
        address: &Address,
    ) -> Result<Self, TlsSetupError> {
        let name = match (peer_name, address.host()) {
            (Some(name), _) => name,
            (None, Some(host)) => host.parse()?,
            (None, None) => return Err(TlsSetupError::Nameless),
        };
        Ok(Self { config: tls.client().map_err(TlsSetupError::Config)?, name: name.0 })
    }

    pub(super) fn session(&self) -> Result<rustls::Connection, rustls::Error> {
        let session = rustls::ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        session.map(rustls::Connection::from)
    }
}

impl TlsServer {
    pub(super) fn new(tls: &Tls, peer_name: Option<&PeerName>) -> Result<Self, TlsSetupError> {
        tls.server(peer_name).map(Self).map_err(TlsSetupError::Config)
    }

    pub(super) fn session(&self) -> Result<rustls::Connection, rustls::Error> {
        rustls::ServerConnection::new(Arc::clone(&self.0)).map(rustls::Connection::from)
    }
}

/// Why TLS cannot be used for an address, whoever the peer is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// The address has no host that a certificate could be held against.
    #[error("a Unix socket has no host name to hold the other side's certificate against: state a name")]
    Nameless,
    /// The host of the address is none that a certificate can state.
    #[error("{0}, beside the address")]
    Name(#[from] NoPeerName),
    /// What the library says.
    #[error("TLS cannot be set up: {0}")]
    Config(rustls::Error),
}

impl FromStr for PeerName {
    type Err = NoPeerName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ServerName::try_from(text.to_owned()).map(Self).map_err(|_| NoPeerName(text.to_owned()))
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_str())
    }
}

impl fmt::Debug for Tls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The longest record that is sent, where 16 KiB are allowed.
///
/// Whoever receives it copies it twice, and from some 8 KiB on the C library of today copies by an instruction that is far
/// slower on some CPUs; twice as many bytes a second came through by records of this length, for 0.5% more of them.
const RECORD_BYTES: usize = 4096;

/// AES of 128 bits first: it is as good as 256 for what lives as long as a migration does, and a quarter faster.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
            ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
            ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..ring::default_provider()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names_and_addresses() {
        for text in ["host.example", "host", "192.0.2.1", "2001:db8::1"] {
            assert_eq!(text.parse::<PeerName>().unwrap().to_string(), text);
        }
        for text in ["", "-", "a b", "host:80", "[::1]"] {
            assert_eq!(text.parse::<PeerName>(), Err(NoPeerName(text.to_owned())), "{text}");
        }
    }
}
