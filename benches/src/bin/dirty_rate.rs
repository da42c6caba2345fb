//! Prints the largest dirty rate that still migrates, for each method on two patterns of writing, as a Markdown table.
//!
//! ```sh
//! cargo run --release -p pageferry-benches --bin dirty_rate -- --svg benches/dirty-rate.svg --json limits.json
//! ```

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ferryvm::{GuestChoice, GuestKind, Pattern};
use pageferry_accel::method::Method;
use pageferry_benches::clock::Others;
use pageferry_benches::dirty_rate::plot::svg;
use pageferry_benches::dirty_rate::report::{Report, thousands};
use pageferry_benches::dirty_rate::row::{WorkingSet, row};
use pageferry_benches::dirty_rate::search::Effort;
use pageferry_benches::dirty_rate::trial::{Setting, Trial};

/// Finds the largest dirty rate that still migrates within 300 ms of downtime over a link of 1 Gbit/s.
#[derive(Parser)]
struct Args {
    /// What runs the guest: kvm, process, or auto
    #[arg(long, default_value = "auto")]
    guest: GuestChoice,
    /// Only these patterns
    #[arg(long, value_delimiter = ',', default_value = "sparse,sequence")]
    pattern: Vec<Pattern>,
    /// Only these methods
    #[arg(long, value_delimiter = ',', default_value = "raw,deflate,zstd,xbzrle,delta")]
    method: Vec<Method>,
    /// Stop when a rate that migrates and one that does not are this factor apart
    #[arg(long, default_value_t = 1.05)]
    precision: f64,
    /// The most pages that the guest writes to, in GiB; both ends and the baselines take three times that
    #[arg(long, default_value_t = 2)]
    memory: u64,
    /// One pattern, two methods, a small guest and a rough search: shows that it works, and measures nothing
    #[arg(long)]
    quick: bool,
    /// Also write all tries here, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also draw the limits here
    #[arg(long)]
    svg: Option<PathBuf>,
}

const LINK_BYTES_PER_S: u64 = 125_000_000;
const DOWNTIME_LIMIT: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dirty_rate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<(), Box<dyn Error>> {
    let (effort, memory) = if args.quick {
        let effort = Effort { start: 2_000, ceiling: 4_000, precision: 2.0, successes: 1 };
        (effort, WorkingSet { least_pages: 1 << 10, most_pages: 1 << 13 })
    } else {
        let effort =
            Effort { start: 16_000, ceiling: u64::MAX, precision: args.precision.max(1.01), successes: 3 };
        (effort, WorkingSet { least_pages: 1 << 15, most_pages: args.memory.clamp(1, 256) << 18 })
    };
    let (patterns, methods): (&[Pattern], &[Method]) = if args.quick {
        (&[Pattern::Sequence], &[Method::Raw, Method::Zstd])
    } else {
        (&args.pattern, &args.method)
    };
    let others = Others::watch();
    let mut rows = Vec::new();
    for &pattern in patterns {
        for &method in methods {
            let setting = Setting {
                guest: args.guest,
                pattern,
                method,
                working_set_pages: memory.least_pages,
                link_bytes_per_s: LINK_BYTES_PER_S,
                downtime_limit: DOWNTIME_LIMIT,
            };
            rows.push(row(setting, memory, effort, |trial| tell(pattern, method, trial))?);
        }
    }
    let trial = rows.iter().flat_map(|row| &row.trials).next();
    let report = Report {
        guest: trial.map_or(GuestKind::Process, |trial| trial.guest),
        link_bytes_per_s: LINK_BYTES_PER_S,
        downtime_limit_ms: DOWNTIME_LIMIT.as_secs_f64() * 1e3,
        precision: effort.precision,
        others_cpu_share: others.share(),
        rows,
    };
    println!("Guest: {}, 1 vCPU; 2 connections, 2 CPU workers at each end.\n", report.guest);
    print!("{}", report.markdown());
    if let Some(path) = &args.json {
        fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    if let Some(path) = &args.svg {
        fs::write(path, svg(&report))?;
    }
    Ok(())
}

/// Says on stderr how a try went.
fn tell(pattern: Pattern, method: Method, trial: &Trial) {
    let Trial { asked_pages_per_s, written_pages_per_s, rounds, seconds, link_share, cpu_share, .. } = trial;
    let how = match (&trial.downtime, &trial.stayed) {
        (Some(downtime), _) => format!(
            "moved, {:.0} ms expected, {:.0} reported, {:.0} felt",
            downtime.expected_ms, downtime.reported_ms, downtime.felt_ms
        ),
        (None, reason) => format!("stayed: {}", reason.as_deref().unwrap_or("no reason")),
    };
    eprintln!(
        "{pattern} {method}: {} pages/s asked, {} written, {rounds} rounds, {seconds:.1} s, link {:.0}%, CPU {:.0}%: {how:.100}",
        thousands(*asked_pages_per_s as f64),
        thousands(*written_pages_per_s),
        link_share * 100.0,
        cpu_share * 100.0
    );
}
