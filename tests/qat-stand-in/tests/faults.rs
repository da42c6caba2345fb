//! What goes wrong by plan.

mod client;

use client::{Client, config, crc, data, deflated, inflated, noise};
use pageferry_bindings::qat::cpa::{CpaStatus, FALSE, TRUE};
use pageferry_bindings::qat::dc::Results;
use pageferry_qat_stand_in::Config;
use pageferry_qat_stand_in::fault::{Fault, FaultPlan, Misdeeds, When};

/// A client with one fault, in every operation.
fn faulty(fault: Fault) -> Client {
    Client::new(Config { plan: FaultPlan::one(When::From(0), fault), ..config() })
}

fn compressed(client: &Client) -> (CpaStatus, Results, Vec<u8>) {
    let session = client.compression();
    let mut operation = client.operation(&[&data(4000, 1)], &[5000]);
    assert_eq!(client.compress(session, &mut operation), CpaStatus::SUCCESS);
    let answer = client.wait(&operation);
    (answer, *operation.results, operation.output(operation.results.produced))
}

fn decompressed(client: &Client) -> (CpaStatus, Results, Vec<u8>) {
    let session = client.decompression();
    let mut operation = client.operation(&[&deflated(&data(4000, 1))], &[5000]);
    assert_eq!(client.decompress(session, &mut operation), CpaStatus::SUCCESS);
    let answer = client.wait(&operation);
    (answer, *operation.results, operation.output(operation.results.produced))
}

#[test]
fn submissions_are_told_to_retry_as_many_times_as_planned() {
    let plan = FaultPlan::one(When::At(1), Fault::Retry(3));
    let client = Client::new(Config { plan, ..config() });
    let session = client.compression();
    let mut operations: Vec<_> = (0..6).map(|_| client.operation(&[b"again"], &[512])).collect();
    let answers: Vec<_> =
        operations.iter_mut().map(|operation| client.compress(session, operation).0).collect();
    assert_eq!(answers, [0, -2, -2, -2, 0, 0]);
    assert_eq!(client.report().misdeeds, Misdeeds { retries: 3, ..Misdeeds::default() });
}

#[test]
fn an_overflow_by_plan_is_like_one_for_lack_of_room() {
    let client = faulty(Fault::Overflow);
    let (answer, results, _) = compressed(&client);
    assert_eq!((answer, results.status), (CpaStatus::SUCCESS, -11));
    assert!(results.produced > 0 && results.consumed < 4000, "{results:?}");
    let (answer, results, _) = decompressed(&client);
    assert_eq!((answer, results.status, results.produced), (CpaStatus::FAIL, -11, 0));
    assert_eq!(client.report().misdeeds, Misdeeds { overflows: 2, ..Misdeeds::default() });
}

#[test]
fn a_verification_that_fails_is_a_failure_or_a_stored_input() {
    let client = faulty(Fault::Verify);
    let (answer, results, _) = compressed(&client);
    assert_eq!((answer, results.status, results.produced), (CpaStatus::FAIL, -18, 0));
    let session = client.compression();
    let input = noise(100_000);
    let mut operation = client.operation(&[&input], &[101_000]);
    operation.options.recover = TRUE;
    let results = client.run(true, session, &mut operation);
    assert_eq!((results.status, results.stored, results.checksum), (0, TRUE, crc(&input)));
    assert_eq!(inflated(&operation.output(results.produced), input.len()), input);
    let (answer, results, _) = decompressed(&client);
    assert_eq!((answer, results.status), (CpaStatus::SUCCESS, 0), "there is nothing to verify");
    assert_eq!(client.report().misdeeds, Misdeeds { verifications: 2, ..Misdeeds::default() });
}

#[test]
fn a_status_by_plan_is_a_failure() {
    let client = faulty(Fault::Status(-17));
    for (answer, results, _) in [compressed(&client), decompressed(&client)] {
        assert_eq!((answer, results.status), (CpaStatus::FAIL, -17));
        assert_eq!((results.produced, results.consumed), (0, 0));
    }
    assert_eq!(client.report().misdeeds, Misdeeds { statuses: 2, ..Misdeeds::default() });
}

#[test]
fn what_the_firmware_does_not_know_is_unsupported_when_it_completes() {
    let client = faulty(Fault::Unsupported);
    let (answer, results, _) = compressed(&client);
    assert_eq!(answer, CpaStatus::UNSUPPORTED);
    assert_eq!((results.produced, results.consumed), (0, 0));
    assert_eq!(client.report().misdeeds, Misdeeds { unsupported: 1, ..Misdeeds::default() });
}

#[test]
fn lies_are_told_with_success() {
    let input = data(4000, 1);
    let client = faulty(Fault::WrongChecksum);
    for (answer, results, _) in [compressed(&client), decompressed(&client)] {
        assert_eq!((answer, results.status), (CpaStatus::SUCCESS, 0));
        assert_ne!(results.checksum, crc(&input));
    }
    assert_eq!(client.report().misdeeds, Misdeeds { wrong_checksums: 2, ..Misdeeds::default() });

    let client = faulty(Fault::WrongProduced);
    let (answer, results, _) = decompressed(&client);
    assert_eq!((answer, results.produced), (CpaStatus::SUCCESS, 4001));
    assert_eq!(client.report().misdeeds, Misdeeds { wrong_counts: 1, ..Misdeeds::default() });

    let client = faulty(Fault::CorruptOutput);
    let (answer, results, output) = decompressed(&client);
    assert_eq!((answer, results.checksum), (CpaStatus::SUCCESS, crc(&input)));
    assert_eq!(output.iter().zip(&input).filter(|(one, other)| one != other).count(), 1);
    assert_eq!(client.report().misdeeds, Misdeeds { corrupt_outputs: 1, ..Misdeeds::default() });
}

#[test]
fn an_operation_that_is_never_done_holds_its_place() {
    let plan = FaultPlan::one(When::At(0), Fault::Never);
    let client = Client::new(Config { plan, depth: 2, ..config() });
    let session = client.compression();
    let mut never = client.operation(&[b"never"], &[512]);
    assert_eq!(client.compress(session, &mut never), CpaStatus::SUCCESS);
    for _ in 0..5 {
        client.run(true, session, &mut client.operation(&[b"others"], &[512]));
    }
    let mut last = client.operation(&[b"one of two"], &[512]);
    assert_eq!(client.compress(session, &mut last), CpaStatus::SUCCESS);
    assert_eq!(client.compress(session, &mut client.operation(&[b"full"], &[512])), CpaStatus::RETRY);
    client.wait(&last);
    assert_eq!(never.answers.get(), None);
    assert_eq!(client.remove(session), CpaStatus::RETRY);
    assert_eq!(client.report().misdeeds, Misdeeds { never: 1, ..Misdeeds::default() });
}

#[test]
fn the_same_seed_brings_the_same_faults_to_the_same_submissions() {
    let statuses = |seed| {
        let plan = FaultPlan { seed, ..FaultPlan::one(When::PerMillion(300_000), Fault::Status(-13)) };
        let plan = plan.and(When::PerMillion(200_000), Fault::Retry(1));
        let client = Client::new(Config { plan, ..config() });
        let session = client.compression();
        let run = |_| {
            let mut operation = client.operation(&[b"by chance"], &[512]);
            if client.compress(session, &mut operation) == CpaStatus::RETRY {
                return None;
            }
            client.wait(&operation);
            Some(operation.results.status)
        };
        (0..200).map(run).collect::<Vec<_>>()
    };
    let first = statuses(1);
    assert_eq!(first, statuses(1));
    assert_ne!(first, statuses(2));
    for status in [None, Some(0), Some(-13)] {
        assert!(first.contains(&status), "{status:?} of {first:?}");
    }
}

#[test]
fn what_goes_well_says_nothing_of_being_stored() {
    let client = Client::new(config());
    let (_, results, _) = compressed(&client);
    assert_eq!(results.stored, FALSE);
    assert_eq!(client.report().misdeeds.total(), 0);
}
