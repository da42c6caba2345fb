//! Text that crosses the wire: bounded when it leaves, harmless when it arrives.

/// The longest text of a peer, in bytes of UTF-8.
pub(crate) const MAX_TEXT_BYTES: usize = 1024;

/// As much of `text` as fits `max_bytes`, cut between characters.
pub(crate) fn bounded(text: &str, max_bytes: usize) -> &str {
    let end = (0..=text.len().min(max_bytes)).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// A peer's bytes as text that a terminal and a log file take no orders from.
///
/// Bytes that are not UTF-8, control characters (they move cursors and forge log lines) and marks that turn the
/// direction of writing become U+FFFD; line ends and tabs become spaces.
pub(crate) fn harmless(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(harmless_char).collect()
}

/// [`harmless`], and no longer than `max_bytes`. What went through it once goes through unchanged.
pub(crate) fn harmless_line(bytes: &[u8], max_bytes: usize) -> String {
    bounded(&harmless(bytes), max_bytes).to_owned()
}

fn harmless_char(character: char) -> char {
    match character {
        '\n' | '\r' | '\t' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = format!("{}€", "a".repeat(MAX_TEXT_BYTES - 1));
        assert_eq!(bounded(&text, MAX_TEXT_BYTES), "a".repeat(MAX_TEXT_BYTES - 1));
        assert_eq!(bounded("short €", MAX_TEXT_BYTES), "short €");
    }

    #[test]
    fn control_characters_and_broken_utf8_become_marks() {
        assert_eq!(harmless(b"out of\nmemory\x1b[2J\xff\x00"), "out of memory\u{fffd}[2J\u{fffd}\u{fffd}");
        assert_eq!(harmless("a\u{202e}b\u{9b}c".as_bytes()), "a\u{fffd}b\u{fffd}c");
    }

    #[test]
    fn a_line_that_grows_as_it_is_made_harmless_keeps_its_bound() {
        let line = harmless_line(&[1; 8], 8);
        assert_eq!(line, "\u{fffd}\u{fffd}");
        assert_eq!(harmless_line(line.as_bytes(), 8), line);
    }
}
