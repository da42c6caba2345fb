//! The features of a processor as CPUID says them, by the names that Linux has for them.

use std::collections::BTreeSet;

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Kvm;
use pageferry_engine::vm::{Architecture, Machine};
use vmm_sys_util::errno::Error;

/// A register of a CPUID leaf, and the names of its bits from 0 on; an empty name is a bit that Linux shows nowhere, or that
/// says nothing about what programs may do.
struct Names {
    leaf: (u32, u32),
    register: fn(&kvm_cpuid_entry2) -> u32,
    bits: &'static [&'static str],
}

/// AMD64 Architecture Programmer's Manual, volume 3, appendix E; Intel's manual, volume 2A, CPUID. The names are those of
/// Linux's `cpufeatures.h`.
const NAMES: [Names; 8] = [
    Names {
        leaf: (1, 0),
        register: |entry| entry.edx,
        bits: &[
            "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "", "", "sep", "mtrr", "pge",
            "mca", "cmov", "pat", "pse36", "", "clflush", "", "", "", "mmx", "fxsr", "sse", "sse2", "", "",
            "", "", "",
        ],
    },
    Names {
        leaf: (1, 0),
        register: |entry| entry.ecx,
        bits: &[
            "pni",
            "pclmulqdq",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "ssse3",
            "",
            "",
            "fma",
            "cx16",
            "",
            "",
            "",
            "pcid",
            "",
            "sse4_1",
            "sse4_2",
            "",
            "movbe",
            "popcnt",
            "",
            "aes",
            "xsave",
            "",
            "avx",
            "f16c",
            "rdrand",
            "",
        ],
    },
    Names {
        leaf: (7, 0),
        register: |entry| entry.ebx,
        bits: &[
            "fsgsbase",
            "",
            "",
            "bmi1",
            "hle",
            "avx2",
            "",
            "smep",
            "bmi2",
            "erms",
            "invpcid",
            "rtm",
            "",
            "",
            "",
            "",
            "avx512f",
            "avx512dq",
            "rdseed",
            "adx",
            "smap",
            "avx512ifma",
            "",
            "clflushopt",
            "clwb",
            "",
            "",
            "",
            "avx512cd",
            "sha_ni",
            "avx512bw",
            "avx512vl",
        ],
    },
    Names {
        leaf: (7, 0),
        register: |entry| entry.ecx,
        bits: &[
            "",
            "avx512vbmi",
            "umip",
            "pku",
            "",
            "",
            "avx512_vbmi2",
            "",
            "gfni",
            "vaes",
            "vpclmulqdq",
            "avx512_vnni",
            "avx512_bitalg",
            "",
            "avx512_vpopcntdq",
            "",
            "la57",
            "",
            "",
            "",
            "",
            "",
            "rdpid",
            "",
            "",
            "",
            "",
            "movdiri",
            "movdir64b",
            "enqcmd",
        ],
    },
    Names {
        leaf: (7, 0),
        register: |entry| entry.edx,
        bits: &[
            "",
            "",
            "avx512_4vnniw",
            "avx512_4fmaps",
            "fsrm",
            "",
            "",
            "",
            "avx512_vp2intersect",
            "",
            "",
            "",
            "",
            "",
            "serialize",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "amx_bf16",
            "avx512_fp16",
            "amx_tile",
            "amx_int8",
        ],
    },
    Names { leaf: (0xd, 1), register: |entry| entry.eax, bits: &["xsaveopt", "xsavec", "xgetbv1", "xsaves"] },
    Names {
        leaf: (0x8000_0001, 0),
        register: |entry| entry.edx,
        bits: &[
            "", "", "", "", "", "", "", "", "", "", "", "syscall", "", "", "", "", "", "", "", "", "nx", "",
            "mmxext", "", "", "fxsr_opt", "pdpe1gb", "rdtscp", "", "lm",
        ],
    },
    Names {
        leaf: (0x8000_0001, 0),
        register: |entry| entry.ecx,
        bits: &["lahf_lm", "", "", "", "", "abm", "sse4a", "misalignsse", "3dnowprefetch"],
    },
];

/// What guests are shown of this host's processor.
pub(super) struct Processor {
    /// What KVM supports, as vCPUs are set up with it.
    pub(super) cpuid: CpuId,
    /// What a vCPU then has: where user mode reads the processor's own CPUID, that is more.
    pub(super) machine: Machine,
}

impl Processor {
    /// That of this host, by a vCPU of a machine that is gone afterwards.
    pub(super) fn of_this_host(kvm: &Kvm) -> Result<Self, Error> {
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
        let vcpu = kvm.create_vm()?.create_vcpu(0)?;
        vcpu.set_cpuid2(&cpuid)?;
        let shown = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES)?;
        let mut cpu_features = features(cpuid.as_slice());
        cpu_features.extend(features(shown.as_slice()));
        let cpu_model = model(shown.as_slice());
        Ok(Self { cpuid, machine: Machine { architecture: Architecture::X86_64, cpu_model, cpu_features } })
    }
}

/// The features of this CPUID.
pub(super) fn features(entries: &[kvm_cpuid_entry2]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for names in &NAMES {
        let bits = entry(entries, names.leaf).map_or(0, names.register);
        let set = (0..).zip(names.bits).filter(|&(bit, name)| bits >> bit & 1 == 1 && !name.is_empty());
        found.extend(set.map(|(_, &name)| name.to_owned()));
    }
    found
}

/// The brand string: three leaves of four registers of four bytes.
fn model(entries: &[kvm_cpuid_entry2]) -> String {
    let leaves = (0x8000_0002..=0x8000_0004).filter_map(|leaf| entry(entries, (leaf, 0)));
    let words = leaves.flat_map(|entry| [entry.eax, entry.ebx, entry.ecx, entry.edx]);
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn entry(entries: &[kvm_cpuid_entry2], (leaf, index): (u32, u32)) -> Option<&kvm_cpuid_entry2> {
    entries.iter().find(|entry| entry.function == leaf && entry.index == index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_the_names_that_linux_gives_them() {
        let leaf = |function, index| kvm_cpuid_entry2 { function, index, ..Default::default() };
        let entries = [
            kvm_cpuid_entry2 { ecx: 1 << 28 | 1 << 25, edx: 1 << 26, ..leaf(1, 0) },
            kvm_cpuid_entry2 { ebx: 1 << 16, edx: 1 << 23, ..leaf(7, 0) },
            kvm_cpuid_entry2 { ebx: 1 << 5, ..leaf(7, 1) },
            kvm_cpuid_entry2 { edx: 1 << 26 | 1 << 29, ..leaf(0x8000_0001, 0) },
        ];
        let expected = ["aes", "avx", "avx512_fp16", "avx512f", "lm", "pdpe1gb", "sse2"].map(str::to_owned);
        assert_eq!(features(&entries), expected.into());
    }

    #[test]
    fn the_model_is_the_brand_string() {
        let word = |text: &[u8; 4]| u32::from_le_bytes(*text);
        let entry = kvm_cpuid_entry2 {
            function: 0x8000_0002,
            eax: word(b" A C"),
            ebx: word(b"PU\0\0"),
            ..Default::default()
        };
        assert_eq!(model(&[entry]), "A CPU");
    }
}
