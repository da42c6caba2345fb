//! The three files of a side, and everything that can be wrong with them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use pageferry_engine::transport::tls::{TlsFileError, TlsFiles, TlsRole};
use pageferry_tests::certificates::{Authority, Flaw};

fn refused(files: &TlsFiles) -> TlsFileError {
    match files.load(TlsRole::Dials) {
        Err(error) => error,
        Ok(tls) => panic!("{files:?} are taken: {tls:?}"),
    }
}

/// The message names the file, and has these words.
fn says(error: &TlsFileError, file: &std::path::Path, words: &str) {
    let message = error.to_string();
    assert!(message.contains(&file.display().to_string()), "`{message}` does not name {}", file.display());
    assert!(message.contains(words), "`{words}` is not in `{message}`");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let authority = Authority::new();
    let (files, gone) = (authority.issue("host"), PathBuf::from("/nowhere/at/all.pem"));
    for broken in [
        TlsFiles { certificate: gone.clone(), ..files.clone() },
        TlsFiles { key: gone.clone(), ..files.clone() },
        TlsFiles { authority: gone.clone(), ..files },
    ] {
        says(&refused(&broken), &gone, "No such file");
    }
}

#[test]
fn a_file_without_the_block_that_it_needs_is_named() {
    let authority = Authority::new();
    let files = authority.issue("host");
    let swapped =
        TlsFiles { certificate: files.key.clone(), key: files.certificate.clone(), ..files.clone() };
    says(&refused(&swapped), &files.key, "BEGIN CERTIFICATE");
    let no_key = TlsFiles { key: files.certificate.clone(), ..files.clone() };
    says(&refused(&no_key), &files.certificate, "BEGIN PRIVATE KEY");
    fs::write(&files.certificate, "").unwrap();
    says(&refused(&files), &files.certificate, "holds no certificate");
}

#[test]
fn a_damaged_file_is_named_and_not_quoted() {
    let authority = Authority::new();
    let files = authority.issue("host");
    let text = fs::read_to_string(&files.key).unwrap();
    let secret = text.lines().nth(1).unwrap().to_owned();
    for damaged in
        [text.replace("-----END PRIVATE KEY-----", ""), text.replacen(&secret, &format!("{secret}*"), 1)]
    {
        fs::write(&files.key, &damaged).unwrap();
        let error = refused(&files);
        says(&error, &files.key, "is no key in PEM");
        assert!(!error.to_string().contains(&secret), "a key is printed: {error}");
    }
    fs::write(&files.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    says(&refused(&files), &files.key, "cannot be used");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(&files.key, encrypted).unwrap();
    says(&refused(&files), &files.key, "openssl pkey");
    fs::write(&files.key, vec![b'\n'; (1 << 20) + 1]).unwrap();
    says(&refused(&files), &files.key, "is longer than");
}

#[test]
fn a_key_of_another_certificate_is_found_out() {
    let authority = Authority::new();
    let (files, other) = (authority.issue("host"), authority.issue("host"));
    says(
        &refused(&TlsFiles { key: other.key.clone(), ..files }),
        &other.key,
        "is not that of the certificate",
    );
}

#[test]
fn a_certificate_of_another_authority_is_found_out() {
    let authority = Authority::new();
    for name in ["another", "migrations"] {
        let other = Authority::named(name);
        let files = TlsFiles { authority: other.file(), ..authority.issue("host") };
        says(&refused(&files), &other.file(), "not signed by the authority");
    }
}

#[test]
fn a_certificate_that_no_peer_would_take_is_found_out() {
    let authority = Authority::new();
    for (flaw, words) in [
        (Flaw::Expired, "has expired"),
        (Flaw::Early, "is not valid yet"),
        (Flaw::OtherUsage, "needs clientAuth"),
    ] {
        let files = authority.issue_flawed("host", flaw);
        says(&refused(&files), &files.certificate, words);
    }
    let files = authority.issue("host");
    let own = TlsFiles { certificate: authority.file(), ..files };
    says(&refused(&own), &authority.file(), "it is an authority's own");
}

#[test]
fn a_key_that_others_may_read_is_warned_of() {
    let authority = Authority::new();
    let files = authority.issue("host");
    assert_eq!(files.load(TlsRole::Listens).unwrap().warnings(), [""; 0]);
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).unwrap();
    let warnings = files.load(TlsRole::Listens).unwrap().warnings().to_vec();
    assert!(
        matches!(&warnings[..], [one] if one.contains("mode 640") && one.contains("chmod 600")),
        "{warnings:?}"
    );
}

/// The commands of the page that operators follow.
#[test]
fn the_files_that_the_documented_commands_make_are_good() {
    const PAGE: &str = include_str!("../../../engine/src/transport/tls/CERTIFICATES.md");
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: there is no openssl here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let blocks = PAGE.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let script: String = blocks.collect();
    let ran = Command::new("sh").args(["-ec", &script]).current_dir(&folder).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let file = |name: &str| folder.path().join(name);
    let files =
        TlsFiles { certificate: file("host.pem"), key: file("host.key"), authority: file("authority.pem") };
    for role in [TlsRole::Dials, TlsRole::Listens] {
        let tls = files.load(role).unwrap();
        assert_eq!((tls.identity().name(), tls.warnings()), (Some("host.example"), &[][..]));
    }
}
