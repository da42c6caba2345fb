//! Connections over TLS: who gets one, who does not, and what travels over it.

mod authentication;
mod files;
mod migrations;
mod rogue;
mod strangers;
mod streams;
