//! The guests that are compared by.

use clap::ValueEnum;

use super::args::{CompareArgs, Snapshots};
use crate::args::WorkloadName;
use crate::quantity::ByteSize;

/// A guest, and how it is handed to `accelbench run`.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) description: String,
    /// The arguments of `run` that make this guest.
    pub(crate) arguments: Vec<String>,
}

/// What is compared by if the user names nothing.
const DEFAULTS: [WorkloadName; 3] = [WorkloadName::Ones, WorkloadName::Sequence, WorkloadName::Kv];

impl Guest {
    /// All guests of a command line.
    pub(crate) fn all(args: &CompareArgs) -> Vec<Self> {
        let built_in: &[WorkloadName] =
            if args.workload.is_empty() && args.input.is_empty() { &DEFAULTS } else { &args.workload };
        let size = args.size.unwrap_or(ByteSize(if args.quick { 64 << 20 } else { 256 << 20 }));
        let rounds = if args.quick { 3 } else { 5 };
        let built_in = built_in.iter().map(|&name| Self::built_in(name, size, args.seed, rounds));
        built_in.chain(args.input.iter().map(Self::of_images)).collect()
    }

    /// A guest that writes all of its memory between any two rounds, whole pages.
    fn built_in(name: WorkloadName, size: ByteSize, seed: u64, rounds: u32) -> Self {
        let shown = name.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let writes = match name {
            WorkloadName::Zeros => "writes of zeros",
            WorkloadName::Ones => "writes of ones",
            WorkloadName::Sequence => "writes of sequence numbers",
            WorkloadName::Kv => "a key-value store whose random values are set",
            WorkloadName::Random => "writes of noise",
            WorkloadName::Mixed => "a guest at work",
        };
        let description = format!("{writes}, {size}, all pages written before each of {rounds} rounds");
        let arguments = [
            ("--workload", shown.clone()),
            ("--size", size.0.to_string()),
            ("--seed", seed.to_string()),
            ("--rounds", rounds.to_string()),
            ("--dirty-percent", "100".to_owned()),
            ("--change-bytes", "4096".to_owned()),
        ];
        let arguments = arguments.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
        Self { name: shown, description, arguments: arguments.collect() }
    }

    fn of_images(Snapshots(images): &Snapshots) -> Self {
        let shown: Vec<String> = images.iter().map(|path| path.display().to_string()).collect();
        let name = images.first().and_then(|path| path.file_stem()).map(|stem| stem.to_string_lossy());
        let description = match images.len() {
            0 | 1 => format!("the image {}, sent once", shown.join("")),
            several => format!("{} and {} snapshots after it", shown[0], several - 1),
        };
        Self {
            name: name.unwrap_or_default().into_owned(),
            description,
            arguments: vec!["--input".to_owned(), shown.join(",")],
        }
    }
}
