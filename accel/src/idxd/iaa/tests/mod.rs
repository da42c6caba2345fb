mod bench;
mod decoding;
mod encoding;
mod modelled;
mod opening;
mod verifying;
