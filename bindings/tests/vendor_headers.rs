//! What the vendor's headers say of every structure and value that is used of them, asked of a C compiler where they are
//! installed: under `/usr/include`, or in the folder that packages were unpacked into, which `PAGEFERRY_QAT_PACKAGES` names.

#[macro_use]
mod c_compiler;

use std::env;
use std::path::{Path, PathBuf};

use c_compiler::{Expected, compare};
use pageferry_bindings::qat::cpa::{self, BufferList, CpaStatus, FlatBuffer, InstanceInfo, PhysicalInstance};
use pageferry_bindings::qat::dc::{self, Capabilities, OpData, ReqStatus, Results, SessionSetup, SkipData};
use pageferry_bindings::qatzip::layout::{
    self, CommonParameters, DeflateParameters, ExtendedDeflateParameters, RawSession,
};
use pageferry_bindings::qatzip::status::QzStatus;

fn headers(name: &str) -> Result<PathBuf, String> {
    let unpacked = env::var_os("PAGEFERRY_QAT_PACKAGES").map(|root| Path::new(&root).join("usr/include"));
    let folders: Vec<_> = [PathBuf::from("/usr/include")].into_iter().chain(unpacked).collect();
    folders.iter().find(|folder| folder.join(name).exists()).cloned().ok_or_else(|| {
        format!(
            "{name} is not in {folders:?}; PAGEFERRY_QAT_PACKAGES names a folder with the unpacked packages"
        )
    })
}

fn cpa_structures() -> Vec<Expected> {
    [
        structure!(FlatBuffer = "CpaFlatBuffer" { bytes = "dataLenInBytes", data = "pData" }),
        structure!(BufferList = "CpaBufferList" {
            count = "numBuffers", buffers = "pBuffers", user = "pUserData", metadata = "pPrivateMetaData",
        }),
        structure!(PhysicalInstance = "CpaPhysicalInstanceId" {
            package = "packageId", accelerator = "acceleratorId", engine = "executionEngineId",
            bus_address = "busAddress", key_handle = "kptAcHandle",
        }),
        structure!(InstanceInfo = "CpaInstanceInfo2" {
            service = "accelerationServiceType", vendor = "vendorName", part = "partName",
            software_version = "swVersion", name = "instName", id = "instID", location = "physInstId",
            cores = "coreAffinity", node = "nodeAffinity", state = "operState",
            needs_contiguous_memory = "requiresPhysicallyContiguousMemory", polled = "isPolled",
            offloaded = "isOffloaded",
        }),
        structure!(SessionSetup = "CpaDcSessionSetupData" {
            level = "compLevel", algorithm = "compType", huffman = "huffType",
            auto_select_best = "autoSelectBestHuffmanTree", direction = "sessDirection", state = "sessState",
            window = "windowSize", min_match = "minMatch", lz4_block_max_size = "lz4BlockMaxSize",
            lz4_block_checksum = "lz4BlockChecksum", lz4_block_independence = "lz4BlockIndependence",
            checksum = "checksum", accumulate_xxhash = "accumulateXXHash",
        }),
        structure!(SkipData = "CpaDcSkipData" {
            mode = "skipMode", bytes = "skipLength", stride = "strideLength", first = "firstSkipOffset",
        }),
        structure!(OpData = "CpaDcOpData" {
            flush = "flushFlag", verify = "compressAndVerify", recover = "compressAndVerifyAndRecover",
            integrity_check = "integrityCrcCheck", verify_integrity = "verifyHwIntegrityCrcs",
            integrity_size = "integrityCrcSize", input_skip = "inputSkipData", output_skip = "outputSkipData",
            crc_data = "pCrcData",
        }),
        structure!(Results = "CpaDcRqResults" {
            status = "status", produced = "produced", consumed = "consumed", checksum = "checksum",
            end_of_last_block = "endOfLastBlock", stored = "dataUncompressed",
        }),
        structure!(Capabilities = "CpaDcInstanceCapabilities" {
            stateless_deflate_compression = "statelessDeflateCompression",
            stateless_deflate_decompression = "statelessDeflateDecompression", crc32 = "checksumCRC32",
            dynamic_huffman = "dynamicHuffman", dynamic_huffman_needs_buffers = "dynamicHuffmanBufferReq",
            window_mask_compression = "validWindowSizeMaskCompression",
            window_mask_decompression = "validWindowSizeMaskDecompression",
            internal_huffman_memory = "internalHuffmanMem", end_of_last_block = "endOfLastBlock",
            verify = "compressAndVerify", verify_strict = "compressAndVerifyStrict",
            recover = "compressAndVerifyAndRecover",
        }),
    ]
    .concat()
}

fn cpa_values() -> Vec<Expected> {
    values! {
        "CPA_STATUS_SUCCESS" = CpaStatus::SUCCESS.0,
        "CPA_STATUS_FAIL" = CpaStatus::FAIL.0,
        "CPA_STATUS_RETRY" = CpaStatus::RETRY.0,
        "CPA_STATUS_RESOURCE" = CpaStatus::RESOURCE.0,
        "CPA_STATUS_INVALID_PARAM" = CpaStatus::INVALID_PARAM.0,
        "CPA_STATUS_FATAL" = CpaStatus::FATAL.0,
        "CPA_STATUS_UNSUPPORTED" = CpaStatus::UNSUPPORTED.0,
        "CPA_STATUS_RESTARTING" = CpaStatus::RESTARTING.0,
        "sizeof(CpaStatus)" = size_of::<CpaStatus>(),
        "sizeof(CpaBoolean)" = size_of::<cpa::CpaBoolean>(),
        "CPA_TRUE" = cpa::TRUE,
        "CPA_FALSE" = cpa::FALSE,
        "CPA_ACC_SVC_TYPE_DATA_COMPRESSION" = cpa::service::COMPRESSION,
        "CPA_INSTANCE_EVENT_RESTARTING" = cpa::InstanceEvent::RESTARTING.0,
        "CPA_INSTANCE_EVENT_RESTARTED" = cpa::InstanceEvent::RESTARTED.0,
        "CPA_INSTANCE_EVENT_FATAL_ERROR" = cpa::InstanceEvent::FATAL_ERROR.0,
        "CPA_DC_DEFLATE" = dc::algorithm::DEFLATE,
        "CPA_DC_HT_STATIC" = dc::huffman::STATIC,
        "CPA_DC_HT_FULL_DYNAMIC" = dc::huffman::FULL_DYNAMIC,
        "CPA_DC_DIR_COMPRESS" = dc::direction::COMPRESS,
        "CPA_DC_DIR_DECOMPRESS" = dc::direction::DECOMPRESS,
        "CPA_DC_STATELESS" = dc::state::STATELESS,
        "CPA_DC_WINSIZE_32K" = dc::window::KIB_32,
        "CPA_DC_CRC32" = dc::checksum::CRC32,
        "CPA_DC_FLUSH_FINAL" = dc::flush::FINAL,
        "CPA_DC_OK" = ReqStatus::OK.0,
        "CPA_DC_OVERFLOW" = ReqStatus::OVERFLOW.0,
        "CPA_DC_FATALERR" = ReqStatus::FATAL.0,
        "CPA_DC_INCOMPLETE_FILE_ERR" = ReqStatus::INCOMPLETE_FILE.0,
        "CPA_DC_VERIFY_ERROR" = ReqStatus::VERIFY.0,
    }
}

fn qatzip_structures() -> Vec<Expected> {
    [
        structure!(RawSession = "QzSession_T" {
            hardware_status = "hw_session_stat", thread_status = "thd_sess_stat", internal = "internal",
            total_in = "total_in", total_out = "total_out",
        }),
        structure!(CommonParameters = "QzSessionParamsCommon_T" {
            direction = "direction", level = "comp_lvl", algorithm = "comp_algorithm", max_forks = "max_forks",
            software_backup = "sw_backup", hardware_buffer_bytes = "hw_buff_sz",
            stream_buffer_bytes = "strm_buff_sz", input_threshold_bytes = "input_sz_thrshold",
            request_threshold = "req_cnt_thrshold", wait_threshold = "wait_cnt_thrshold",
            polling = "polling_mode", latency_sensitive = "is_sensitive_mode",
        }),
        structure!(CommonParameters = "QzSessionParamsLZ4_T" { direction = "common_params.direction" }),
        structure!(DeflateParameters = "QzSessionParamsDeflate_T" {
            common = "common_params", huffman = "huffman_hdr", format = "data_fmt",
        }),
        structure!(ExtendedDeflateParameters = "QzSessionParamsDeflateExt_T" {
            deflate = "deflate_params", stop_at_stream_end = "stop_decompression_stream_end",
            zlib_format = "zlib_format",
        }),
    ]
    .concat()
}

fn qatzip_values() -> Vec<Expected> {
    values! {
        "QZ_OK" = QzStatus::OK.0,
        "QZ_DUPLICATE" = QzStatus::DUPLICATE.0,
        "QZ_NO_HW" = QzStatus::NO_HW.0,
        "QZ_PARAMS" = QzStatus::PARAMS.0,
        "QZ_FAIL" = QzStatus::FAIL.0,
        "QZ_BUF_ERROR" = QzStatus::BUF_ERROR.0,
        "QZ_DATA_ERROR" = QzStatus::DATA_ERROR.0,
        "QZ_NOT_SUPPORTED" = QzStatus::NOT_SUPPORTED.0,
        "QZ_NOSW_NO_HW" = QzStatus::NOSW_NO_HW.0,
        "QZ_NOSW_NO_INST_ATTACH" = QzStatus::NOSW_NO_INSTANCE.0,
        "QZ_DIR_BOTH" = layout::direction::BOTH,
        "QZ_DEFLATE" = layout::algorithm::DEFLATE,
        "QZ_LZ4" = layout::algorithm::LZ4,
        "QZ_DYNAMIC_HDR" = layout::huffman::DYNAMIC,
        "QZ_DEFLATE_RAW" = layout::format::RAW,
        "QZ_PERIODICAL_POLLING" = layout::polling::PERIODIC,
        "PINNED_MEM" = layout::memory::PINNED,
        "QZ_AUTO_SELECT_NUMA_NODE" = layout::memory::ANY_NODE,
        "LOG_NONE" = layout::log::NONE,
        "QZ_HW_BUFF_MIN_SZ" = *layout::HARDWARE_BUFFER_BYTES.start(),
        "QZ_HW_BUFF_MAX_SZ" = *layout::HARDWARE_BUFFER_BYTES.end(),
        "QZ_DEFLATE_COMP_LVL_MINIMUM" = *layout::LEVELS.start(),
        "QZ_DEFLATE_COMP_LVL_MAXIMUM" = *layout::LEVELS.end(),
        "QZ_STRM_BUFF_SZ_DEFAULT" = layout::STREAM_BUFFER_BYTES,
        "QZ_COMP_THRESHOLD_DEFAULT" = layout::INPUT_THRESHOLD_BYTES,
        "QZ_COMP_THRESHOLD_MINIMUM" = layout::LEAST_INPUT_THRESHOLD_BYTES,
        "QZ_WAIT_CNT_THRESHOLD_DEFAULT" = layout::WAIT_THRESHOLD,
        "QZ_MAX_FORK_DEFAULT" = layout::MAX_FORKS,
    }
}

#[test]
fn a_c_compiler_lays_out_the_vendors_structures_as_here() {
    match headers("qat/cpa_dc.h") {
        Ok(folder) => {
            let expected = [cpa_structures(), cpa_values()].concat();
            compare(&folder.join("qat"), "#include <cpa.h>\n#include <cpa_dc.h>", &expected);
        }
        Err(reason) => println!("skipped: {reason}"),
    }
}

#[test]
fn a_c_compiler_lays_out_qatzips_structures_as_here() {
    match headers("qatzip.h") {
        Ok(folder) => {
            compare(&folder, "#include <qatzip.h>", &[qatzip_structures(), qatzip_values()].concat());
        }
        Err(reason) => println!("skipped: {reason}"),
    }
}
