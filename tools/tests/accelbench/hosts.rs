//! `send` and `recv`, as between two hosts, and ends that do not behave.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::guest::{AnonymousMemory, GuestRam};
use pageferry_accel::method::Method;
use pageferry_accel::queue::Accelerator;
use pageferry_accel::units::{Gpa, PageIndex, PageSize};
use pageferry_engine::connection::Connection;
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::selector::Selector;
use pageferry_engine::sender::{Sender, SenderConfig};
use serde_json::{Value, json};

use super::{Ended, accelbench, ended, run};

/// A receiver that listens.
pub(super) struct Receiver {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    pub(super) address: String,
}

impl Receiver {
    pub(super) fn start(listen: &str, arguments: &[&str]) -> Self {
        let mut command = accelbench(&[&["recv", "--listen", listen], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.split(' ').find(|word| word.starts_with("tcp:") || word.starts_with("unix:"));
        let address = address.unwrap_or_else(|| panic!("no address in {line}")).to_owned();
        Self { child, stderr, address }
    }

    pub(super) fn end(mut self) -> Ended {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        let output = self.child.wait_with_output().unwrap();
        Ended { stderr: said, ..ended(output) }
    }
}

fn socket(folder: &Path) -> String {
    format!("unix:{}", folder.join("a.sock").display())
}

#[test]
fn both_hosts_report_the_same_migration() {
    let folder = tempfile::tempdir().unwrap();
    for listen in [&*socket(folder.path()), "tcp:127.0.0.1:0"] {
        let receiver = Receiver::start(listen, &["--format", "json"]);
        let arguments = ["--size", "2M", "--rounds", "3", "--method", "zstd+delta", "--connections", "3"];
        let sent =
            run(&[&["send", "--to", &receiver.address, "--format", "json"], &arguments[..]].concat()).json();
        let received = receiver.end().json();
        let (sent, received) = (&sent["results"][0], &received["results"][0]);
        assert_eq!(sent["verified"], true, "{sent}");
        let of_the_source = ["timeline", "latency", "choices"];
        let told = |report: &serde_json::Value| {
            let mut report = report.as_object().unwrap().clone();
            report.retain(|field, _| !of_the_source.contains(&&**field));
            report
        };
        // How it went is what the source saw, and is too much to be told.
        assert_eq!(told(sent), told(received));
        assert!(!sent["latency"].as_array().unwrap().is_empty(), "{sent}");
        assert!(
            sent["destination_cpu_us_per_page"].is_number() && sent["source_cpu_us_per_page"].is_number()
        );
    }
}

#[test]
fn memory_is_not_compared_where_the_source_does_not_ask_for_it() {
    let receiver = Receiver::start("tcp:127.0.0.1:0", &["--format", "json"]);
    let sent =
        run(&["send", "--to", &receiver.address, "--size", "1M", "--no-verify", "--format", "json"]).json();
    assert_eq!(
        (&sent["results"][0]["verified"], &receiver.end().json()["results"][0]["verified"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn a_stream_that_leaves_the_machine_is_plain_on_request_alone_and_called_so() {
    let receiver = Receiver::start("tcp:0.0.0.0:0", &["--plain"]);
    let port = receiver.address.rsplit_once(':').unwrap().1;
    let sent = run(&["send", "--to", &format!("tcp:127.0.0.1:{port}"), "--size", "1M"]);
    assert!(sent.code == Some(0) && !sent.stderr.contains("not encrypted"), "{sent:?}");
    let received = receiver.end();
    assert!(received.code == Some(0) && received.stderr.contains("not encrypted"), "{received:?}");
    assert!(received.stderr.contains("--tls-certificate"), "{received:?}");
}

#[test]
fn sending_to_nobody_fails_and_says_what_to_start() {
    let folder = tempfile::tempdir().unwrap();
    for address in [&*socket(folder.path()), "tcp:127.0.0.1:1"] {
        let reason = format!("accelbench recv --listen {address}");
        run(&["send", "--to", address, "--size", "1M"]).fails(1, &["nobody listens", &reason]);
    }
}

#[test]
fn an_address_that_cannot_be_had_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    std::fs::write(&taken, []).unwrap();
    let address = format!("unix:{}", taken.display());
    run(&["recv", "--listen", &address]).fails(1, &["cannot listen", "remove a left-over file"]);
    assert!(taken.exists(), "somebody else's file is left alone");
}

#[test]
fn a_guest_larger_than_allowed_is_refused_at_both_ends() {
    let receiver = Receiver::start("tcp:127.0.0.1:0", &["--max-memory", "1M"]);
    let reason = "the guest has 2 MiB of memory, 1 MiB are allowed here";
    run(&["send", "--to", &receiver.address, "--size", "2M"]).fails(1, &[reason, "--max-memory"]);
    receiver.end().fails(1, &[reason]);
}

#[test]
fn a_connection_that_is_no_migration_does_not_end_the_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&socket(folder.path()), &["--format", "json"]);
    let mut stray = UnixStream::connect(folder.path().join("a.sock")).unwrap();
    stray.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let sent = run(&["send", "--to", &receiver.address, "--size", "1M"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let received = receiver.end();
    assert!(received.stderr.contains("a connection was dropped"), "{received:?}");
    assert_eq!(received.json()["results"][0]["verified"], true);
}

/// A source of our own: it sends a guest of 4 MiB as it should, and then says what `after` says.
fn send_and_say(socket: &Path, after: impl FnOnce(&mut Connection)) {
    let memory = AnonymousMemory::new(&[(Gpa(0), 4 << 20)]).unwrap();
    let ram = Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap());
    ram.copy_in(PageIndex(700), &[7; 4096]);
    let stream = UnixStream::connect(socket).unwrap();
    let connection = Connection::unix(stream, Some(Duration::from_secs(30))).unwrap();
    let cpu: Vec<Arc<dyn Accelerator>> =
        vec![Arc::new(Cpu::new(CpuConfig { workers: 1, ..CpuConfig::default() }))];
    let config = SenderConfig::new(MigrationId([3; 16]), Selector::fixed(Method::Raw));
    let mut sender = Sender::new(Arc::clone(&ram), &cpu, vec![connection], config).unwrap();
    sender.send_round(&DirtyBitmap::all(&ram)).unwrap();
    let (_, mut connections) = sender.finish().unwrap();
    after(&mut connections[0]);
}

fn write(connection: &mut Connection, message: &[u8]) {
    let length = u32::try_from(message.len()).unwrap();
    // A receiver that has seen enough may have closed.
    let _ = connection.write_all(&[&length.to_le_bytes()[..], message].concat());
}

fn read(connection: &mut Connection) -> Value {
    let mut length = [0; 4];
    connection.read_exact(&mut length).unwrap();
    let mut message = vec![0; u32::from_le_bytes(length) as usize];
    connection.read_exact(&mut message).unwrap();
    serde_json::from_slice(&message).unwrap()
}

/// What a source says of itself after a migration of one page.
fn closing() -> Value {
    json!({ "verify": true, "figures": {
        "method": "raw", "seconds": 1.0, "cpu_us": null, "sender_cpu_us": 9.5, "rounds": 1, "pages": 1, "zero_pages": 1023,
        "source_bytes": 4096, "wire_bytes": 5000, "delta_bytes": [0, 0],
        "request_us": { "p50": 1.0, "p99": 1.0, "max": 1.0 }, "pages_by_method": { "raw": 1 },
        "fallbacks": {
            "no_baseline_pages": 0, "overflow_pages": 0, "did_not_shrink_pages": 0, "page_faults_resumed": 0,
            "page_faults_on_cpu": 0, "copied_pages": 0, "queue_full_requests": 0, "queue_gone_requests": 0,
            "device_failed_requests": 0, "deadline_requests": 0, "misdecoded_requests": 0, "quarantined_queues": 0,
            "probes": 0, "readmitted_queues": 0
        },
        "baselines": { "hits": 0, "misses": 0, "refused": 0, "evictions": 0 },
        "accelerators": [{ "accelerator": "cpu", "provenance": "cpu", "requests": 17, "pages": 1024 }]
    } })
}

#[test]
fn memory_that_differs_exits_4_and_names_the_range() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&socket(folder.path()), &["--format", "json"]);
    send_and_say(&folder.path().join("a.sock"), |connection| {
        write(connection, closing().to_string().as_bytes());
        let mut digests = read(connection)["digests"].clone();
        assert_eq!(digests.as_array().unwrap().len(), 2);
        digests[1] = json!("0123456789abcdef0123456789abcdef");
        write(connection, json!({ "digests": digests }).to_string().as_bytes());
    });
    let received = receiver.end();
    assert_eq!(received.code, Some(4), "{received:?}");
    assert!(received.stderr.contains("in 1 of 2 blocks, first from 0x200000 to 0x400000"), "{received:?}");
    let report: Value = serde_json::from_str(&received.stdout).unwrap();
    assert_eq!(report["results"][0]["verified"], false);
}

#[test]
fn a_source_that_says_nonsense_after_the_migration_gets_an_error_of_its_own() {
    let mut hostile = closing();
    hostile["figures"]["method"] = json!("\u{1b}[2Jraw");
    for (message, reason) in [
        (b"{}".to_vec(), "makes no sense"),
        (hostile.to_string().into_bytes(), "makes no sense"),
        (vec![b' '; 1 << 20], "1048576 bytes after the migration"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(&socket(folder.path()), &[]);
        send_and_say(&folder.path().join("a.sock"), |connection| write(connection, &message));
        let received = receiver.end();
        received.fails(1, &[reason]);
        assert!(!received.stderr.contains('\x1b'), "{received:?}");
    }
}
