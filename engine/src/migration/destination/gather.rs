//! The connections of one migration, out of all that come.

use std::time::{Duration, Instant};

use crate::connection::PeerIdentity;
use crate::handshake::{MigrationId, Offer};
use crate::migration::course::Course;
use crate::migration::error::MigrationError;
use crate::migration::state::Happening;
use crate::receiver::Incoming;
use crate::transport::Listen;

/// Which connections are waited for.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Those of any migration that begins.
    First,
    /// Those of a migration that broke, made later than `after`, by the peer that began it.
    Again { migration: MigrationId, after: u32, peer: Option<&'a PeerIdentity> },
}

/// How long is listened in one go, so that a cancel is heeded in between.
const SLICE: Duration = Duration::from_millis(100);

/// Waits for all connections of one attempt; `None` if it has not begun by `until`.
///
/// Connections that do not belong to it are turned away. Once its first connection has come, the others have `patience`; so
/// has each for its offer.
///
/// # Errors
/// [`MigrationError`] if no connection will ever come any more, or somebody cancelled.
pub(super) fn gather(
    listen: &mut dyn Listen,
    wanted: Wanted<'_>,
    until: Option<Instant>,
    patience: Duration,
    course: &Course,
) -> Result<Option<Incoming>, MigrationError> {
    let mut gathered: Option<(Incoming, Instant)> = None;
    loop {
        if let Some((incoming, begun)) = gathered.take() {
            if incoming.missing() == 0 {
                return Ok(Some(incoming));
            }
            if begun.elapsed() < patience {
                gathered = Some((incoming, begun));
            } else {
                let (missing, expected) = (incoming.missing(), incoming.offer().channels);
                let reason = format!("{missing} of {expected} connections did not come");
                incoming.refuse(&reason);
                course.tell(Happening::Refused { reason });
            }
        } else if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(None);
        }
        course.check()?;
        let Some(connection) = listen.accept(SLICE)? else { continue };
        let newcomer = Incoming::begin_within(patience, connection).map_err(|error| error.to_string());
        let admitted = newcomer.and_then(|newcomer| admit(&mut gathered, newcomer, wanted));
        if let Err(reason) = admitted {
            course.tell(Happening::Refused { reason });
        }
    }
}

/// Puts a connection to those of its attempt. One of a later attempt takes the place of all before.
fn admit(
    gathered: &mut Option<(Incoming, Instant)>,
    newcomer: Incoming,
    wanted: Wanted<'_>,
) -> Result<(), String> {
    if let Some(reason) = wanted.refuses(newcomer.offer(), newcomer.peer()) {
        newcomer.refuse(&reason);
        return Err(reason);
    }
    match gathered {
        Some((incoming, _)) if !is_later(newcomer.offer(), incoming.offer()) => {
            incoming.absorb(newcomer).map_err(|error| error.to_string())
        }
        _ => {
            *gathered = Some((newcomer, Instant::now()));
            Ok(())
        }
    }
}

fn is_later(newcomer: &Offer, known: &Offer) -> bool {
    newcomer.migration == known.migration && newcomer.attempt > known.attempt
}

impl Wanted<'_> {
    fn refuses(self, offer: &Offer, found: Option<&PeerIdentity>) -> Option<String> {
        match self {
            Self::First if offer.attempt > 0 => Some(
                "this destination knows nothing of the migration that is to be taken up again".to_owned(),
            ),
            Self::First => None,
            Self::Again { migration, .. } if offer.migration != migration => {
                Some("the destination is busy with another migration".to_owned())
            }
            Self::Again { after, .. } if offer.attempt <= after => {
                Some(format!("attempt {} is over, attempt {after} has come since", offer.attempt))
            }
            Self::Again { peer, .. } if peer != found => {
                Some("the migration is taken up again by another peer than began it".to_owned())
            }
            Self::Again { .. } => None,
        }
    }
}
