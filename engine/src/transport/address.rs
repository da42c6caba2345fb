//! Where the two ends find each other: `tcp:HOST:PORT` or `unix:PATH`.

use std::fmt;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen at or to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Host and port, as the system's resolver takes them; an IPv6 address stands in brackets.
    Tcp(String),
    /// A path in the file system.
    Unix(PathBuf),
}

/// Text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address: write tcp:HOST:PORT or unix:PATH")]
pub struct NoAddress(String);

impl Address {
    /// Whether what is sent to this address can be read by others than this machine's. A host that does not resolve
    /// counts as one elsewhere.
    #[must_use]
    pub fn leaves_the_machine(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(place) => place
                .to_socket_addrs()
                .map_or(true, |mut found| found.any(|address| !address.ip().to_canonical().is_loopback())),
        }
    }

    /// The host as a certificate names it: without its port, and without brackets.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        let Self::Tcp(place) = self else { return None };
        let host = place.rsplit_once(':').map_or(place.as_str(), |(host, _)| host);
        Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
    }
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let none = || NoAddress(text.to_owned());
        match text.split_once(':').ok_or_else(none)? {
            ("unix", path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            ("tcp", place) => {
                let (host, port) = place.rsplit_once(':').ok_or_else(none)?;
                port.parse::<u16>().map_err(|_| none())?;
                if host.is_empty() { Err(none()) } else { Ok(Self::Tcp(place.to_owned())) }
            }
            _ => Err(none()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) => write!(f, "tcp:{place}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_it_was_typed() {
        for text in ["tcp:0.0.0.0:4444", "tcp:[::1]:0", "tcp:host.example:1", "unix:/run/a.sock", "unix:a:b"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "host:1", "tcp:host", "tcp::1", "tcp:host:99999", "unix:", "udp:host:1", "4444"] {
            assert_eq!(text.parse::<Address>(), Err(NoAddress(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn only_loopback_and_files_stay_on_the_machine() {
        for (text, leaves) in [
            ("tcp:127.0.0.1:1", false),
            ("tcp:[::1]:1", false),
            ("tcp:[::ffff:127.0.0.1]:1", false),
            ("tcp:192.0.2.1:1", true),
            ("unix:/a", false),
            ("tcp:0.0.0.0:1", true),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().leaves_the_machine(), leaves, "{text}");
        }
    }

    #[test]
    fn the_host_is_what_a_certificate_would_name() {
        for (text, host) in [
            ("tcp:host.example:1", Some("host.example")),
            ("tcp:192.0.2.1:80", Some("192.0.2.1")),
            ("tcp:[2001:db8::1]:80", Some("2001:db8::1")),
            ("unix:/a", None),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().host(), host, "{text}");
        }
    }
}
