//! Where the proxy listens, and where it dials.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// An address of a stream socket, with the text form `tcp:127.0.0.1:4444` or `unix:/path/to/socket`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP. Port 0 lets the system choose one to listen at.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// TCP over the loopback interface, at a port of the system's choice.
    #[must_use]
    pub fn loopback() -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, 0).into())
    }
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address: write tcp:IP:PORT or unix:PATH")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.into());
        match text.split_once(':') {
            Some(("tcp", address)) => Ok(Self::Tcp(address.parse().map_err(|_| wrong())?)),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(to, "tcp:{address}"),
            Self::Unix(path) => write!(to, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_from_its_text_and_others_are_refused() {
        for text in ["tcp:127.0.0.1:4444", "tcp:[::1]:1", "unix:/tmp/socket", "unix:relative"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in
            ["", "tcp", "tcp:", "tcp:127.0.0.1", "tcp:host:70000", "unix:", "udp:127.0.0.1:1", "/tmp/socket"]
        {
            assert_eq!(text.parse::<Address>(), Err(AddressError(text.into())));
        }
    }
}
