//! How a process that has a guest is told what to do with it: JSON, one object a line, over a Unix socket.
//!
//! Whoever connects writes requests and reads answers; each request has one answer, but for `migrate` and `watch`, which are
//! followed by what happens until the migration has ended:
//!
//! ```text
//! {"command":"status"}                                  {"answer":"status","guest":"kvm","standing":"here",...}
//! {"command":"migrate","options":{"to":"unix:/b.sock","connections":4,"method":"zstd+delta"}}
//!                                                       {"answer":"begun","warnings":[]}
//!                                                       {"answer":"event",...} {"answer":"glance",...} ...
//!                                                       {"answer":"ended","verdict":"completed",...}
//! {"command":"watch"}                                   the same, of the migration that is on
//! {"command":"prove"}                                   {"answer":"proved","held":true,...}
//! {"command":"cancel"}                                  {"answer":"cancelled","in_time":true}
//! {"command":"resume"}                                  {"answer":"done"}: a guest in doubt runs here
//! {"command":"quit"}                                    {"answer":"done"}: the guest ends, after its proof
//! anything else                                         {"answer":"refused","kind":"usage","reason":"..."}
//! ```
//!
//! The options of `migrate` are those of the command, by their names; `folder` is what relative paths in them are relative to. A
//! migration goes on when whoever asked for it goes away. Who may write to the socket's file may do all this; it is made for its
//! owner alone.

pub(crate) mod address;
pub(crate) mod client;
pub(crate) mod desk;
mod line;
pub(crate) mod server;

use std::path::PathBuf;

use pageferry_engine::migration::Event;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::outcome::{Glance, Outcome};
use crate::proof::{Heartbeat, Proof};
use crate::state::GuestKind;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Request {
    Status {},
    Migrate {
        options: Map<String, Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<PathBuf>,
    },
    Watch {},
    Prove {},
    Cancel {},
    Resume {},
    Quit {},
}

/// Why a request is refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// It means nothing that can be done.
    Usage,
    /// An accelerator cannot be had.
    Accelerator,
    /// Not now.
    Busy,
}

/// What a process says, as it is written.
#[derive(Debug, Serialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub(crate) enum Answer<'a> {
    Status(Box<Status>),
    Begun { warnings: Vec<String> },
    Event(&'a Event),
    Glance(&'a Glance),
    Ended(&'a Outcome),
    Proved(Proof),
    Cancelled { in_time: bool },
    Done,
    Refused(Refused),
}

/// The same as it is read.
#[derive(Debug, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub(crate) enum Said {
    Status(Value),
    Begun { warnings: Vec<String> },
    Event(Map<String, Value>),
    Glance(Box<Glance>),
    Ended(Box<Outcome>),
    Proved(Proof),
    Cancelled { in_time: bool },
    Done,
    Refused(Refused),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Refused {
    pub(crate) kind: Kind,
    pub(crate) reason: String,
}

/// How a guest is.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) standing: &'static str,
    pub(crate) guest: Option<GuestKind>,
    pub(crate) heartbeat: Option<Heartbeat>,
    /// Why it cannot run on, if it cannot.
    pub(crate) crash: Option<String>,
    /// The one that is on.
    pub(crate) migration: Option<Glance>,
}

impl Refused {
    pub(crate) fn new(kind: Kind, reason: impl ToString) -> Self {
        Self { kind, reason: reason.to_string() }
    }
}
