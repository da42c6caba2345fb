//! The two things that a driver has to do with PCI configuration space.

use std::io;

/// Vendor and device number, at offset 0.
const ID: u64 = 0x00;
/// The command register.
const COMMAND: u64 = 0x04;
/// Bits of it: BARs answer, and the function may read and write memory.
const MEMORY_AND_BUS_MASTER: u16 = 0b110;

/// Vendor and device number.
pub(super) fn id(read: impl Fn(u64, &mut [u8]) -> io::Result<()>) -> io::Result<(u16, u16)> {
    let mut bytes = [0; 4];
    read(ID, &mut bytes)?;
    let [a, b, c, d] = bytes;
    Ok((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
}

/// Lets the function read and write memory.
pub(super) fn master_the_bus(
    read: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    write: impl Fn(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut bytes = [0; 2];
    read(COMMAND, &mut bytes)?;
    let command = u16::from_le_bytes(bytes) | MEMORY_AND_BUS_MASTER;
    write(COMMAND, &command.to_le_bytes())
}
