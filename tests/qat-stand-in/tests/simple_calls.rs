//! What QATzip calls and pageferry's own driver does not: the simple start and decompression, sessions for both directions,
//! and the bounds of outputs.

mod client;

use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::ptr::null_mut;

use client::{Client, Operation, config, data, deflated, inflated};
use libloading::Library;
use pageferry_bindings::qat::cpa::{BufferList, CpaBoolean, CpaStatus, FALSE, InstanceHandle, TRUE};
use pageferry_bindings::qat::dc::{Results, SessionHandle, SessionSetup, direction, flush, huffman};
use pageferry_qat_stand_in::Config;

/// `CPA_DC_DIR_COMBINED`.
const COMBINED: u32 = 2;

/// `CPA_DC_ASB_UNCOMP_STATIC_DYNAMIC_WITH_STORED_HDRS`.
const BEST_OF_ALL: u32 = 3;

type Bound = unsafe extern "C" fn(InstanceHandle, u32, *mut u32) -> CpaStatus;

/// The functions, as the vendor's headers declare them.
struct Simple {
    start: unsafe extern "C" fn(*const c_char, CpaBoolean) -> CpaStatus,
    available: unsafe extern "C" fn() -> CpaBoolean,
    decompress: unsafe extern "C" fn(
        InstanceHandle,
        SessionHandle,
        *mut BufferList,
        *mut BufferList,
        *mut Results,
        u32,
        *mut c_void,
    ) -> CpaStatus,
    deflate_bound: unsafe extern "C" fn(InstanceHandle, u32, u32, *mut u32) -> CpaStatus,
    others: [Bound; 2],
}

impl Simple {
    fn of(client: &Client) -> Self {
        // SAFETY: the file is loaded already and stays so; the functions have these types.
        unsafe {
            let library = ManuallyDrop::new(Library::new(client.stand_in.path()).expect("it is loaded"));
            Self {
                start: *library.get("icp_sal_userStartMultiProcess").unwrap(),
                available: *library.get("icp_sal_userIsQatAvailable").unwrap(),
                decompress: *library.get("cpaDcDecompressData").unwrap(),
                deflate_bound: *library.get("cpaDcDeflateCompressBound").unwrap(),
                others: ["cpaDcLZ4CompressBound", "cpaDcLZ4SCompressBound"]
                    .map(|name| *library.get(name).unwrap()),
            }
        }
    }

    /// Submits a decompression and waits for it.
    fn decompress(&self, client: &Client, session: SessionHandle, operation: &mut Operation) -> CpaStatus {
        self.decompress_with(client, session, operation, flush::FINAL)
    }

    fn decompress_with(
        &self,
        client: &Client,
        session: SessionHandle,
        operation: &mut Operation,
        flush: u32,
    ) -> CpaStatus {
        let tag = (&raw mut *operation.answers).cast();
        let (source, destination) = (&raw mut *operation.source, &raw mut *operation.destination);
        // SAFETY: the operation is there until it was answered.
        let status = unsafe {
            let results = &raw mut *operation.results;
            (self.decompress)(client.handle(), session, source, destination, results, flush, tag)
        };
        if status == CpaStatus::SUCCESS { client.wait(operation) } else { status }
    }

    fn bound(&self, handle: InstanceHandle, codes: u32, bytes: u32) -> Result<u32, CpaStatus> {
        let mut bound = 0;
        // SAFETY: the place is there.
        let status = unsafe { (self.deflate_bound)(handle, codes, bytes, &raw mut bound) };
        if status == CpaStatus::SUCCESS { Ok(bound) } else { Err(status) }
    }
}

#[test]
fn a_start_for_many_processes_counts_as_any_other() {
    let client = Client::outside(config());
    let simple = Simple::of(&client);
    // SAFETY: the section is a string.
    unsafe {
        assert_eq!((simple.start)(std::ptr::null(), FALSE), CpaStatus::INVALID_PARAM);
        assert_eq!((simple.start)(c"SSL".as_ptr(), FALSE), CpaStatus::SUCCESS);
        assert_eq!((client.library.user_start)(c"SSL".as_ptr()), CpaStatus::SUCCESS);
    }
    assert_eq!(
        [client.stop(), client.stop(), client.stop()],
        [CpaStatus::SUCCESS, CpaStatus::SUCCESS, CpaStatus::FAIL]
    );
}

#[test]
fn before_any_start_it_says_whether_there_is_a_device() {
    for (instances, available) in [(1, TRUE), (0, FALSE)] {
        let client = Client::outside(Config { instances, ..config() });
        // SAFETY: the function takes nothing.
        assert_eq!(unsafe { (Simple::of(&client).available)() }, available, "{instances} instances");
    }
}

#[test]
fn a_session_for_both_directions_does_either() {
    let client = Client::new(config());
    let simple = Simple::of(&client);
    let setup = SessionSetup {
        auto_select_best: BEST_OF_ALL,
        window: 7,
        ..Client::setup(COMBINED, huffman::FULL_DYNAMIC)
    };
    let session = client.allocate(600).cast();
    assert_eq!(client.init(session, setup), CpaStatus::SUCCESS);
    let pages = data(8192, 1);
    let mut there = client.operation(&[&pages], &[16384]);
    let results = client.run(true, session, &mut there);
    let stream = there.output(results.produced);
    assert!(stream.len() < pages.len() && inflated(&stream, pages.len()) == pages);
    for simply in [true, false] {
        let mut back = client.operation(&[&stream], &[8192]);
        if simply {
            assert_eq!(simple.decompress(&client, session, &mut back), CpaStatus::SUCCESS);
        } else {
            client.run(false, session, &mut back);
        }
        assert_eq!((back.results.produced, back.results.end_of_last_block), (8192, TRUE));
        assert!(back.output(8192) == pages, "simply: {simply}");
    }
    assert!(client.report().violations.is_empty());
}

#[test]
fn the_best_of_all_is_not_chosen_where_codes_are_to_be_fixed_nor_another_window() {
    let client = Client::new(config());
    let fixed = SessionSetup { auto_select_best: BEST_OF_ALL, ..Client::setup(COMBINED, huffman::STATIC) };
    let other = SessionSetup { window: 2, ..Client::setup(COMBINED, huffman::FULL_DYNAMIC) };
    for setup in [fixed, other] {
        assert_eq!(client.init(client.allocate(600).cast(), setup), CpaStatus::UNSUPPORTED);
    }
}

#[test]
fn a_simple_decompression_keeps_to_the_rules_of_the_other() {
    let client = Client::new(config());
    let simple = Simple::of(&client);
    let stream = deflated(&data(4096, 2));
    let session = client.decompression();
    let mut good = client.operation(&[&stream], &[4096]);
    assert_eq!(simple.decompress_with(&client, session, &mut good, 4), CpaStatus::INVALID_PARAM);
    assert_eq!(simple.decompress_with(&client, session, &mut good, 2), CpaStatus::UNSUPPORTED);
    assert_eq!(simple.decompress(&client, null_mut(), &mut good), CpaStatus::INVALID_PARAM);
    assert_eq!(simple.decompress(&client, client.compression(), &mut good), CpaStatus::INVALID_PARAM);
    assert_eq!(simple.decompress(&client, session, &mut good), CpaStatus::SUCCESS);
    let mut short = client.operation(&[&stream], &[4095]);
    assert_eq!(simple.decompress(&client, session, &mut short), CpaStatus::FAIL);
    assert_eq!(short.results.status, -11, "it overflows");
    assert!(client.report().violations.is_empty());
    let mut elsewhere = vec![0_u8; 4096];
    let mut outside = client.operation(&[&stream], &[4096]);
    outside.destination_buffers[0].data = elsewhere.as_mut_ptr();
    assert_ne!(simple.decompress(&client, session, &mut outside), CpaStatus::SUCCESS);
}

#[test]
fn bounds_are_those_of_the_fourth_generation_and_hold_for_what_does_not_compress() {
    let client = Client::new(config());
    let simple = Simple::of(&client);
    // Null stands for the first instance.
    for handle in [client.handle(), null_mut()] {
        assert_eq!(simple.bound(handle, huffman::STATIC, 65536), Ok(73728 + 1029));
        assert_eq!(simple.bound(handle, huffman::FULL_DYNAMIC, 65536), Ok(73728 + 708 + 512));
        assert_eq!(simple.bound(handle, huffman::STATIC, 1), Ok(2 + 1029));
    }
    let noise = client::noise(20000);
    for codes in [huffman::STATIC, huffman::FULL_DYNAMIC] {
        let bound = simple.bound(client.handle(), codes, 20000).unwrap();
        let mut operation = client.operation(&[&noise], &[bound as usize]);
        let results = client.run(true, client.session(direction::COMPRESS, codes), &mut operation);
        assert_eq!((results.status, results.consumed), (0, 20000));
    }
}

#[test]
fn there_is_no_bound_of_nothing_nor_of_too_much_nor_of_what_is_not_offered() {
    let client = Client::new(Config { dynamic: false, ..config() });
    let simple = Simple::of(&client);
    let invalid = Err(CpaStatus::INVALID_PARAM);
    assert_eq!(simple.bound(client.handle(), huffman::STATIC, 0), invalid);
    assert_eq!(simple.bound(client.handle(), huffman::STATIC, u32::MAX), invalid);
    assert_eq!(simple.bound(client.handle(), huffman::FULL_DYNAMIC, 4096), invalid);
    let mut place = 0;
    for bound in simple.others {
        // SAFETY: the place is there.
        unsafe {
            assert_eq!(bound(client.handle(), 4096, &raw mut place), CpaStatus::UNSUPPORTED);
            assert_eq!(bound(client.handle(), 0, &raw mut place), CpaStatus::INVALID_PARAM);
        }
    }
    assert_eq!(client.stop(), CpaStatus::SUCCESS);
    assert_eq!(simple.bound(null_mut(), huffman::STATIC, 4096), invalid, "it is not started");
}
