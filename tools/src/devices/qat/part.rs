//! The parts of QAT that are known, and what the kernel has for each.

use super::super::{Function, number};

/// Parts that the kernel's drivers treat alike.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Intel's number of the physical function.
    pub(super) physical: &'static str,
    /// Intel's number of its virtual functions.
    pub(super) virtual_: &'static str,
    /// What the kernel's driver is called in sysfs.
    pub(super) driver: &'static str,
    pub(super) module: &'static str,
    pub(super) firmware: [&'static str; 2],
    /// Whether qatlib drives its virtual functions through VFIO; else the vendor's out-of-tree package drives the part.
    pub(super) has_qatlib: bool,
}

/// Sources: qatlib's INSTALL and `qat_init.sh`, Linux `drivers/crypto/intel/qat`. Newest generations first.
pub(super) const PARTS: [Part; 10] = [
    of_qatlib("4940", "4941", "4xxx", "qat_4xxx", ["qat_4xxx.bin", "qat_4xxx_mmp.bin"]),
    of_qatlib("4942", "4943", "4xxx", "qat_4xxx", ["qat_4xxx.bin", "qat_4xxx_mmp.bin"]),
    of_qatlib("4944", "4945", "4xxx", "qat_4xxx", ["qat_402xx.bin", "qat_402xx_mmp.bin"]),
    of_qatlib("4946", "4947", "420xx", "qat_420xx", ["qat_420xx.bin", "qat_420xx_mmp.bin"]),
    of_qatlib("4948", "4949", "6xxx", "qat_6xxx", ["qat_6xxx.bin", "qat_6xxx_mmp.bin"]),
    of_package("37c8", "37c9", "c6xx", "qat_c62x", ["qat_c62x.bin", "qat_c62x_mmp.bin"]),
    of_package("19e2", "19e3", "c3xxx", "qat_c3xxx", ["qat_c3xxx.bin", "qat_c3xxx_mmp.bin"]),
    of_package("18a0", "18a1", "c4xxx", "qat_c4xxx", ["qat_c4xxx.bin", "qat_c4xxx_mmp.bin"]),
    of_package("6f54", "6f55", "d15xx", "qat_d15xx", ["qat_d15xx.bin", "qat_d15xx_mmp.bin"]),
    of_package("0435", "0443", "dh895xcc", "qat_dh895xcc", ["qat_895xcc.bin", "qat_895xcc_mmp.bin"]),
];

const fn of_qatlib(
    physical: &'static str,
    virtual_: &'static str,
    driver: &'static str,
    module: &'static str,
    firmware: [&'static str; 2],
) -> Part {
    Part { physical, virtual_, driver, module, firmware, has_qatlib: true }
}

const fn of_package(
    physical: &'static str,
    virtual_: &'static str,
    driver: &'static str,
    module: &'static str,
    firmware: [&'static str; 2],
) -> Part {
    Part { has_qatlib: false, ..of_qatlib(physical, virtual_, driver, module, firmware) }
}

impl Part {
    /// The part that a function is of.
    pub(super) fn of(function: &Function) -> Option<&'static Self> {
        let number = number(function)?;
        PARTS.iter().find(|part| part.physical == number || part.virtual_ == number)
    }

    /// Whether a function of the part is a virtual one, as its number says.
    pub(super) fn is_virtual(&self, function: &Function) -> bool {
        number(function) == Some(self.virtual_)
    }
}
