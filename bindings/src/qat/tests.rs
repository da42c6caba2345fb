//! Every layout against the offsets that a C compiler gives for the vendor's headers.

use std::ffi::OsStr;
use std::mem::{align_of, offset_of, size_of};

use super::cpa::{BufferList, CpaStatus, FlatBuffer, InstanceInfo, PhysicalInstance};
use super::dc::{Capabilities, OpData, ReqStatus, Results, SessionSetup, SkipData};
use super::library::{Libqat, LoadError};

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
