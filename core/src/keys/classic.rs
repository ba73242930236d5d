//! Checks of X25519 points that age accepts and we refuse.

use x25519_dalek::PublicKey;

use super::KeyError;

/// An X25519 public key that is canonical (below 2²⁵⁵ − 19, top bit 0) and of full order.
pub(super) fn check_x25519_point(bytes: &[u8]) -> Result<PublicKey, KeyError> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::NotARecipient)?;
    let top = bytes[31];
    let at_least_p =
        bytes[0] >= 0xed && bytes[1..31].iter().all(|byte| *byte == 0xff) && top == 0x7f;
    if top & 0x80 != 0 || at_least_p {
        return Err(KeyError::NonCanonical);
    }
    // RFC 7748 section 6.1: a low-order point yields zero under every clamped scalar.
    if x25519_dalek::x25519([7; 32], bytes) == [0; 32] {
        return Err(KeyError::LowOrder);
    }
    Ok(PublicKey::from(bytes))
}
