//! The three files of a side: read, and held against each other before any peer is met.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{Tls, provider};
use crate::connection::PeerIdentity;
use crate::text::harmless;

/// Where a side's certificate, its key and the authority of the other side are. All are in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// This side's certificate, and after it those between it and the authority, if there are any.
    pub certificate: PathBuf,
    /// The private key of that certificate: PKCS #8, SEC 1 or PKCS #1, not encrypted.
    pub key: PathBuf,
    /// The authority that signs the certificates of both sides; several may follow each other.
    pub authority: PathBuf,
}

/// Which side of a connection a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsRole {
    /// It dials: a source.
    Dials,
    /// It listens: a destination.
    Listens,
}

/// Why the files of a side cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFileError {
    /// A file cannot be read.
    #[error("cannot read the {what} in {file}: {source}")]
    Read {
        /// Certificate, key or authority.
        what: &'static str,
        /// Where.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file is too long to be what it should be.
    #[error("{file} is longer than {MAX_FILE_BYTES} bytes: the {what} is in another file")]
    TooLong {
        /// Certificate, key or authority.
        what: &'static str,
        /// Where.
        file: String,
    },
    /// A file has no block of the kind that it should have.
    #[error("{file} holds no {what}: a block that begins with -----BEGIN {block}----- is needed")]
    NoBlock {
        /// Certificate, key or authority.
        what: &'static str,
        /// Where.
        file: String,
        /// The kind of block.
        block: &'static str,
    },
    /// A file's blocks are damaged.
    #[error("{file} is no {what} in PEM: {reason}")]
    Damaged {
        /// Certificate, key or authority.
        what: &'static str,
        /// Where.
        file: String,
        /// In what way.
        reason: String,
    },
    /// A key with a passphrase.
    #[error("the key in {0} is encrypted: write one without a passphrase (openssl pkey -in OLD -out NEW)")]
    EncryptedKey(String),
    /// A key of a kind that is not known.
    #[error(
        "the key in {file} cannot be used ({reason}): take ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more"
    )]
    Key {
        /// Where.
        file: String,
        /// What the library says.
        reason: String,
    },
    /// A key of another certificate.
    #[error(
        "the key in {key} is not that of the certificate in {certificate}: give the two that were made together"
    )]
    Mismatch {
        /// Where the key is.
        key: String,
        /// Where the certificate is.
        certificate: String,
    },
    /// A certificate whose time is over.
    #[error("the certificate in {0} has expired: have the authority sign a new one")]
    Expired(String),
    /// A certificate whose time has not come.
    #[error("the certificate in {0} is not valid yet: set the clock, or wait")]
    NotYet(String),
    /// A certificate of another authority.
    #[error(
        "the certificate in {certificate} is not signed by the authority in {authority}: give the authority that both sides' certificates are signed by"
    )]
    OtherAuthority {
        /// Where the certificate is.
        certificate: String,
        /// Where the authority is.
        authority: String,
    },
    /// A certificate that must not be used at this side of a connection.
    #[error(
        "the certificate in {certificate} is not for the side that {role}: its extended key usage needs {usage}"
    )]
    Usage {
        /// Where the certificate is.
        certificate: String,
        /// The side.
        role: TlsRole,
        /// The usage that it needs.
        usage: &'static str,
    },
    /// A certificate that is not good for another reason.
    #[error("the certificate in {certificate} cannot be used: {reason}")]
    Certificate {
        /// Where.
        certificate: String,
        /// What the library says.
        reason: String,
    },
}

/// No certificate with its chain, and no list of authorities that a host needs, is longer.
const MAX_FILE_BYTES: u64 = 1 << 20;

impl TlsFiles {
    /// Reads the files and holds them against each other: the key must be the certificate's, and the certificate must be
    /// one that the authority has signed, valid now, for this role.
    ///
    /// # Errors
    /// [`TlsFileError`] names the file and what to do about it.
    pub fn load(&self, role: TlsRole) -> Result<Tls, TlsFileError> {
        let provider = Arc::new(provider());
        let chain = certificates("certificate", &self.certificate)?;
        let authority = self.read_authority()?;
        self.check(&chain, &authority, &provider, role)?;
        let identity = PeerIdentity::of(&chain[0]);
        let own = self.certified_key(chain, &provider)?;
        Ok(Tls {
            provider,
            authority: Arc::new(authority),
            own: Arc::new(SingleCertAndKey::from(own)),
            identity,
            warnings: readable_by_others(&self.key).into_iter().collect(),
        })
    }

    fn read_authority(&self) -> Result<RootCertStore, TlsFileError> {
        let mut store = RootCertStore::empty();
        for certificate in certificates("authority", &self.authority)? {
            store.add(certificate).map_err(|error| TlsFileError::Damaged {
                what: "authority",
                file: name(&self.authority),
                reason: error.to_string(),
            })?;
        }
        Ok(store)
    }

    fn certified_key(
        &self,
        chain: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, TlsFileError> {
        let key = private_key(&self.key)?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsFileError::Mismatch { key: name(&self.key), certificate: name(&self.certificate) }
            }
            other => TlsFileError::Key { file: name(&self.key), reason: other.to_string() },
        })
    }

    /// What the other side will do with the certificate, done here first.
    fn check(
        &self,
        chain: &[CertificateDer<'static>],
        authority: &RootCertStore,
        provider: &CryptoProvider,
        role: TlsRole,
    ) -> Result<(), TlsFileError> {
        let (usage, usage_name) = match role {
            TlsRole::Dials => (KeyUsage::client_auth(), "clientAuth"),
            TlsRole::Listens => (KeyUsage::server_auth(), "serverAuth"),
        };
        let verify = || {
            let algorithms = provider.signature_verification_algorithms.all;
            let parsed = EndEntityCert::try_from(&chain[0])?;
            let now = UnixTime::now();
            parsed.verify_for_usage(algorithms, &authority.roots, &chain[1..], now, usage, None, None)?;
            Ok(())
        };
        let certificate = name(&self.certificate);
        verify().map_err(|error: webpki::Error| match error {
            webpki::Error::CertExpired { .. } => TlsFileError::Expired(certificate),
            webpki::Error::CertNotValidYet { .. } => TlsFileError::NotYet(certificate),
            // A bad signature is that of an authority that has the name of this one.
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
                TlsFileError::OtherAuthority { certificate, authority: name(&self.authority) }
            }
            webpki::Error::RequiredEkuNotFoundContext(_) => {
                TlsFileError::Usage { certificate, role, usage: usage_name }
            }
            webpki::Error::CaUsedAsEndEntity => TlsFileError::Certificate {
                certificate,
                reason: "it is an authority's own: have it sign one for this host".to_owned(),
            },
            other => TlsFileError::Certificate { certificate, reason: other.to_string() },
        })
    }
}

impl fmt::Display for TlsRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dials => "dials",
            Self::Listens => "listens",
        })
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let text = read(what, path)?;
    let blocks: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let none = TlsFileError::NoBlock { what, file: name(path), block: "CERTIFICATE" };
    match blocks {
        Ok(blocks) if blocks.is_empty() => Err(none),
        Ok(blocks) => Ok(blocks),
        Err(reason) => Err(damaged(what, path, &reason)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let text = read("key", path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|reason| match reason {
        pem::Error::NoItemsFound if is_encrypted(&text) => TlsFileError::EncryptedKey(name(path)),
        pem::Error::NoItemsFound => {
            TlsFileError::NoBlock { what: "key", file: name(path), block: "PRIVATE KEY" }
        }
        reason => damaged("key", path, &reason),
    })
}

fn is_encrypted(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let failed = |source| TlsFileError::Read { what, file: name(path), source };
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE_BYTES + 1), &mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(TlsFileError::TooLong { what, file: name(path) });
    }
    Ok(text)
}

/// Without the damaged bytes themselves: they may be a key's.
fn damaged(what: &'static str, path: &Path, reason: &pem::Error) -> TlsFileError {
    let reason = match reason {
        pem::Error::MissingSectionEnd { .. } => "a block has no end",
        pem::Error::IllegalSectionStart { .. } => "a block's first line is malformed",
        _ => "a block is no base64",
    };
    TlsFileError::Damaged { what, file: name(path), reason: reason.to_owned() }
}

fn readable_by_others(key: &Path) -> Option<String> {
    let mode = std::fs::metadata(key).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        format!(
            "the key in {0} may be used by others than its owner (mode {mode:03o}): chmod 600 {0}",
            name(key)
        )
    })
}

fn name(path: &Path) -> String {
    harmless(path.to_string_lossy().as_bytes())
}
