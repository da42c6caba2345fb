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
    tls: [String; 2],
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
            let paths =
                [files.certificate, files.key, files.authority].map(|path| path.display().to_string());
            let [certificate, key, authority] = paths;
            format!("--tls-certificate {certificate} --tls-key {key} --tls-authority {authority}")
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

    /// The address to listen at; `socket` is where a Unix socket may be.
    pub fn listen(&self, socket: &str) -> String {
        if self.over == Over::Unix { socket.to_owned() } else { "tcp:127.0.0.1:0".to_owned() }
    }

    /// What `ferryvm migrate` is told.
    pub fn migrates(&self) -> String {
        let Self { connections, method, accelerator, tls: [source, _], .. } = self;
        format!("--connections {connections} --method {method} --accelerator {accelerator} {source}")
    }

    /// What `ferryvm receive` is told.
    pub fn receives(&self) -> &str {
        &self.tls[1]
    }
}

impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { over, connections, method, accelerator, .. } = self;
        let accelerator = accelerator.rsplit('/').next().unwrap_or_default();
        write!(f, "{method} over {connections} connections of {over:?} by {accelerator}")
    }
}
