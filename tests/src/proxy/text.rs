//! The text form of a plan.
//!
//! ```text
//! plan     = ["seed=" NUMBER] {fault | link}          parted by blanks, or commas for the eye
//! fault    = VERB STREAM "@" OFFSET {option}          STREAM is c0 up, c0 down, c1 up, ...
//!            cut                                      fin (instead of a reset), all, down=LASTING
//!            stall                                    both, or other (way), all, for=LASTING (for ever if not given)
//!            truncate
//!            corrupt                                  xor=HEX (01 if not given)
//!            noise                                    one-in=NUMBER
//!            duplicate, drop                          bytes=NUMBER
//!            reorder                                  after=cN, past=NUMBER, within=TIME
//! link     = "link" {option}                          bytes-per-s=NUMBER, latency-up=TIME, latency-down=TIME
//! TIME     = NUMBER ("s" | "ms" | "us")
//! LASTING  = TIME | "ever"
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::plan::{Close, Cut, Direction, Fault, Lasting, Link, Plan, Reorder, Scope, Stall, Stream, What};

/// Why a text is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A word that means nothing where it stands.
    #[error("'{0}' means nothing here: proxy/text.rs has the words of a plan")]
    Word(String),
    /// Something that a fault needs and was not given.
    #[error("'{verb}' needs {what}")]
    Missing {
        /// What was to happen.
        verb: String,
        /// What is missing.
        what: &'static str,
    },
    /// More than a proxy will hold in memory.
    #[error("{0} bytes are more than the proxy repeats: at most {MOST_REPEATED}")]
    TooLong(u64),
}

/// What is sent twice is held in memory until then.
const MOST_REPEATED: u64 = 64 << 20;

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        let words: Vec<&str> = text.split([' ', ',', '\n', '\t']).filter(|word| !word.is_empty()).collect();
        let begins = |word: &&&str| VERBS.contains(*word);
        let head = words.iter().position(|word| begins(&word)).unwrap_or(words.len());
        for word in &words[..head] {
            plan.seed = number(option(word, "seed").ok_or_else(|| unknown(word))?)?;
        }
        let mut rest = &words[head..];
        while let [verb, after @ ..] = rest {
            let end = after.iter().position(|word| begins(&word)).unwrap_or(after.len());
            let (clause, next) = after.split_at(end);
            match *verb {
                "link" => plan.link = link(clause)?,
                verb => plan.faults.push(fault(verb, clause)?),
            }
            rest = next;
        }
        Ok(plan)
    }
}

const VERBS: [&str; 9] =
    ["cut", "stall", "truncate", "corrupt", "noise", "duplicate", "drop", "reorder", "link"];

fn link(words: &[&str]) -> Result<Link, PlanError> {
    let mut link = Link::default();
    for word in words {
        match word.split_once('=') {
            Some(("bytes-per-s", value)) => link.bytes_per_s = Some(number(value)?),
            Some(("latency-up", value)) => link.latency_up = time(value)?,
            Some(("latency-down", value)) => link.latency_down = time(value)?,
            _ => return Err(unknown(word)),
        }
    }
    Ok(link)
}

fn fault(verb: &str, words: &[&str]) -> Result<Fault, PlanError> {
    let [connection, direction, offset, options @ ..] = words else {
        return Err(missing(verb, "a connection, a direction and an offset, as in 'c0 up @1000'"));
    };
    let direction = match *direction {
        "up" => Direction::Up,
        "down" => Direction::Down,
        other => return Err(unknown(other)),
    };
    let stream = Stream { connection: self::connection(connection)?, direction };
    let offset = number(offset.strip_prefix('@').ok_or_else(|| unknown(offset))?)?;
    let options = &mut Options { verb, words: options.to_vec() };
    let what = match verb {
        "cut" => What::Cut(cut(options)?),
        "stall" => What::Stall(stall(options, direction)?),
        "truncate" => What::Truncate,
        "corrupt" => What::Corrupt(hex(options.value("xor").unwrap_or("01"))?),
        "noise" => What::Noise(number(options.needed("one-in", "one-in=NUMBER")?)?.max(1)),
        "duplicate" => match number(options.needed("bytes", "bytes=NUMBER")?)? {
            bytes if bytes > MOST_REPEATED => return Err(PlanError::TooLong(bytes)),
            bytes => What::Duplicate(bytes),
        },
        "drop" => What::Drop(number(options.needed("bytes", "bytes=NUMBER")?)?),
        _ => What::Reorder(Reorder {
            after: self::connection(options.needed("after", "after=cN")?)?,
            past: number(options.needed("past", "past=NUMBER")?)?,
            within: time(options.needed("within", "within=TIME")?)?,
        }),
    };
    options.words.first().map_or(Ok(Fault { stream, offset, what }), |word| Err(unknown(word)))
}

fn cut(options: &mut Options<'_>) -> Result<Cut, PlanError> {
    let close = if options.flag("fin") { Close::Orderly } else { Close::Reset };
    let scope = options.scope();
    let down = options.value("down").map_or(Ok(Cut::RESET.down), lasting)?;
    Ok(Cut { close, scope, down })
}

fn stall(options: &mut Options<'_>, direction: Direction) -> Result<Stall, PlanError> {
    let direction = match (options.flag("both"), options.flag("other")) {
        (true, _) => None,
        (false, true) => Some(direction.opposite()),
        (false, false) => Some(direction),
    };
    let lasting = options.value("for").map_or(Ok(Lasting::Ever), lasting)?;
    Ok(Stall { direction, scope: options.scope(), lasting })
}

/// The words of a fault that were not understood yet.
struct Options<'a> {
    verb: &'a str,
    words: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn flag(&mut self, name: &str) -> bool {
        let place = self.words.iter().position(|word| *word == name);
        place.map(|place| self.words.remove(place)).is_some()
    }

    fn value(&mut self, name: &str) -> Option<&'a str> {
        let place = self.words.iter().position(|word| option(word, name).is_some())?;
        option(self.words.remove(place), name)
    }

    fn needed(&mut self, name: &str, what: &'static str) -> Result<&'a str, PlanError> {
        self.value(name).ok_or_else(|| missing(self.verb, what))
    }

    fn scope(&mut self) -> Scope {
        if self.flag("all") { Scope::All } else { Scope::One }
    }
}

fn option<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    word.strip_prefix(name)?.strip_prefix('=')
}

fn unknown(word: &str) -> PlanError {
    PlanError::Word(word.into())
}

fn missing(verb: &str, what: &'static str) -> PlanError {
    PlanError::Missing { verb: verb.into(), what }
}

fn connection(word: &str) -> Result<usize, PlanError> {
    word.strip_prefix('c').and_then(|number| number.parse().ok()).ok_or_else(|| unknown(word))
}

fn number(word: &str) -> Result<u64, PlanError> {
    word.parse().map_err(|_| unknown(word))
}

fn time(word: &str) -> Result<Duration, PlanError> {
    let (digits, unit) = word.split_at(word.trim_end_matches(char::is_alphabetic).len());
    match unit {
        "s" => number(digits).map(Duration::from_secs),
        "ms" => number(digits).map(Duration::from_millis),
        "us" => number(digits).map(Duration::from_micros),
        _ => Err(unknown(word)),
    }
}

fn lasting(word: &str) -> Result<Lasting, PlanError> {
    if word == "ever" { Ok(Lasting::Ever) } else { time(word).map(Lasting::For) }
}

fn hex(word: &str) -> Result<Vec<u8>, PlanError> {
    let digits: Option<Vec<u32>> = word.chars().map(|digit| digit.to_digit(16)).collect();
    let byte = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).ok();
    match digits {
        Some(digits) if !digits.is_empty() && digits.len() % 2 == 0 => {
            digits.chunks_exact(2).map(byte).collect::<Option<_>>().ok_or_else(|| unknown(word))
        }
        _ => Err(unknown(word)),
    }
}

impl Direction {
    const fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "seed={}", self.seed)?;
        let link = (self.link != Link::default()).then(|| self.link.to_string());
        let faults = self.faults.iter().map(ToString::to_string);
        for (index, clause) in link.into_iter().chain(faults).enumerate() {
            write!(to, "{} {clause}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Link {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "link")?;
        if let Some(bytes_per_s) = self.bytes_per_s {
            write!(to, " bytes-per-s={bytes_per_s}")?;
        }
        for (name, latency) in [("up", self.latency_up), ("down", self.latency_down)] {
            if latency != Duration::ZERO {
                write!(to, " latency-{name}={}", Lasting::For(latency))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "c{} {}", self.connection, if self.direction == Direction::Up { "up" } else { "down" })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.what {
            What::Cut(_) => "cut",
            What::Stall(_) => "stall",
            What::Truncate => "truncate",
            What::Corrupt(_) => "corrupt",
            What::Noise(_) => "noise",
            What::Duplicate(_) => "duplicate",
            What::Drop(_) => "drop",
            What::Reorder(_) => "reorder",
        };
        write!(to, "{verb} {} @{}", self.stream, self.offset)?;
        match &self.what {
            What::Cut(cut) => write!(to, "{cut}"),
            What::Stall(stall) => match stall.direction {
                None => write!(to, " both{stall}"),
                Some(direction) if direction != self.stream.direction => write!(to, " other{stall}"),
                Some(_) => write!(to, "{stall}"),
            },
            What::Truncate => Ok(()),
            What::Corrupt(pattern) => {
                write!(to, " xor=")?;
                pattern.iter().try_for_each(|byte| write!(to, "{byte:02x}"))
            }
            What::Noise(one_in) => write!(to, " one-in={one_in}"),
            What::Duplicate(bytes) | What::Drop(bytes) => write!(to, " bytes={bytes}"),
            What::Reorder(Reorder { after, past, within }) => {
                write!(to, " after=c{after} past={past} within={}", Lasting::For(*within))
            }
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(if self.close == Close::Orderly { " fin" } else { "" })?;
        to.write_str(if self.scope == Scope::All { " all" } else { "" })?;
        if self.down == Self::RESET.down { Ok(()) } else { write!(to, " down={}", self.down) }
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} for={}", if self.scope == Scope::All { " all" } else { "" }, self.lasting)
    }
}

impl fmt::Display for Lasting {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ever => write!(to, "ever"),
            Self::For(time) if time.subsec_nanos() == 0 => write!(to, "{}s", time.as_secs()),
            Self::For(time) if time.subsec_micros() % 1000 == 0 => write!(to, "{}ms", time.as_millis()),
            Self::For(time) => write!(to, "{}us", time.as_micros()),
        }
    }
}
