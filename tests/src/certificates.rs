//! Authorities, certificates and their files, as an operator would have made them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use pageferry_engine::connection::Connection;
use pageferry_engine::transport::tls::{PeerName, Tls, TlsFiles, TlsRole};
use pageferry_engine::transport::{Address, Dialer, Listen, Listener, PeerLimits, Security};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// An authority that signs certificates into files of its own folder.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// What is out of the ordinary with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    Early,
    /// It is for the other side of a connection.
    OtherUsage,
}

/// A wait of more than so long is a hang.
const PATIENCE: Duration = Duration::from_secs(60);

impl Authority {
    /// With a folder of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::named("migrations")
    }

    /// With a folder and a name of its own.
    ///
    /// # Panics
    /// If the folder cannot be made.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("authority.pem"), issuer.pem()).expect("a file");
        Self { issuer, folder }
    }

    /// Where its own certificate is.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Makes the files of a host.
    ///
    /// # Panics
    /// If the name is none, or the files cannot be written.
    #[must_use]
    pub fn issue(&self, host: &str) -> TlsFiles {
        self.issue_flawed(host, Flaw::None)
    }

    /// Makes the files of a host, with a flaw.
    ///
    /// # Panics
    /// If the name is none, or the files cannot be written.
    #[must_use]
    pub fn issue_flawed(&self, host: &str, flaw: Flaw) -> TlsFiles {
        let mut parameters = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        match flaw {
            Flaw::None => {}
            Flaw::Expired => parameters.not_after = date_time_ymd(2020, 1, 1),
            Flaw::Early => parameters.not_before = date_time_ymd(2500, 1, 1),
            Flaw::OtherUsage => {
                parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
            }
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        let place = tempfile::Builder::new().prefix(host).tempdir_in(&self.folder).expect("a folder").keep();
        let files = TlsFiles {
            certificate: place.join("certificate.pem"),
            key: place.join("key.pem"),
            authority: self.file(),
        };
        fs::write(&files.certificate, certificate.pem()).expect("a file");
        fs::write(&files.key, key.serialize_pem()).expect("a file");
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).expect("a file of ours");
        files
    }

    /// What a host that dials works by.
    ///
    /// # Panics
    /// If the files are not good.
    #[must_use]
    pub fn dials(&self, host: &str) -> Tls {
        self.issue(host).load(TlsRole::Dials).expect("good files")
    }

    /// What a host that listens works by.
    ///
    /// # Panics
    /// If the files are not good.
    #[must_use]
    pub fn listens(&self, host: &str) -> Tls {
        self.issue(host).load(TlsRole::Listens).expect("good files")
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// TLS with this certificate, and a name that the other side must have.
///
/// # Panics
/// If the name is none.
#[must_use]
pub fn security(tls: Tls, peer_name: Option<&str>) -> Security {
    Security::Tls { tls, peer_name: peer_name.map(|name| name.parse::<PeerName>().expect("a name")) }
}

/// A listener on a port of the loopback interface.
///
/// # Panics
/// If there is no port to have.
#[must_use]
pub fn listener(security: Security, limits: PeerLimits) -> Listener {
    let address = Address::Tcp("127.0.0.1:0".to_owned());
    Listener::bind(&address, security, Some(PATIENCE), limits).expect("a free port")
}

/// A dialer to a listener.
///
/// # Panics
/// If TLS cannot be used for its address.
#[must_use]
pub fn dialer(listener: &Listener, security: Security) -> Dialer {
    Dialer::new(listener.address().clone(), security, Some(PATIENCE)).expect("an address for TLS")
}

/// The next connection that comes.
///
/// # Panics
/// If none comes.
pub fn accept(listener: &mut Listener) -> Connection {
    let rejections = listener.rejections();
    let accepted = listener.accept(PATIENCE).expect("it listens");
    accepted.unwrap_or_else(|| panic!("no connection came: {:?}", rejections.take_messages()))
}

/// So many connections over TLS, by their ends.
///
/// # Panics
/// If one cannot be made.
#[must_use]
pub fn connections(count: usize) -> (Vec<Connection>, Vec<Connection>) {
    let authority = Authority::new();
    let mut listener =
        listener(security(authority.listens("127.0.0.1"), Some("source")), PeerLimits::default());
    let dialer = dialer(&listener, security(authority.dials("source"), None));
    let pair = || (dialer.connect(PATIENCE).expect("somebody listens"), accept(&mut listener));
    std::iter::repeat_with(pair).take(count).unzip()
}
