use crate::frame::End;
use crate::handshake::MigrationId;
pub trait Arbiter: Send + Sync {
    fn claim(&self, migration: MigrationId, attempt: u32, claimant: End) -> Result<End, ArbiterError>;
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct ArbiterError;
pub struct FileArbiter;
impl FileArbiter {
    pub fn new(_: &std::path::Path) -> std::io::Result<Self> {
        Ok(Self)
    }
}
impl Arbiter for FileArbiter {
    fn claim(&self, _: MigrationId, _: u32, claimant: End) -> Result<End, ArbiterError> {
        Ok(claimant)
    }
}
