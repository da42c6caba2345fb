//! Numbers for people: thousands apart.

/// A count, thousands apart.
pub(crate) fn count(value: u64) -> String {
    group(&value.to_string())
}

pub(crate) fn group(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
