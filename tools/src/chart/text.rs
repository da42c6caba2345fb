//! Words and numbers of charts: how they are written, and how much room they take.

use std::fmt::Write;

use crate::grouped::group;

/// Text as it stands in XML and HTML.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // XML has no way to write these.
            letter if letter.is_control() && letter != '\n' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

/// Advance widths of Roboto's printable ASCII characters, in units of 2048 an em, from the font file beside this file.
const ADVANCES: [u16; 95] = [
    508, 528, 656, 1261, 1151, 1500, 1274, 358, 701, 713, 882, 1162, 403, 566, 540, 845, 1151, 1151, 1151,
    1151, 1151, 1151, 1151, 1151, 1151, 1151, 496, 433, 1041, 1124, 1071, 968, 1839, 1336, 1276, 1333, 1344,
    1164, 1132, 1395, 1461, 557, 1130, 1285, 1103, 1788, 1461, 1409, 1292, 1409, 1262, 1216, 1222, 1328,
    1304, 1817, 1284, 1230, 1227, 543, 841, 543, 856, 924, 633, 1114, 1150, 1072, 1155, 1086, 712, 1150,
    1128, 498, 490, 1038, 498, 1796, 1131, 1168, 1150, 1164, 694, 1057, 670, 1129, 992, 1539, 1016, 969,
    1016, 693, 500, 693, 1393,
];

/// How wide `text` is at `size`; other fonts than ours are hardly wider than the tenth that is added.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    let advance = |letter: char| {
        let index = usize::try_from(u32::from(letter)).ok().and_then(|code| code.checked_sub(32));
        // Whatever is not ASCII is taken for wide.
        index.and_then(|index| ADVANCES.get(index)).map_or(0.65, |&units| f64::from(units) / 2048.0)
    };
    text.chars().map(advance).sum::<f64>() * size * 1.1
}

/// As much of `text` as fits into `room`, with an ellipsis if that is not all.
pub(crate) fn fitted(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut short: Vec<char> = text.chars().collect();
    while short.pop().is_some() {
        let shown = format!("{}…", short.iter().collect::<String>().trim_end());
        if width(&shown, size) <= room {
            return shown;
        }
    }
    String::new()
}

/// `text` in at most `most` lines of at most `room`.
pub(crate) fn wrapped(text: &str, room: f64, size: f64, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let is_last = lines.len() == most;
        match lines.last_mut() {
            Some(line) if is_last || width(&format!("{line} {word}"), size) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.into_iter().map(|line| fitted(&line, size, room)).collect()
}

/// A figure for people: thousands apart, three digits that count at least.
#[must_use]
pub fn grouped(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let digits = match value.abs() {
        0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        size if size >= 0.001 => 4,
        _ => 6,
    };
    let text = format!("{value:.digits$}");
    let (sign, text) = text.strip_prefix('-').map_or(("", &*text), |rest| ("-", rest));
    match text.split_once('.') {
        Some((whole, fraction)) => format!("{sign}{}.{fraction}", group(whole)),
        None => format!("{sign}{}", group(text)),
    }
}

/// A figure for an axis: short.
#[must_use]
pub fn compact(value: f64) -> String {
    let size = value.abs();
    let (scale, unit) = match size {
        size if size >= 1e9 => (1e9, " G"),
        size if size >= 1e6 => (1e6, " M"),
        size if size >= 1e4 => (1e3, " k"),
        _ => (1.0, ""),
    };
    let scaled = value / scale;
    let mut text = format!("{scaled:.3}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    if unit.is_empty() && size >= 1000.0 {
        return grouped(value);
    }
    format!("{text}{unit}")
}

/// A number in an attribute: a tenth of a unit is as fine as anybody sees.
pub(crate) fn number(out: &mut String, value: f64) {
    let rounded = (value * 10.0).round() / 10.0;
    // Writing to a string does not fail.
    let _ = write!(out, "{rounded}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        for (value, text) in [
            (1_234_567.0, "1,234,567"),
            (0.0, "0"),
            (12.34, "12.3"),
            (2.5, "2.50"),
            (0.0123, "0.0123"),
            (f64::NAN, "-"),
            (-1500.0, "-1,500"),
        ] {
            assert_eq!(grouped(value), text);
        }
        for (value, text) in [
            (0.0, "0"),
            (250_000.0, "250 k"),
            (1_200_000.0, "1.2 M"),
            (2e9, "2 G"),
            (1500.0, "1,500"),
            (0.25, "0.25"),
        ] {
            assert_eq!(compact(value), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_and_says_so() {
        let long = "a very long name of a method that somebody gave";
        let cut = fitted(long, 13.0, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 13.0) <= 100.0, "{cut}");
        assert_eq!(fitted("raw", 13.0, 100.0), "raw");
        let lines = wrapped(long, 120.0, 13.0, 2);
        assert!(lines.len() == 2 && lines.iter().all(|line| width(line, 13.0) <= 120.0), "{lines:?}");
    }

    #[test]
    fn no_text_breaks_out_of_its_element() {
        assert_eq!(escaped("<a b=\"c\">&\u{1b}"), "&lt;a b=&quot;c&quot;&gt;&amp;\u{fffd}");
    }
}
