//! What is compressed and decompressed, and what is said of it.

mod client;

use std::io::Write;

use client::{Client, config, crc, data, deflated, inflated, noise};
use pageferry_bindings::qat::cpa::{CpaStatus, FALSE, TRUE};
use pageferry_bindings::qat::dc::{ReqStatus, Results, direction, huffman};

#[test]
fn what_is_compressed_from_many_buffers_into_many_is_a_stream_for_libdeflate() {
    let client = Client::new(config());
    for huffman in [huffman::STATIC, huffman::FULL_DYNAMIC] {
        let session = client.session(direction::COMPRESS, huffman);
        for bytes in [1, 17, 4096, 70_001] {
            for input in [data(bytes, 1), noise(bytes), vec![0; bytes]] {
                let pieces: Vec<&[u8]> = input.chunks(bytes / 5 + 1).collect();
                let mut operation = client.operation(&pieces, &[700, 1, bytes / 2 + 600, bytes + 600]);
                let results = client.run(true, session, &mut operation);
                assert_eq!(results.status, 0);
                assert_eq!(results.consumed as usize, bytes);
                assert_eq!(results.checksum, crc(&input));
                let stream = operation.output(results.produced);
                assert_eq!(inflated(&stream, bytes), input, "{huffman} {bytes}");
            }
        }
    }
    assert!(client.report().violations.is_empty());
}

#[test]
fn streams_of_libdeflate_and_zlib_are_decompressed_and_end_where_they_end() {
    let client = Client::new(config());
    let session = client.decompression();
    let input = data(100_000, 2);
    let mut zlib = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&input).expect("a vector takes all");
    for stream in [deflated(&input), zlib.finish().expect("a vector takes all")] {
        let (first, second) = stream.split_at(stream.len() / 3);
        let mut operation = client.operation(&[first, second, b"behind the stream"], &[50_000, 49_999, 1]);
        let results = client.run(false, session, &mut operation);
        assert_eq!(results.produced as usize, input.len(), "there is exactly as much room as it takes");
        assert_eq!(results.consumed as usize, stream.len());
        assert_eq!(results.end_of_last_block, TRUE);
        assert_eq!(results.checksum, crc(&input));
        assert_eq!(operation.output(results.produced), input);
    }
}

#[test]
fn a_checksum_goes_on_from_what_the_results_had() {
    let client = Client::new(config());
    let (compression, decompression) = (client.compression(), client.decompression());
    let input = data(9000, 3);
    let (before, now) = input.split_at(4000);
    let mut operation = client.operation(&[now], &[9000]);
    operation.results.checksum = crc(before);
    assert_eq!(client.run(true, compression, &mut operation).checksum, crc(&input));
    let mut operation = client.operation(&[&deflated(now)], &[5000]);
    operation.results.checksum = crc(before);
    assert_eq!(client.run(false, decompression, &mut operation).checksum, crc(&input));
}

#[test]
fn compressed_data_that_do_not_fit_are_a_success_that_states_what_did() {
    let client = Client::new(config());
    for (huffman, room) in [(huffman::STATIC, 1026), (huffman::FULL_DYNAMIC, 512)] {
        let session = client.session(direction::COMPRESS, huffman);
        let input = noise(4096);
        let mut operation = client.operation(&[&input], &[room]);
        assert_eq!(client.compress(session, &mut operation), CpaStatus::SUCCESS);
        assert_eq!(client.wait(&operation), CpaStatus::SUCCESS);
        let Results { status, produced, consumed, checksum, .. } = *operation.results;
        assert_eq!(ReqStatus(status), ReqStatus::OVERFLOW);
        assert_eq!(produced as usize, room);
        assert!((1..4096).contains(&consumed), "{consumed}");
        assert_eq!(checksum, crc(&input[..consumed as usize]));
        let stream = operation.output(produced);
        let mut back = vec![0; 4096];
        let mut inflater = flate2::Decompress::new(false);
        inflater
            .decompress(&stream, &mut back, flate2::FlushDecompress::None)
            .expect("a stream, as far as it goes");
        assert_eq!(inflater.total_out(), u64::from(consumed));
        assert_eq!(back[..consumed as usize], input[..consumed as usize]);
    }
}

#[test]
fn decompressed_data_that_do_not_fit_are_a_failure_without_counts() {
    let client = Client::new(config());
    let session = client.decompression();
    let input = data(5000, 4);
    let mut operation = client.operation(&[&deflated(&input)], &[4999]);
    *operation.results = Results { produced: 7, consumed: 7, checksum: 7, ..Results::default() };
    assert_eq!(client.decompress(session, &mut operation), CpaStatus::SUCCESS);
    assert_eq!(client.wait(&operation), CpaStatus::FAIL);
    let Results { status, produced, consumed, checksum, .. } = *operation.results;
    assert_eq!((status, produced, consumed, checksum), (ReqStatus::OVERFLOW.0, 0, 0, 7));
    assert_eq!(operation.output(4999), input[..4999], "the device wrote until there was no room");
}

#[test]
fn a_stream_that_is_cut_off_is_a_success_that_did_not_see_its_end() {
    let client = Client::new(config());
    let session = client.decompression();
    let input = data(5000, 5);
    let stream = deflated(&input);
    let mut operation = client.operation(&[&stream[..stream.len() / 2]], &[5000]);
    operation.results.end_of_last_block = 7;
    let results = client.run(false, session, &mut operation);
    assert_eq!((results.status, results.end_of_last_block), (0, FALSE));
    assert_eq!(results.consumed as usize, stream.len() / 2);
    assert!((1..5000).contains(&results.produced), "{}", results.produced);
    let output = operation.output(results.produced);
    assert_eq!(output, input[..output.len()]);
    assert_eq!(results.checksum, crc(&output));
}

#[test]
fn a_stream_that_is_corrupt_is_a_failure_with_its_status() {
    let client = Client::new(config());
    let session = client.decompression();
    for (stream, status) in [(&[7, 0, 0, 0][..], -1), (&[1, 5, 0, 5, 0], -2), (&[3, 2, 0, 0], -10)] {
        let mut operation = client.operation(&[stream], &[1000]);
        assert_eq!(client.decompress(session, &mut operation), CpaStatus::SUCCESS);
        assert_eq!(client.wait(&operation), CpaStatus::FAIL);
        assert_eq!(operation.results.status, status);
        assert_eq!((operation.results.produced, operation.results.consumed), (0, 0));
    }
}
