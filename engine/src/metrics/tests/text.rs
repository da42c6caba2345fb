//! A reader of OpenMetrics text (version 1.0.0 of its specification), strict in what this crate writes of it.

use std::collections::{BTreeMap, BTreeSet};

/// Values by name and labels, as `name{label="value",...}` with the labels in order.
pub(super) type Samples = BTreeMap<String, f64>;

#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    unit: Option<String>,
}

/// Reads a whole answer, and refuses whatever the specification or this crate's own rules do not allow.
pub(super) fn read(text: &str) -> Result<Samples, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with EOF")?;
    let (mut samples, mut families, mut family) = (Samples::new(), BTreeSet::new(), Family::default());
    for line in body.lines() {
        let wrong = |why: &str| Err(format!("{why}: {line}"));
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                if !families.insert(name.to_owned()) {
                    return wrong("a family for the second time");
                }
                if !is_name(name) || !name.starts_with("pageferry_") || name.ends_with("_total") {
                    return wrong("no name for a family");
                }
                if !help.ends_with('.') || help.len() < 10 {
                    return wrong("no help");
                }
                family = Family { name: name.into(), ..Family::default() };
            }
            ["#", "TYPE", name, kind @ ("counter" | "gauge")] if name == family.name => {
                family.kind = kind.into()
            }
            ["#", "UNIT", name, unit] if name == family.name => {
                if !name.ends_with(&format!("_{unit}")) {
                    return wrong("the name lacks the unit");
                }
                family.unit = Some(unit.into());
            }
            ["#", ..] => return wrong("no metadata of the family before it"),
            _ => {
                let (series, value) = sample(line, &family).map_err(|why| format!("{why}: {line}"))?;
                if samples.insert(series, value).is_some() {
                    return wrong("a series for the second time");
                }
            }
        }
    }
    Ok(samples)
}

fn sample(line: &str, family: &Family) -> Result<(String, f64), String> {
    let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
    let (name, labels) = series.split_once('{').ok_or("no labels")?;
    let expected = match family.kind.as_str() {
        "counter" => format!("{}_total", family.name),
        "gauge" => family.name.clone(),
        _ => return Err("no type before it".into()),
    };
    if name != expected {
        return Err(format!("not a sample of {expected}"));
    }
    let mut sorted = BTreeMap::new();
    let mut rest = labels.strip_suffix('}').ok_or("labels that do not end")?;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").ok_or("a label without value")?;
        let (value, after) = quoted(after).ok_or("a value that does not end")?;
        if !is_name(label) || label.contains(':') || sorted.insert(label, value).is_some() {
            return Err(format!("no label: {label}"));
        }
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    if !sorted.contains_key("end") {
        return Err("no word of which end it is".into());
    }
    let value: f64 = value.parse().map_err(|_| "no number")?;
    // Of what is counted, time alone is not counted in ones.
    let whole = value.fract() == 0.0 || family.name.ends_with("_seconds");
    if family.kind == "counter" && (value < 0.0 || !whole) {
        return Err("no count".into());
    }
    let labels: Vec<String> = sorted.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
    Ok((format!("{name}{{{}}}", labels.join(",")), value))
}

/// A value with its escapes undone, and what comes after its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        match chars.next()? {
            (end, '"') => return Some((value, &text[end + 1..])),
            (_, '\\') => value.push(match chars.next()?.1 {
                'n' => '\n',
                plain @ ('\\' | '"') => plain,
                _ => return None,
            }),
            (_, '\n') => return None,
            (_, plain) => value.push(plain),
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// The same in Prometheus's own older format, where the family of a counter is called as its samples are.
pub(super) fn to_prometheus(text: &str) -> String {
    let lines: Vec<&str> =
        text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT")).collect();
    let counters: BTreeSet<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let rename = |line: &&str| {
        let mut words: Vec<String> = line.splitn(4, ' ').map(str::to_owned).collect();
        if words[0] == "#" && counters.contains(words[2].as_str()) {
            words[2].push_str("_total");
        }
        words.join(" ") + "\n"
    };
    lines.iter().map(rename).collect()
}

#[test]
fn the_reader_refuses_what_is_not_allowed() {
    let good = "# HELP pageferry_a Something long.\n# TYPE pageferry_a counter\npageferry_a_total{end=\"x\"} 1\n# EOF\n";
    assert_eq!(read(good), Ok(Samples::from([("pageferry_a_total{end=\"x\"}".into(), 1.0)])));
    for (part, other) in [
        ("# EOF\n", ""),
        ("_total{", "{"),
        ("HELP pageferry_a", "HELP pageferry_b"),
        ("# HELP pageferry_a Something long.\n", ""),
        ("# TYPE pageferry_a counter\n", ""),
        ("counter", "thing"),
        ("end=", "of="),
        ("end=\"x\"", "end=\"x"),
        ("end=\"x\"", "end=\"x\",end=\"y\""),
        ("} 1", "} -1"),
        ("} 1", "} 1.5"),
        ("} 1", "} one"),
        ("pageferry_a", "pageferry-a"),
        ("counter\n", "counter\n# UNIT pageferry_a seconds\n"),
        ("# EOF", "pageferry_a_total{end=\"x\"} 2\n# EOF"),
    ] {
        let bad = good.replace(part, other);
        assert!(read(&bad).is_err(), "taken though it has {other:?} for {part:?}: {bad}");
    }
}
