//! A buffer that notices writes beside it, by C code too, which the sanitizer does not see.

const GUARD: u8 = 0xa5;
const GUARD_BYTES: usize = 64;

/// Runs `decode` on an output of `bytes` bytes and returns them if it succeeded.
///
/// # Panics
/// If anything beside the output was written.
pub fn guarded<E>(bytes: usize, decode: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Vec<u8>, E> {
    let mut buffer = vec![GUARD; bytes + 2 * GUARD_BYTES];
    let result = decode(&mut buffer[GUARD_BYTES..GUARD_BYTES + bytes]);
    let (before, rest) = buffer.split_at(GUARD_BYTES);
    let (output, behind) = rest.split_at(bytes);
    assert!(before.iter().chain(behind).all(|&byte| byte == GUARD), "the decoder wrote beside its output");
    result.map(|()| output.to_vec())
}

/// The output's length in an input's first two bytes: 1 to 65536; and the input behind them.
pub fn length_and_input(data: &[u8]) -> Option<(usize, &[u8])> {
    let (&[low, high], input) = data.split_first_chunk()?;
    Some((usize::from(u16::from_le_bytes([low, high])) + 1, input))
}
