//! What a guest needs of a host, and what a host has: held against each other before a page is sent.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;

/// A processor architecture, as ELF numbers them (`e_machine`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Architecture(pub u16);

impl Architecture {
    /// x86 in 64-bit mode (`EM_X86_64`).
    pub const X86_64: Self = Self(62);
    /// Arm in 64-bit mode (`EM_AARCH64`).
    pub const AARCH64: Self = Self(183);
    /// RISC-V (`EM_RISCV`).
    pub const RISCV: Self = Self(243);

    /// None stated.
    pub const UNKNOWN: Self = Self(0);

    /// The one this program was built for.
    #[must_use]
    pub const fn of_this_build() -> Self {
        if cfg!(target_arch = "x86_64") {
            Self::X86_64
        } else if cfg!(target_arch = "aarch64") {
            Self::AARCH64
        } else if cfg!(any(target_arch = "riscv64", target_arch = "riscv32")) {
            Self::RISCV
        } else {
            Self::UNKNOWN
        }
    }

    /// Whether it is one at all.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.0 != Self::UNKNOWN.0
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::X86_64 => f.write_str("x86-64"),
            Self::AARCH64 => f.write_str("AArch64"),
            Self::RISCV => f.write_str("RISC-V"),
            Self::UNKNOWN => f.write_str("an unknown architecture"),
            Self(number) => write!(f, "architecture {number} (ELF e_machine)"),
        }
    }
}

/// A processor as a guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its architecture.
    pub architecture: Architecture,
    /// Its model, for people: `AMD EPYC 9R14`.
    pub cpu_model: String,
    /// Its features by the names that Linux gives them: `avx512f`, `sve2`. At the source those that the guest was shown, at
    /// the destination all that the host can show; the first must be within the second.
    pub cpu_features: BTreeSet<String>,
}

impl Machine {
    /// The processor of this host, as Linux describes it.
    ///
    /// # Errors
    /// If `/proc/cpuinfo` cannot be read.
    pub fn of_this_host() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/cpuinfo")?))
    }

    fn parse(cpuinfo: &str) -> Self {
        let field = |names: &[&str]| {
            let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
            let found = fields.find(|(name, _)| names.contains(&name.trim()));
            found.map_or("", |(_, value)| value.trim())
        };
        Self {
            architecture: Architecture::of_this_build(),
            cpu_model: field(&["model name", "CPU part", "uarch"]).to_owned(),
            cpu_features: field(&["flags", "Features", "isa"])
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_and_features_are_those_of_the_first_processor() {
        let cpuinfo =
            "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu avx2\n\nmodel name\t: Another\nflags\t: x\n";
        let machine = Machine::parse(cpuinfo);
        assert_eq!(machine.cpu_model, "A CPU");
        assert_eq!(machine.cpu_features, ["avx2", "fpu"].map(str::to_owned).into());
    }
}
