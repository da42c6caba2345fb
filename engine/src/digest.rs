//! SHA-256, by the library that does TLS.

use rustls::Tls13CipherSuite;
use rustls::crypto::ring;

/// The SHA-256 of `bytes` (FIPS 180-4).
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    const SUITE: &Tls13CipherSuite =
        ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().expect("a suite of TLS 1.3");
    let mut digest = [0; 32];
    digest.copy_from_slice(SUITE.common.hash_provider.hash(bytes).as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_the_standard_is_the_digest() {
        // FIPS 180-2, B.1.
        let hex: String = sha256(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
