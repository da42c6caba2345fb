//! Claims to a migration: by many at once, by processes that are killed, and where something else is in their place.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use pageferry_engine::frame::End;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::migration::{Arbiter, ArbiterError, FileArbiter, Switchover};
use tempfile::tempdir;

const SIDES: [End; 2] = [End::Source, End::Destination];

fn switchover(number: u32) -> Switchover {
    let mut id = [0xab; 16];
    id[..4].copy_from_slice(&number.to_le_bytes());
    Switchover { migration: MigrationId(id), attempt: number % 3 }
}

/// All that is in the folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_first_to_claim_has_it_whoever_asks_and_however_often() {
    let folder = tempdir().unwrap();
    let arbiter = || FileArbiter::new(folder.path()).unwrap();
    for (number, first) in [(1, End::Source), (2, End::Destination)] {
        assert_eq!(arbiter().claim(switchover(number), first).unwrap(), first);
        for side in SIDES.into_iter().cycle().take(6) {
            assert_eq!(arbiter().claim(switchover(number), side).unwrap(), first, "asked by the {side}");
        }
    }
}

#[test]
fn of_many_threads_that_claim_at_once_all_learn_of_the_same_side() {
    let folder = tempdir().unwrap();
    let arbiter = Arc::new(FileArbiter::new(folder.path()).unwrap());
    let mut winners = BTreeSet::new();
    for number in 0..60 {
        let barrier = Arc::new(Barrier::new(8));
        let first = usize::from(number % 2 == 0);
        let claimants = SIDES.into_iter().cycle().skip(first).take(8).map(|side| {
            let (arbiter, barrier) = (Arc::clone(&arbiter), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                arbiter.claim(switchover(number), side).unwrap()
            })
        });
        let claimants: Vec<_> = claimants.collect();
        let answers: Vec<_> = claimants.into_iter().map(|claimant| claimant.join().unwrap()).collect();
        assert!(answers.iter().all(|answer| answer == &answers[0]), "migration {number}: {answers:?}");
        winners.insert(answers[0].to_string());
    }
    // Both sides win now and then, or nothing was raced for.
    assert_eq!(winners.len(), 2, "{winners:?}");
}

const FOLDER: &str = "PAGEFERRY_TEST_CLAIMS";
const AS: &str = "PAGEFERRY_TEST_CLAIMANT";
const MIGRATIONS: u32 = 100;

/// What [`claimant`] runs; nothing in an ordinary run of the tests.
#[test]
fn a_process_that_claims_one_migration_after_the_other() {
    let (Some(folder), Some(name)) = (std::env::var_os(FOLDER), std::env::var_os(AS)) else { return };
    let side = SIDES.into_iter().find(|side| name == *side.to_string()).unwrap();
    let arbiter = FileArbiter::new(folder).unwrap();
    let answers = (0..MIGRATIONS).map(|number| arbiter.claim(switchover(number), side).unwrap().to_string());
    println!("answers: {}", answers.collect::<Vec<_>>().join(" "));
}

fn claimant(folder: &Path, side: End) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["a_process_that_claims_one_migration_after_the_other", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .env(AS, side.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn of_many_processes_that_claim_at_once_all_learn_of_the_same_side() {
    let folder = tempdir().unwrap();
    let claimants: Vec<_> =
        SIDES.into_iter().cycle().take(6).map(|side| claimant(folder.path(), side)).collect();
    let answers = claimants.into_iter().map(|claimant| {
        let output = claimant.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let answers = text.split("answers: ").nth(1).and_then(|rest| rest.lines().next());
        answers.unwrap_or_else(|| panic!("no answers in {text}")).to_owned()
    });
    let answers: BTreeSet<_> = answers.collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers.first().unwrap().split(' ').count(), MIGRATIONS as usize);
}

#[test]
fn a_process_that_is_killed_leaves_whole_claims_and_no_half_ones() {
    let mut cut_short = 0;
    for round in 0u64..8 {
        let folder = tempdir().unwrap();
        let mut claimant = claimant(folder.path(), End::Source);
        let begun = Instant::now();
        while names(folder.path()).is_empty() && begun.elapsed() < Duration::from_secs(30) {
            thread::sleep(Duration::from_micros(50));
        }
        thread::sleep(Duration::from_micros(700 * round));
        claimant.kill().unwrap();
        claimant.wait().unwrap();
        let arbiter = FileArbiter::new(folder.path()).unwrap();
        let made = names(folder.path());
        for number in 0..MIGRATIONS {
            let was_made = made.contains(&switchover(number).to_string());
            let expected = if was_made { End::Source } else { End::Destination };
            let found = arbiter.claim(switchover(number), End::Destination).unwrap();
            assert_eq!(found, expected, "round {round}, migration {number}");
            assert_eq!(arbiter.claim(switchover(number), End::Source).unwrap(), expected);
            cut_short += usize::from(!was_made);
        }
    }
    assert!(cut_short > 0, "every process was done before it was killed");
}

#[test]
fn what_a_crash_left_half_written_is_no_claim_and_in_nobodys_way() {
    let folder = tempdir().unwrap();
    let arbiter = FileArbiter::new(folder.path()).unwrap();
    for (number, left) in [(1, &b""[..]), (2, b"pageferry: the gu")] {
        fs::write(folder.path().join(format!("{}.source", switchover(number))), left).unwrap();
        assert_eq!(arbiter.claim(switchover(number), End::Source).unwrap(), End::Source);
        assert_eq!(arbiter.claim(switchover(number), End::Destination).unwrap(), End::Source);
    }
    let longer = folder.path().join(format!("{}.source", switchover(4)));
    fs::write(&longer, [b'x'; 200]).unwrap();
    let error = arbiter.claim(switchover(4), End::Source).unwrap_err();
    assert!(matches!(&error, ArbiterError::Foreign { path, .. } if *path == longer), "{error}");
    assert_eq!(arbiter.claim(switchover(4), End::Destination).unwrap(), End::Destination);
    fs::write(folder.path().join(format!("{}.source", switchover(3))), b"").unwrap();
    assert_eq!(arbiter.claim(switchover(3), End::Destination).unwrap(), End::Destination);
}

#[test]
fn a_claim_that_says_something_else_is_an_error_and_stays_as_it_is() {
    let folder = tempdir().unwrap();
    let arbiter = FileArbiter::new(folder.path()).unwrap();
    arbiter.claim(switchover(9), End::Source).unwrap();
    let of_another = fs::read(folder.path().join(switchover(9).to_string())).unwrap();
    let of_this = String::from_utf8(of_another.clone()).unwrap();
    let of_this = of_this.replace(&switchover(9).to_string(), &switchover(0).to_string());
    let longer = format!("{of_this}and on\n").into_bytes();
    let contents: [&[u8]; 5] = [b"", b"\x1b[2Jmine", &of_another, &of_this.as_bytes()[..60], &longer];
    for (number, content) in contents.into_iter().enumerate() {
        let path = folder.path().join(switchover(0).to_string());
        fs::write(&path, content).unwrap();
        for side in SIDES {
            let error = arbiter.claim(switchover(0), side).unwrap_err();
            assert!(matches!(error, ArbiterError::Foreign { .. }), "content {number}: {error}");
            assert!(!error.to_string().contains('\x1b'), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_foreign_file_without_end_is_not_read_to_its_end() {
    let folder = tempdir().unwrap();
    let path = folder.path().join(switchover(0).to_string());
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = FileArbiter::new(folder.path()).unwrap().claim(switchover(0), End::Source).unwrap_err();
    assert!(matches!(error, ArbiterError::Foreign { .. }), "{error}");
}

#[test]
fn a_folder_that_is_gone_or_closed_is_an_error_that_names_it() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(FileArbiter::new(&file), Err(ArbiterError::NoFolder(path)) if path == file));
    let gone = folder.path().join("gone");
    assert!(matches!(FileArbiter::new(&gone), Err(ArbiterError::Io { path, .. }) if path == gone));

    let claims = folder.path().join("claims");
    fs::create_dir(&claims).unwrap();
    let arbiter = FileArbiter::new(&claims).unwrap();
    arbiter.claim(switchover(1), End::Source).unwrap();
    fs::set_permissions(&claims, PermissionsExt::from_mode(0o555)).unwrap();
    if File::create(claims.join("probe")).is_ok() {
        println!("skipped: this user may write to a folder without permission to");
    } else {
        let error = arbiter.claim(switchover(2), End::Source).unwrap_err();
        assert!(matches!(error, ArbiterError::Io { attempt: "open", .. }), "{error}");
        assert_eq!(arbiter.claim(switchover(1), End::Destination).unwrap(), End::Source);
    }
    fs::set_permissions(&claims, PermissionsExt::from_mode(0o755)).unwrap();
    fs::remove_dir_all(&claims).unwrap();
    let error = arbiter.claim(switchover(1), End::Source).unwrap_err();
    assert!(matches!(error, ArbiterError::Io { .. }) && error.to_string().contains("claims"), "{error}");
}

#[test]
fn nothing_is_deleted_and_two_files_are_all_that_a_claim_leaves() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("other"), b"of somebody else").unwrap();
    let arbiter = FileArbiter::new(folder.path()).unwrap();
    for side in [End::Source, End::Destination, End::Source] {
        arbiter.claim(switchover(1), side).unwrap();
    }
    let id = switchover(1).to_string();
    assert_eq!(names(folder.path()), [id.clone(), format!("{id}.source"), "other".to_owned()].into());
}
