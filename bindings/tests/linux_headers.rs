//! What the kernel's headers say of every structure, number and value that is used of them, asked of a C compiler where they are
//! installed: under `/usr/include`, or in the folder that `PAGEFERRY_LINUX_HEADERS` names. Those of Linux 6.7 have them all.

#[macro_use]
mod c_compiler;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use c_compiler::{Expected, compare};
use pageferry_bindings::linux::pagemap::{self, Categories, PageRegion, ScanArguments, ScanFlags};
use pageferry_bindings::linux::userfaultfd::{
    self, Api, Features, Range, Register, RegisterMode, WriteProtect, WriteProtectMode,
};

/// Compares with a header, if it is there and knows `newest`.
fn compare_with(header: &str, newest: &str, expected: &[Expected]) {
    let folder = env::var_os("PAGEFERRY_LINUX_HEADERS").map_or("/usr/include".into(), PathBuf::from);
    let text = fs::read_to_string(Path::new(&folder).join(header)).unwrap_or_default();
    if text.contains(newest) {
        compare(&folder, &format!("#include <sys/ioctl.h>\n#include <{header}>"), expected);
    } else {
        println!(
            "skipped: {} has no {newest}; PAGEFERRY_LINUX_HEADERS names newer headers",
            folder.join(header).display()
        );
    }
}

#[test]
fn a_c_compiler_lays_out_the_scan_of_page_tables_as_here() {
    let structures = [
        structure!(ScanArguments = "struct pm_scan_arg" {
            size = "size", flags = "flags", start = "start", end = "end", walk_end = "walk_end", vec = "vec",
            vec_len = "vec_len", max_pages = "max_pages", category_inverted = "category_inverted",
            category_mask = "category_mask", category_anyof_mask = "category_anyof_mask", return_mask = "return_mask",
        }),
        structure!(PageRegion = "struct page_region" { start = "start", end = "end", categories = "categories" }),
        values! {
            "PAGEMAP_SCAN" = pagemap::PAGEMAP_SCAN,
            "PAGE_IS_WRITTEN" = Categories::WRITTEN.bits(),
            "PM_SCAN_WP_MATCHING" = ScanFlags::WP_MATCHING.bits(),
            "PM_SCAN_CHECK_WPASYNC" = ScanFlags::CHECK_WPASYNC.bits(),
        },
    ];
    compare_with("linux/fs.h", "PM_SCAN_CHECK_WPASYNC", &structures.concat());
}

#[test]
fn a_c_compiler_lays_out_userfaultfd_as_here() {
    let structures = [
        structure!(Api = "struct uffdio_api" { api = "api", features = "features", ioctls = "ioctls" }),
        structure!(Range = "struct uffdio_range" { start = "start", len = "len" }),
        structure!(Register = "struct uffdio_register" { range = "range", mode = "mode", ioctls = "ioctls" }),
        structure!(WriteProtect = "struct uffdio_writeprotect" { range = "range", mode = "mode" }),
        values! {
            "USERFAULTFD_IOC_NEW" = userfaultfd::NEW,
            "UFFDIO_API" = userfaultfd::API,
            "UFFDIO_REGISTER" = userfaultfd::REGISTER,
            "UFFDIO_UNREGISTER" = userfaultfd::UNREGISTER,
            "UFFDIO_WRITEPROTECT" = userfaultfd::WRITEPROTECT,
            "UFFD_API" = userfaultfd::API_VERSION,
            "UFFD_USER_MODE_ONLY" = userfaultfd::USER_MODE_ONLY,
            "UFFD_FEATURE_WP_HUGETLBFS_SHMEM" = Features::WP_HUGETLBFS_SHMEM.bits(),
            "UFFDIO_REGISTER_MODE_WP" = RegisterMode::WP.bits(),
            "UFFDIO_WRITEPROTECT_MODE_WP" = WriteProtectMode::WP.bits(),
        },
    ];
    compare_with("linux/userfaultfd.h", "UFFD_FEATURE_WP_HUGETLBFS_SHMEM", &structures.concat());
    let newer = values! {
        "UFFD_FEATURE_WP_UNPOPULATED" = Features::WP_UNPOPULATED.bits(),
        "UFFD_FEATURE_WP_ASYNC" = Features::WP_ASYNC.bits(),
    };
    compare_with("linux/userfaultfd.h", "UFFD_FEATURE_WP_ASYNC", &newer);
}

#[cfg(feature = "kvm")]
#[test]
fn a_c_compiler_has_kvms_numbers_as_here() {
    use pageferry_bindings::linux::kvm::{self, DirtyGfnFlags};
    let values = values! {
        "KVM_CHECK_EXTENSION" = kvm::CHECK_EXTENSION,
        "KVM_ENABLE_CAP" = kvm::ENABLE_CAP,
        "KVM_SET_USER_MEMORY_REGION" = kvm::SET_USER_MEMORY_REGION,
        "KVM_GET_DIRTY_LOG" = kvm::GET_DIRTY_LOG,
        "KVM_CLEAR_DIRTY_LOG" = kvm::CLEAR_DIRTY_LOG,
        "KVM_RESET_DIRTY_RINGS" = kvm::RESET_DIRTY_RINGS,
        "KVM_DIRTY_GFN_F_DIRTY" = DirtyGfnFlags::DIRTY.bits(),
        "KVM_DIRTY_GFN_F_RESET" = DirtyGfnFlags::RESET.bits(),
    };
    compare_with("linux/kvm.h", "KVM_CAP_DIRTY_LOG_RING_ACQ_REL", &values);
}
