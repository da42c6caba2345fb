mod bench;
mod decoding;
mod encoding;
mod faults;
mod modelled;
mod opening;
mod verifying;
