//! Peers that do not do what this project's do: TLS with whatever certificate, in whatever version, or none.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pageferry_engine::transport::tls::TlsFiles;
use pageferry_engine::transport::{Address, Listener};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// A source that is none of ours.
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Speaks TLS 1.3, and shows the certificate of these files, whatever it is.
    pub fn new(authority: &Path, files: Option<&TlsFiles>) -> Self {
        Self::speaking(&TLS13, authority, files)
    }

    /// Speaks TLS 1.2 alone.
    pub fn of_tls12(authority: &Path, files: &TlsFiles) -> Self {
        Self::speaking(&TLS12, authority, Some(files))
    }

    fn speaking(
        version: &'static rustls::SupportedProtocolVersion,
        authority: &Path,
        files: Option<&TlsFiles>,
    ) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots(authority));
        Self(Arc::new(match files {
            Some(files) => {
                let (chain, key) = certificate(files);
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        }))
    }

    /// Connects, without a word so far.
    pub fn dial(&self, listener: &Listener) -> StreamOwned<ClientConnection, TcpStream> {
        let name = "127.0.0.1".try_into().unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.0), name).unwrap(), connect(listener))
    }
}

/// A destination that is none of ours: shows the certificate of these files, whatever it is, to one source.
pub fn serve(authority: &Path, files: &TlsFiles) -> Address {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority), Arc::clone(&provider));
    let (chain, key) = certificate(files);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap().to_string());
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut session = ServerConnection::new(Arc::new(config)).unwrap();
        // How it ends is for the source to say.
        let _ = session.complete_io(&mut stream);
    });
    address
}

/// A connection on which nothing has been said.
pub fn connect(listener: &Listener) -> TcpStream {
    let Address::Tcp(place) = listener.address() else { panic!("{} is no TCP", listener.address()) };
    let stream = TcpStream::connect(place).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn roots(authority: &Path) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    Arc::new(roots)
}

fn certificate(files: &TlsFiles) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap().map(Result::unwrap);
    (chain.collect(), PrivateKeyDer::from_pem_file(&files.key).unwrap())
}
