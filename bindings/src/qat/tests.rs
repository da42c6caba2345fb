//! Every layout against the offsets that a C compiler gives for the vendor's headers.

use std::ffi::OsStr;
use std::mem::{align_of, offset_of, size_of};

use super::cpa::{BufferList, CpaStatus, FlatBuffer, InstanceInfo, PhysicalInstance};
use super::dc::{Capabilities, OpData, ReqStatus, Results, SessionSetup, SkipData};
use super::library::Libqat;
use crate::vendor::LoadError;

#[test]
fn a_library_that_is_not_there_is_an_error_that_names_the_package() {
    let error = Libqat::load_from(OsStr::new("libqat-that-is-not-there.so")).unwrap_err();
    assert!(matches!(error, LoadError::NotFound { .. }), "{error:?}");
    assert!(error.to_string().contains("libqat4"), "{error}");
}

#[test]
fn another_library_is_refused_by_the_function_it_lacks() {
    let error = Libqat::load_from(OsStr::new("libc.so.6")).unwrap_err();
    assert!(matches!(error, LoadError::MissingSymbol { symbol: "icp_sal_userStart", .. }), "{error:?}");
}

#[test]
fn buffers_are_laid_out_as_the_header_says() {
    assert_layout!(FlatBuffer, 16, 8, { bytes: 0, data: 8 });
    assert_layout!(BufferList, 32, 8, { count: 0, buffers: 8, user: 16, metadata: 24 });
}

#[test]
fn what_an_instance_says_of_itself_is_laid_out_as_the_header_says() {
    assert_layout!(PhysicalInstance, 12, 4, {
        package: 0, accelerator: 2, engine: 4, bus_address: 6, key_handle: 8,
    });
    assert_layout!(InstanceInfo, 932, 4, {
        service: 0, vendor: 4, part: 68, software_version: 132, name: 196, id: 260, location: 388, cores: 400,
        node: 912, state: 916, needs_contiguous_memory: 920, polled: 924, offloaded: 928,
    });
    assert_layout!(Capabilities, 152, 4, {
        others: 0, stateless_deflate_compression: 56, stateless_deflate_decompression: 60, others2: 64, crc32: 80,
        others3: 84, dynamic_huffman: 92, dynamic_huffman_needs_buffers: 96, others4: 100,
        window_mask_compression: 108, window_mask_decompression: 109, padding: 110, internal_huffman_memory: 112,
        end_of_last_block: 116, others5: 120, verify: 128, verify_strict: 132, recover: 136, others6: 140,
    });
    let mut info = InstanceInfo::zeroed();
    info.name[..4].copy_from_slice(b"IPS0");
    info.location.bus_address = 0x6b13;
    assert_eq!(
        (info.name(), info.part(), info.location.to_string()),
        ("IPS0".into(), String::new(), "6b:02.3".into())
    );
}

#[test]
fn sessions_operations_and_results_are_laid_out_as_the_header_says() {
    assert_layout!(SessionSetup, 52, 4, {
        level: 0, algorithm: 4, huffman: 8, auto_select_best: 12, direction: 16, state: 20, window: 24, min_match: 28,
        lz4_block_max_size: 32, lz4_block_checksum: 36, lz4_block_independence: 40, checksum: 44,
        accumulate_xxhash: 48,
    });
    assert_layout!(SkipData, 16, 4, { mode: 0, bytes: 4, stride: 8, first: 12 });
    assert_layout!(OpData, 64, 8, {
        flush: 0, verify: 4, recover: 8, integrity_check: 12, verify_integrity: 16, integrity_size: 20,
        input_skip: 24, output_skip: 40, crc_data: 56,
    });
    assert_layout!(Results, 24, 4, {
        status: 0, produced: 4, consumed: 8, checksum: 12, end_of_last_block: 16, stored: 20,
    });
}

#[test]
fn a_status_blames_the_stream_or_the_device() {
    for status in [ReqStatus(-1), ReqStatus(-10), ReqStatus::INCOMPLETE_FILE, ReqStatus(-19)] {
        assert!(status.blames_the_stream(), "{status}");
    }
    for status in [ReqStatus::OK, ReqStatus::OVERFLOW, ReqStatus::FATAL, ReqStatus::VERIFY] {
        assert!(!status.blames_the_stream(), "{status}");
    }
    assert_eq!(CpaStatus::RETRY.to_string(), "retry (-2)");
    assert_eq!(ReqStatus::OVERFLOW.to_string(), "overflow (-11)");
}
