//! Every layout against the offsets that a C compiler gives for the vendor's header (`tests/vendor_headers.rs` compiles it
//! where it is installed), and what loading says.

use std::ffi::OsStr;
use std::mem::{align_of, offset_of, size_of};

use super::layout::{CommonParameters, DeflateParameters, ExtendedDeflateParameters, RawSession};
use super::library::Libqatzip;
use super::session::bound;
use super::status::QzStatus;
use crate::vendor::LoadError;

#[test]
fn sessions_and_parameters_are_laid_out_as_the_header_says() {
    assert_layout!(RawSession, 40, 8, {
        hardware_status: 0, thread_status: 8, internal: 16, total_in: 24, total_out: 32,
    });
    assert_layout!(CommonParameters, 48, 4, {
        direction: 0, level: 4, algorithm: 8, max_forks: 12, software_backup: 16, hardware_buffer_bytes: 20,
        stream_buffer_bytes: 24, input_threshold_bytes: 28, request_threshold: 32, wait_threshold: 36, polling: 40,
        latency_sensitive: 44,
    });
    assert_layout!(DeflateParameters, 56, 4, { common: 0, huffman: 48, format: 52 });
    assert_layout!(ExtendedDeflateParameters, 60, 4, { deflate: 0, stop_at_stream_end: 56, zlib_format: 57 });
}

#[test]
fn a_status_says_whether_it_is_an_error_and_whether_software_took_over() {
    for status in [QzStatus::OK, QzStatus::DUPLICATE] {
        assert!(!status.is_error() && !status.means_software(), "{status}");
    }
    assert!(!QzStatus::NO_HW.is_error() && QzStatus::NO_HW.means_software());
    for status in
        [QzStatus::NOSW_NO_HW, QzStatus::PARAMS, QzStatus::FAIL, QzStatus::DATA_ERROR, QzStatus(100)]
    {
        assert!(status.is_error() && !status.means_software(), "{status}");
    }
    assert_eq!(QzStatus::NOSW_NO_HW.to_string(), "no QAT device (-101)");
}

#[test]
fn the_bound_leaves_room_for_an_eighth_more_and_every_pieces_header() {
    assert_eq!(bound(4096, 65536), 4096 + 512 + 2 * 1088);
    assert_eq!(bound(65537, 65536), 65537 + 8192 + 3 * 1088);
}

#[test]
fn a_library_that_is_not_there_is_an_error_that_names_the_package() {
    let error = Libqatzip::load_from(OsStr::new("libqatzip-that-is-not-there.so")).unwrap_err();
    assert!(matches!(error, LoadError::NotFound { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("libqatzip-that-is-not-there.so") && text.contains("libqatzip3"), "{text}");
}

#[test]
fn another_library_is_refused_by_the_function_it_lacks() {
    let error = Libqatzip::load_from(OsStr::new("libc.so.6")).unwrap_err();
    assert!(matches!(error, LoadError::MissingSymbol { symbol: "qzInit", .. }), "{error:?}");
}
