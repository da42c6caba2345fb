//! Who runs the guest when the two ends have lost each other and nobody can tell.
//!
//! Between the moment at which the destination could start the guest and that at which the source knows it has, a connection
//! that breaks leaves either without the other's word. Both then ask a third party, whose answer is the same to both.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::digest::sha256;
use crate::frame::End;
use crate::handshake::MigrationId;
use crate::text;

/// Gives the guest of every switchover to one end.
pub trait Arbiter: Send + Sync {
    /// The first to claim a switchover has the guest, for ever; says who has it, to whoever asks and however often.
    ///
    /// # Errors
    /// [`ArbiterError`] if that cannot be known. The claim may have been made nevertheless: whoever gets an error must not
    /// run the guest, and may ask again.
    fn claim(&self, switchover: Switchover, claimant: End) -> Result<End, ArbiterError>;
}

/// One switchover: one that was aborted is followed by another of the same migration, which is another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switchover {
    /// The migration.
    pub migration: MigrationId,
    /// Its attempt by which all pages came.
    pub attempt: u32,
}

/// A name that tells nobody the migration's id, which is a secret of the two ends: of the SHA-256 of id and attempt the first
/// 16 bytes.
impl fmt::Display for Switchover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = sha256(&[&self.migration.0[..], &self.attempt.to_le_bytes()].concat());
        digest[..16].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why nobody can tell who has a migration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArbiterError {
    /// The system refused.
    #[error("cannot {attempt} {}: {source}; see that the folder of claims can be reached and written to", .path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder of claims is none.
    #[error("{} is no folder: claims need one that both hosts reach", .0.display())]
    NoFolder(PathBuf),
    /// A file is in the place of a claim that says something else.
    #[error("{} is no claim to its switchover, it says {found:?}: let an operator decide who runs the guest", .path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// How it begins.
        found: String,
    },
    /// The file system says both that there is a claim and that there is none.
    #[error("{} is there, and cannot be read: ask again, the file system may be late", .0.display())]
    Hidden(PathBuf),
}

/// Claims as files in a folder that both hosts reach, as on shared storage.
///
/// The claim to a switchover is a file of its name. It is made by `link(2)` from a file of the claimant that was
/// written and synced before, so it appears at once and whole or not at all, on NFS too, and never in the place of another.
/// Nothing is ever deleted: an operator may remove files of migrations that are over. Both sides must be able to read what the
/// other has written.
#[derive(Clone, Debug)]
pub struct FileArbiter {
    folder: PathBuf,
}

impl FileArbiter {
    /// With claims in this folder.
    ///
    /// # Errors
    /// [`ArbiterError`] if there is no such folder.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self, ArbiterError> {
        let folder = folder.into();
        let metadata = fs::metadata(&folder).map_err(failed("look at", &folder))?;
        if metadata.is_dir() { Ok(Self { folder }) } else { Err(ArbiterError::NoFolder(folder)) }
    }

    /// The file of a migration's claim, and those of the two sides that it may be a link to.
    fn path(&self, switchover: Switchover, of: Option<End>) -> PathBuf {
        let name = of.map_or(switchover.to_string(), |side| format!("{switchover}.{side}"));
        self.folder.join(name)
    }

    /// Whose the claim is, if there is one.
    fn read(&self, switchover: Switchover) -> Result<Option<End>, ArbiterError> {
        let path = self.path(switchover, None);
        let mut found = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_CLAIM_BYTES).read_to_end(&mut found));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("read", &path))?,
        };
        let side = [End::Source, End::Destination]
            .into_iter()
            .find(|&side| found == content(switchover, side).as_bytes())
            .ok_or_else(|| ArbiterError::Foreign { path, found: text::harmless_line(&found, 64) })?;
        Ok(Some(side))
    }

    /// Writes the file that the claim will be a link to.
    ///
    /// One that was left half written, or that another process of this side writes at the same time, is to have the same
    /// bytes: they are written again over those that are there, which changes none of them.
    fn propose(&self, switchover: Switchover, claimant: End) -> Result<PathBuf, ArbiterError> {
        let path = self.path(switchover, Some(claimant));
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed("open", &path))?;
        let content = content(switchover, claimant);
        let written = file.write_all_at(content.as_bytes(), 0).and_then(|()| file.sync_all());
        let length = written.and_then(|()| file.metadata()).map_err(failed("write", &path))?.len();
        if length != content.len() as u64 {
            return Err(ArbiterError::Foreign { path, found: format!("{length} bytes of something") });
        }
        Ok(path)
    }
}

impl Arbiter for FileArbiter {
    fn claim(&self, switchover: Switchover, claimant: End) -> Result<End, ArbiterError> {
        let path = self.path(switchover, None);
        // First of all, because where there is a claim, a folder that is full or closed is no obstacle.
        if self.read(switchover)?.is_none() {
            let proposal = self.propose(switchover, claimant)?;
            match fs::hard_link(&proposal, &path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                // On NFS the link may be there although its confirmation was lost.
                Err(source) if self.read(switchover)?.is_none() => {
                    return Err(ArbiterError::Io { attempt: "make a claim of", path: proposal, source });
                }
                Err(_) => {}
            }
        }
        // Whoever is answered acts on it. A claim that another has just made must not vanish with the power after that.
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed("sync", &self.folder))?;
        self.read(switchover)?.ok_or(ArbiterError::Hidden(path))
    }
}

/// More than any claim has.
const MAX_CLAIM_BYTES: u64 = 256;

fn content(switchover: Switchover, side: End) -> String {
    format!("pageferry: the guest of switchover {switchover} runs at the {side}\n")
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArbiterError {
    let path = path.to_owned();
    move |source| ArbiterError::Io { attempt, path, source }
}
