//! Ways to move a guest: transport, connections, methods, accelerator.

use std::fmt;
use std::path::Path;

use pageferry_qat_stand_in::StandIn;
use pageferry_tests::certificates::Authority;

#[derive(Debug)]
pub struct Trip {
    over: Over,
    connections: &'static str,
    method: &'static str,
    accelerator: String,
    /// Of source and destination.
    tls: [Vec<String>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Unix,
    Tcp,
    Tls,
}

const METHODS: [&str; 8] =
    ["raw", "deflate", "zstd", "lz4", "xbzrle", "delta", "deflate+delta+raw", "zstd+xbzrle+lz4"];

impl Trip {
    /// Every transport with every number of connections and every method, and the accelerators in turn.
    pub fn all(folder: &Path, authority: &Authority) -> Vec<Self> {
        let qat = format!("qat:{},cpu", StandIn::copy_to(folder).display());
        let accelerators = ["cpu", "dsa-model,cpu", "iaa-model,cpu", &qat, "iaa-model,dsa-full-model,cpu"];
        let tls = ["source", "127.0.0.1"].map(|host| {
            let files = authority.issue(host);
            let file = |option: &str, path: &Path| [option.to_owned(), path.display().to_string()];
            [
                file("--tls-certificate", &files.certificate),
                file("--tls-key", &files.key),
                file("--tls-authority", &files.authority),
            ]
            .concat()
        });
        let mut trips = Vec::new();
        for method in METHODS {
            for over in [Over::Unix, Over::Tcp, Over::Tls] {
                for connections in ["1", "4"] {
                    let accelerator = accelerators[trips.len() % accelerators.len()].to_owned();
                    let tls = if over == Over::Tls { tls.clone() } else { Default::default() };
                    trips.push(Self { over, connections, method, accelerator, tls });
                }
            }
        }
        trips
    }

    pub fn listen(&self, folder: &Path, number: usize) -> String {
        match self.over {
            Over::Unix => format!("unix:{}", folder.join(format!("{number}.sock")).display()),
            Over::Tcp | Over::Tls => "tcp:127.0.0.1:0".to_owned(),
        }
    }

    pub fn migrates(&self) -> Vec<&str> {
        let options = ["--connections", self.connections, "--method", self.method];
        let device = ["--accelerator", &self.accelerator];
        let tls = self.tls[0].iter().map(String::as_str);
        options.into_iter().chain(device).chain(tls).collect()
    }

    pub fn receives(&self) -> Vec<&str> {
        self.tls[1].iter().map(String::as_str).collect()
    }
}

impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { over, connections, method, accelerator, .. } = self;
        let accelerator = accelerator.rsplit('/').next().unwrap_or_default();
        write!(f, "{method} over {connections} connections of {over:?} by {accelerator}")
    }
}
