//! Lines of JSON over a stream, none longer than agreed.

use std::io::{self, BufRead, ErrorKind, Read, Write};

use serde::Serialize;

/// Reads a line, without its end; none if there are no more.
///
/// # Errors
/// What the system says, or [`ErrorKind::InvalidData`] if it is longer than `most`, or not ended.
pub(super) fn read(from: &mut impl BufRead, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(most + 1).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() as u64 >= most => {
            Err(io::Error::new(ErrorKind::InvalidData, format!("the line is longer than {most} bytes")))
        }
        Some(_) => Err(io::Error::new(ErrorKind::InvalidData, "the line does not end")),
    }
}

/// Writes a line in one go.
///
/// # Errors
/// What the system says.
pub(super) fn write(into: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    into.write_all(&line)?;
    into.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_up_to_its_end_and_up_to_the_most() {
        let mut stream = &b"one\n\n1234\n12345\n"[..];
        for expected in ["one", "", "1234"] {
            let line = read(&mut stream, 4).unwrap().unwrap();
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        }
        let error = read(&mut stream, 4).unwrap_err();
        assert!(error.to_string().contains("longer than 4 bytes"), "{error}");
        assert!(read(&mut &b"never"[..], 100).unwrap_err().to_string().contains("does not end"));
        assert!(read(&mut &b""[..], 100).unwrap().is_none());
    }
}
