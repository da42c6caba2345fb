//! Prints how the adaptive selector does against every fixed method, as a Markdown table.
//!
//! ```sh
//! cargo run --release -p pageferry-benches --bin selector -- --images redis.0.ram,redis.1.ram
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pageferry_benches::selection::{Case, INPUTS, input, race, table};
use pageferry_tools::calibration::calibrate;

/// The adaptive selector against every fixed method.
#[derive(Debug, Parser)]
struct Args {
    /// Snapshots of a guest's memory, to be among the inputs
    #[arg(long, value_name = "FILE,...", value_delimiter = ',')]
    images: Vec<PathBuf>,
    /// Inputs, by the names that the table has [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    inputs: Vec<String>,
    /// How much memory each built-in workload has, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    size: u64,
    /// Links, in Gbit/s
    #[arg(long, value_name = "GBIT,...", value_delimiter = ',', default_value = "1,10,100")]
    links: Vec<f64>,
    /// What the source may spend, in CPUs
    #[arg(long, value_name = "CPUS,...", value_delimiter = ',', default_value = "0.25,1,2")]
    cpus: Vec<f64>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("selector: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, Box<dyn std::error::Error>> {
    let host = calibrate(2)?.host;
    let wanted = |name: &&str| args.inputs.is_empty() || args.inputs.iter().any(|one| one == name);
    let mut races = Vec::new();
    for name in INPUTS.iter().filter(|name| wanted(name)) {
        let Some(input) = input(name, &args.images, args.size << 20)? else { continue };
        let cases =
            args.links.iter().flat_map(|&link| args.cpus.iter().map(move |&cpus| Case { link, cpus }));
        let races_of_input = cases.map(|case| race(&input.costs, host, case)).collect::<Result<_, _>>()?;
        races.push((input, races_of_input));
    }
    Ok(table(&races))
}
