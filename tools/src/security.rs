//! How the stream between two hosts is protected, from what the command line says of it.

use std::path::PathBuf;

use clap::Args;
use pageferry_engine::transport::tls::{PeerName, TlsFileError, TlsFiles, TlsRole, TlsSetupError};
use pageferry_engine::transport::{Address, Dialer, Security};
use serde::{Serialize, Serializer};

/// The heading that these options stand under.
pub(crate) const SECURITY: &str = "Security";

/// For a stream that others may read.
const NOT_ENCRYPTED: &str = "the stream is plain TCP and not encrypted: whoever is on the way can read and change the guest's memory; use \
     --tls-certificate, --tls-key and --tls-authority instead of --plain";

/// The options that say it.
#[derive(Debug, Clone, Args)]
pub struct TlsArgs {
    /// This host's certificate, in PEM; with it the stream is TLS 1.3, and both ends show who they are
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_authority"], help_heading = SECURITY)]
    pub tls_certificate: Option<PathBuf>,
    /// The private key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_certificate", help_heading = SECURITY)]
    pub tls_key: Option<PathBuf>,
    /// The certificate of the authority that signs those of both hosts
    #[arg(long, value_name = "FILE", requires = "tls_certificate", help_heading = SECURITY)]
    pub tls_authority: Option<PathBuf>,
    /// Do without TLS where the stream can be read by others than this machine
    #[arg(long, conflicts_with = "tls_certificate", help_heading = SECURITY)]
    pub plain: bool,
}

/// How a stream is protected, and what is to be said about that.
#[derive(Clone, Debug)]
pub struct SecurityPlan {
    /// How connections are made.
    pub security: Security,
    /// For the user.
    pub warnings: Vec<String>,
}

/// A stream that cannot be protected as asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// It would be open to others.
    #[error(
        "{0} can be reached by others than this machine: protect the stream with --tls-certificate, --tls-key and \
         --tls-authority, or say --plain to have it open to whoever is on the way"
    )]
    Open(Address),
    /// The files are not good.
    #[error(transparent)]
    Files(#[from] TlsFileError),
    /// The other end has no name.
    #[error("{0} (--tls-server-name)")]
    Setup(#[from] TlsSetupError),
}

impl SecurityPlan {
    /// Of a source that sends to an address, whose certificate has the name of its host, or the other one that is given.
    ///
    /// # Errors
    /// [`SecurityError`] says which option to add or which file to mend.
    pub fn of_source(
        args: TlsArgs,
        server_name: Option<PeerName>,
        to: &Address,
    ) -> Result<Self, SecurityError> {
        let plan = Self::resolve(args, TlsRole::Dials, server_name, to)?;
        // What would fail later fails before memory is filled.
        Dialer::new(to.clone(), plan.security.clone(), None)?;
        Ok(plan)
    }

    /// Of a destination that takes sources of one name, or all that the authority knows.
    ///
    /// # Errors
    /// As above.
    pub fn of_destination(
        args: TlsArgs,
        peer_name: Option<PeerName>,
        listen: &Address,
    ) -> Result<Self, SecurityError> {
        Self::resolve(args, TlsRole::Listens, peer_name, listen)
    }

    fn resolve(
        args: TlsArgs,
        role: TlsRole,
        peer_name: Option<PeerName>,
        address: &Address,
    ) -> Result<Self, SecurityError> {
        let plain = args.plain;
        if let Some(files) = files(args) {
            let tls = files.load(role)?;
            let warnings = tls.warnings().to_vec();
            return Ok(Self { security: Security::Tls { tls, peer_name }, warnings });
        }
        if !address.leaves_the_machine() {
            return Ok(Self { security: Security::Plain, warnings: Vec::new() });
        }
        if plain {
            Ok(Self { security: Security::Plain, warnings: vec![NOT_ENCRYPTED.to_owned()] })
        } else {
            Err(SecurityError::Open(address.clone()))
        }
    }
}

impl Serialize for SecurityPlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self.security {
            Security::Plain => "plain",
            Security::Tls { .. } => "tls",
        })
    }
}

/// All three, or none; the command line takes nothing else.
fn files(args: TlsArgs) -> Option<TlsFiles> {
    let [certificate, key, authority]: [Option<PathBuf>; 3] =
        [args.tls_certificate, args.tls_key, args.tls_authority];
    Some(TlsFiles { certificate: certificate?, key: key?, authority: authority? })
}
