//! Who is who: every reason for which either side must not take the other.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use pageferry_engine::handshake::HandshakeError;
use pageferry_engine::receiver::Incoming;
use pageferry_engine::transport::tls::{Tls, TlsError, TlsRole};
use pageferry_engine::transport::{DialError, Dialer, Listen, Listener, PeerLimits, Rejection, Security};
use pageferry_tests::certificates::{Authority, Flaw, accept, dialer, listener, security};

use super::rogue;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the listener has turned one away for this reason, and returns what it said.
pub fn rejected(listener: &Listener, reason: Rejection) -> String {
    rejected_times(listener, reason, 1)
}

/// Waits until the listener has turned so many away for this reason, and returns what it said of them since it was last
/// asked.
pub fn rejected_times(listener: &Listener, reason: Rejection, times: u64) -> String {
    let (begun, rejections) = (Instant::now(), listener.rejections());
    while rejections.count(reason) < times {
        assert!(begun.elapsed() < PATIENCE, "nobody is rejected for {reason:?}: {rejections:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    rejections.take_messages().join("; ")
}

/// Dials with what should fail at the destination, and returns what both sides say.
fn refused_by_destination(listener: &mut Listener, source: Tls, reason: Rejection) -> (String, String) {
    // The source has done its part when it shows its certificate, and learns only then what became of it.
    let mut connection = dialer(listener, security(source, None)).connect(PATIENCE).unwrap();
    let error = connection.read(&mut [0]).unwrap_err();
    let said = rejected(listener, reason);
    assert!(listener.accept(Duration::ZERO).unwrap().is_none(), "a stranger got in");
    (error.to_string(), said)
}

fn refused_by_source(listener: &Listener, source: Security) -> TlsError {
    match dialer(listener, source).connect(PATIENCE) {
        Err(DialError::Tls { source, .. }) => source,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the source has not noticed"),
    }
}

#[test]
fn both_sides_learn_who_the_other_is() {
    let authority = Authority::new();
    let (source, destination) = (authority.dials("source.example"), authority.listens("127.0.0.1"));
    let mut listener = listener(security(destination.clone(), Some("source.example")), PeerLimits::default());
    let ours = dialer(&listener, security(source.clone(), None)).connect(PATIENCE).unwrap();
    let theirs = accept(&mut listener);
    assert_eq!((ours.peer(), theirs.peer()), (Some(destination.identity()), Some(source.identity())));
    assert_ne!(source.identity().fingerprint(), destination.identity().fingerprint());
    assert_eq!(theirs.peer().unwrap().name(), Some("source.example"));
    assert!(theirs.peer().unwrap().to_string().starts_with("source.example (certificate "));
    assert_eq!(listener.rejections().total(), 0);
}

#[test]
fn a_source_of_another_authority_is_refused_and_told() {
    for name in ["another", "migrations"] {
        source_of(&Authority::named(name), &Authority::named("migrations"));
    }
}

fn source_of(other: &Authority, authority: &Authority) {
    let mut files = other.issue("source");
    let mut listener = listener(security(authority.listens("127.0.0.1"), None), PeerLimits::default());
    // It trusts the destination, which does not trust it.
    let both = [std::fs::read(other.file()).unwrap(), std::fs::read(authority.file()).unwrap()].concat();
    files.authority = files.certificate.with_file_name("both.pem");
    std::fs::write(&files.authority, both).unwrap();
    let source = files.load(TlsRole::Dials).unwrap();
    let (error, said) = refused_by_destination(&mut listener, source, Rejection::Certificate);
    assert!(error.contains("does not trust the authority of this side's certificate"), "{error}");
    assert!(said.contains("not signed by the authority"), "{said}");
    assert!(said.contains("a connection from 127.0.0.1:"), "{said}");
}

#[test]
fn a_destination_of_another_authority_is_refused_and_told() {
    for name in ["another", "migrations"] {
        destination_of(&Authority::named(name), &Authority::named("migrations"));
    }
}

fn destination_of(other: &Authority, authority: &Authority) {
    let listener = listener(security(other.listens("127.0.0.1"), None), PeerLimits::default());
    let error = refused_by_source(&listener, security(authority.dials("source"), None));
    assert!(matches!(&error, TlsError::Certificate(reason) if reason.contains("authority")), "{error}");
    let said = rejected(&listener, Rejection::Refused);
    assert!(said.contains("does not trust the authority"), "{said}");
}

#[test]
fn a_source_of_another_name_is_refused_and_told() {
    let authority = Authority::new();
    let destination = security(authority.listens("127.0.0.1"), Some("source"));
    let mut listener = listener(destination, PeerLimits::default());
    let (error, said) = refused_by_destination(&mut listener, authority.dials("thief"), Rejection::Name);
    assert!(error.contains("does not accept this side's certificate"), "{error}");
    assert!(said.contains("thief") && said.contains("source"), "{said}");
}

#[test]
fn a_destination_of_another_name_is_refused() {
    let authority = Authority::new();
    let listener = listener(security(authority.listens("destination"), None), PeerLimits::default());
    let source = authority.dials("source");
    for name in [None, Some("other"), Some("127.0.0.1")] {
        let error = refused_by_source(&listener, security(source.clone(), name));
        assert!(matches!(&error, TlsError::Name(_)), "{error}");
    }
    let connected = dialer(&listener, security(source, Some("destination"))).connect(PATIENCE);
    assert!(connected.is_ok(), "{:?}", connected.err());
}

#[test]
fn a_source_whose_certificate_is_not_good_is_refused_and_told() {
    let authority = Authority::new();
    for (flaw, error, said) in [
        (Flaw::Expired, "CertificateExpired", "expired"),
        (Flaw::Early, "CertificateExpired", "not valid yet"),
        (Flaw::OtherUsage, "UnsupportedCertificate", "clientAuth"),
    ] {
        let listener = listener(security(authority.listens("127.0.0.1"), None), PeerLimits::default());
        let files = authority.issue_flawed("source", flaw);
        let alert = rogue::Client::new(&authority.file(), Some(&files)).dial(&listener).read(&mut [0]);
        let alert = alert.unwrap_err().to_string();
        assert!(alert.contains(error), "{flaw:?}: {alert}");
        let words = rejected(&listener, Rejection::Certificate);
        assert!(words.contains(said), "{flaw:?}: {words}");
    }
}

#[test]
fn a_destination_whose_certificate_is_not_good_is_refused() {
    let authority = Authority::new();
    let source = authority.dials("source");
    for (flaw, said) in
        [(Flaw::Expired, "expired"), (Flaw::Early, "not valid yet"), (Flaw::OtherUsage, "serverAuth")]
    {
        let address = rogue::serve(&authority.file(), &authority.issue_flawed("127.0.0.1", flaw));
        let dialer = Dialer::new(address, security(source.clone(), None), None).unwrap();
        let error = dialer.connect(PATIENCE).map(drop).unwrap_err();
        let DialError::Tls { source: error @ TlsError::Certificate(_), .. } = &error else {
            panic!("{flaw:?}: {error}");
        };
        assert!(error.to_string().contains(said), "{flaw:?}: {error}");
    }
}

#[test]
fn a_source_without_a_certificate_is_refused_and_told() {
    let authority = Authority::new();
    let listener = listener(security(authority.listens("127.0.0.1"), None), PeerLimits::default());
    let alert = rogue::Client::new(&authority.file(), None).dial(&listener).read(&mut [0]).unwrap_err();
    assert!(alert.to_string().contains("CertificateRequired"), "{alert}");
    assert!(rejected(&listener, Rejection::Certificate).contains("it has none"));
}

#[test]
fn an_older_tls_is_refused() {
    let authority = Authority::new();
    let listener = listener(security(authority.listens("127.0.0.1"), None), PeerLimits::default());
    let client = rogue::Client::of_tls12(&authority.file(), &authority.issue("source"));
    let alert = client.dial(&listener).read(&mut [0]).unwrap_err();
    assert!(alert.to_string().contains("ProtocolVersion"), "{alert}");
    let said = rejected(&listener, Rejection::Protocol);
    assert!(said.contains("TLS 1.3 with a certificate is needed"), "{said}");
}

#[test]
fn a_plain_source_at_a_tls_listener_is_refused() {
    let authority = Authority::new();
    let listener = listener(security(authority.listens("127.0.0.1"), None), PeerLimits::default());
    for (bytes, times) in
        [(&b"PFRH an offer without protection"[..], 1), (b"GET / HTTP/1.1\r\n\r\n", 2), (&[0; 64], 3)]
    {
        let mut stream = rogue::connect(&listener);
        stream.write_all(bytes).unwrap();
        let said = rejected_times(&listener, Rejection::Protocol, times);
        assert!(said.contains("is no TLS: is it started without certificates"), "{said}");
    }
}

#[test]
fn a_tls_source_at_a_plain_listener_fails_and_says_why() {
    let authority = Authority::new();
    let mut listener = listener(Security::Plain, PeerLimits::default());
    let dialer = dialer(&listener, security(authority.dials("source"), None));
    let source = std::thread::spawn(move || dialer.connect(PATIENCE).map(drop));
    let error = Incoming::begin(accept(&mut listener)).map(drop).unwrap_err();
    assert!(matches!(error, HandshakeError::Magic { .. }), "{error}");
    let error = source.join().unwrap().unwrap_err();
    assert!(matches!(&error, DialError::Tls { source: TlsError::NotTls, .. }), "{error}");
}
