//! Destinations that do not fit, or do not trust: all of why is said at once, and the guest runs on at the source.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use pageferry_engine::handshake::{Answer, Offer, Versions};
use pageferry_engine::migration::{
    Arrival, DestinationConfig, Ended, Migration, Observer, SourceConfig, Whereabouts,
};
use pageferry_engine::receiver::Host;
use pageferry_engine::transport::tls::TlsRole;
use pageferry_engine::transport::{Dial, Dialer, Listener, PeerLimits, Security};
use pageferry_engine::vm::{Architecture, Machine};
use pageferry_tests::certificates::{Authority, Flaw, dialer, listener, security};
use pageferry_tests::hostile;
use pageferry_tests::peers::{self, METHODS};
use pageferry_tests::puppet::Puppet;
use pageferry_tests::watchdog::Watchdog;

use crate::scene::{PAGES, PATIENCE, TIMEOUT, nobody};

/// What a destination is, and whether it takes the guest at all.
struct Site {
    name: &'static str,
    pages: u64,
    host: Host,
    /// What the VMM says instead of making a guest.
    refusal: Option<&'static str>,
}

impl Site {
    fn of(name: &'static str, host: Host) -> Self {
        Self { name, pages: PAGES, host, refusal: None }
    }
}

fn machine(architecture: Architecture, features: &[&str]) -> Option<Machine> {
    let cpu_features: BTreeSet<_> = features.iter().map(|&name| name.to_owned()).collect();
    Some(Machine { architecture, cpu_model: "another".to_owned(), cpu_features })
}

/// Migrates there, with a guest that writes, and holds the source to keep it. Returns what each end says.
fn refused(site: Site, dial: Box<dyn Dial>, listener: Listener) -> (String, Option<String>) {
    let Site { name, pages, host, refusal } = site;
    let _watchdog = Watchdog::over(name);
    let source = Puppet::running(PAGES, 20, Duration::from_micros(200));
    let _power = source.power();
    let there = Puppet::waiting(pages);
    let vm = Box::new(there.clone());
    let receiving = thread::spawn(move || {
        let config = DestinationConfig { patience: PATIENCE, ..DestinationConfig::default() };
        let until = Some(Instant::now() + 2 * TIMEOUT);
        let arrival = Arrival::wait(Box::new(listener), config, until, nobody()).unwrap()?;
        match refusal {
            Some(reason) => {
                arrival.refuse(reason);
                None
            }
            None => Some(arrival.accept(vm, host, peers::cpu()).unwrap().wait()),
        }
    });
    let mut config = SourceConfig::new(peers::config(&METHODS));
    config.patience = PATIENCE;
    let observer: Observer = nobody();
    let handle = Box::new(source.clone());
    let ended = Migration::start(handle, dial, peers::cpu(), config, observer).unwrap().wait();
    let error = ended.result.expect_err(name).to_string();
    let look = source.look();
    assert_eq!(ended.guest, Whereabouts::Here, "{name}: {error}");
    assert!(look.running && !look.tracked, "{name}: {error}: {look:?}");
    let until = Instant::now() + Duration::from_secs(10);
    while source.look().writes == look.writes {
        assert!(Instant::now() < until, "{name}: the guest writes no more");
    }
    let said = receiving.join().unwrap().map(|Ended { guest, result, .. }| {
        assert_eq!(guest, Whereabouts::There, "{name}");
        result.expect_err(name).to_string()
    });
    assert!(!there.look().running, "{name}: {error}");
    (error, said)
}

fn plain() -> (Box<dyn Dial>, Listener) {
    let listener = listener(Security::Plain, PeerLimits::default());
    (Box::new(dialer(&listener, Security::Plain)), listener)
}

#[test]
fn whatever_does_not_fit_is_said_at_both_ends_and_all_of_it_at_once() {
    let here = Architecture::of_this_build();
    let other = if here == Architecture::X86_64 { Architecture::AARCH64 } else { Architecture::X86_64 };
    let memory = "MiB of memory, the destination can give it 0 MiB";
    let sites = [
        (
            Site::of("another architecture", Host { machine: machine(other, &["fpu"]), ..Host::default() }),
            vec!["choose a host of the guest's architecture"],
        ),
        (
            Site::of(
                "a CPU that lacks something",
                Host { machine: machine(here, &["sse"]), ..Host::default() },
            ),
            vec!["lacks: fpu"],
        ),
        (Site::of("no memory", Host { available_bytes: Some(4096), ..Host::default() }), vec![memory]),
        (Site { pages: PAGES + 1, ..Site::of("other memory", Host::default()) }, vec!["no such region"]),
        (
            Site {
                pages: PAGES + 1,
                ..Site::of("all at once", Host { machine: machine(here, &[]), available_bytes: Some(4096) })
            },
            vec!["lacks: fpu", memory, "no such region"],
        ),
        (
            Site {
                refusal: Some("there are no huge pages left for the guest"),
                ..Site::of("a VMM that cannot make the guest", Host::default())
            },
            vec!["there are no huge pages left for the guest"],
        ),
    ];
    for (site, words) in sites {
        let (name, is_vmm) = (site.name, site.refusal.is_some());
        let (dial, listener) = plain();
        let (error, said) = refused(site, dial, listener);
        for word in words {
            assert!(error.contains(word), "{name}: `{word}` is not in: {error}");
            let told = said.as_ref().is_some_and(|said| said.contains(word));
            assert!(told || is_vmm, "{name}: `{word}` is not in: {said:?}");
        }
    }
}

#[test]
fn a_version_that_is_too_new_is_refused_with_both_in_words() {
    let (_, listener) = plain();
    let dialer = dialer(&listener, Security::Plain);
    let offering = thread::spawn(move || {
        let mut connection = dialer.connect(TIMEOUT).unwrap();
        let offer = Offer { versions: Versions { min: 9, max: 9 }, ..hostile::offer(0, 1) };
        offer.write(&mut connection).unwrap();
        Answer::read(&mut connection).unwrap()
    });
    let until = Some(Instant::now() + Duration::from_secs(10));
    let config = DestinationConfig { patience: PATIENCE, ..DestinationConfig::default() };
    let arrival = Arrival::wait(Box::new(listener), config, until, nobody()).unwrap().expect("an offer");
    let vm = Puppet::waiting(hostile::PAGES);
    let ended = arrival.accept(Box::new(vm.clone()), Host::default(), peers::cpu()).unwrap().wait();
    let error = ended.result.unwrap_err().to_string();
    let words = "the source speaks version 9";
    let answer = offering.join().unwrap();
    assert!(error.contains(words), "{error}");
    assert!(matches!(&answer, Answer::Refused { text, .. } if text.contains(words)), "{answer:?}");
    assert!(!vm.look().running && ended.guest == Whereabouts::There);
}

#[test]
fn a_certificate_that_is_not_good_enough_leaves_the_guest_where_it_is() {
    let (authority, stranger) = (Authority::new(), Authority::named("strangers"));
    let good = |host: &str| authority.issue(host);
    let of_stranger = |host: &str| stranger.issue(host);
    let destination = "127.0.0.1";
    // One that is expired is not even tried; what comes of a peer's is in `transport`.
    for role in [TlsRole::Dials, TlsRole::Listens] {
        let error = authority.issue_flawed("source", Flaw::Expired).load(role).map(drop).unwrap_err();
        assert!(error.to_string().contains("expired"), "{role:?}: {error}");
    }
    // The source's files and the destination's; what the source says, and what the destination says of the connection.
    let cases = [
        ("a stranger's source", of_stranger("source"), good(destination), "authority", "trust"),
        ("a source of another name", good("thief"), good(destination), "does not accept", "thief"),
        ("a stranger's destination", good("source"), of_stranger(destination), "authority", "trust"),
        ("a destination of another name", good("source"), good("elsewhere"), "elsewhere", ""),
    ];
    for (name, here, there, error_words, rejection_words) in cases {
        let listens = security(there.load(TlsRole::Listens).unwrap(), Some("source"));
        let dials = security(here.load(TlsRole::Dials).unwrap(), None);
        let listener = listener(listens, PeerLimits::default());
        let rejections = listener.rejections();
        let dialer: Dialer = dialer(&listener, dials);
        let begun = Instant::now();
        let (error, said) = refused(Site::of(name, Host::default()), Box::new(dialer), listener);
        assert!(error.contains(error_words), "{name}: {error}");
        assert_eq!(said, None, "{name}: somebody arrived");
        let messages = rejections.take_messages();
        assert!(messages.iter().any(|words| words.contains(rejection_words)), "{name}: {messages:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{name}: it took {:?}", begun.elapsed());
    }
}
