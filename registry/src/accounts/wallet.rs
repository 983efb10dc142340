//! Where payouts go. A mistyped address loses money, so what has a checksum is held to it.

use sha2::{Digest as _, Sha256};
use sha3::Keccak256;

use crate::error::{Error, Result};

const CHARS_MAX: usize = 200;

/// An address as it is kept. Ethereum, Bitcoin and IBAN are known by their look and checked; what looks like
/// none of them is the operator's to know, and only has to be printable.
pub fn wallet_address(text: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > CHARS_MAX || text.chars().any(char::is_control) {
        return Err(refused(&format!("has 1 to {CHARS_MAX} characters and no control characters")));
    }
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return ethereum(digits);
    }
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("bc1") {
        return segwit(text, &lower);
    }
    if looks_like_base58(text) {
        return base58(text);
    }
    let compact: String =
        text.chars().filter(|char| *char != ' ').map(|char| char.to_ascii_uppercase()).collect();
    if looks_like_iban(&compact) {
        return iban(compact);
    }
    Ok(text.to_owned())
}

fn refused(what: &str) -> Error {
    Error::unprocessable("wallet_address", format!("a wallet address {what}"))
}

fn mistyped(kind: &str) -> Error {
    refused(&format!("that looks like {kind} must have the right check digits: compare it with the original"))
}

/// EIP-55: the case of each letter is its check digit. All in one case carries none.
fn ethereum(digits: &str) -> Result<String> {
    if digits.len() != 40 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(refused("that begins with 0x has 40 hexadecimal digits after it"));
    }
    let lower = digits.to_ascii_lowercase();
    let is_one_case = digits == lower || digits == digits.to_ascii_uppercase();
    let hash = hex::encode(Keccak256::digest(lower.as_bytes()));
    let checked: String = lower
        .chars()
        .zip(hash.bytes())
        .map(|(digit, check)| if check >= b'8' { digit.to_ascii_uppercase() } else { digit })
        .collect();
    if is_one_case || digits == checked {
        Ok(format!("0x{digits}"))
    } else {
        Err(mistyped("an Ethereum address"))
    }
}

fn looks_like_base58(text: &str) -> bool {
    text.starts_with(['1', '3'])
        && (26..=35).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Bitcoin's first kind: 21 bytes, and four of a double SHA-256 over them.
fn base58(text: &str) -> Result<String> {
    let bytes = bs58::decode(text).into_vec().unwrap_or_default();
    match bytes.split_at_checked(21) {
        Some((payload, check)) if Sha256::digest(Sha256::digest(payload))[..4] == *check => {
            Ok(text.to_owned())
        }
        _ => Err(mistyped("a Bitcoin address")),
    }
}

/// BIP 173 and BIP 350: a checksum over the letters, its end telling the two apart by the witness version.
fn segwit(text: &str, lower: &str) -> Result<String> {
    const ALPHABET: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const BECH32: u32 = 1;
    const BECH32M: u32 = 0x2bc8_30a3;
    let is_one_case = text == lower || text == text.to_ascii_uppercase();
    let values: Option<Vec<u32>> = lower[3..]
        .chars()
        .map(|char| ALPHABET.find(char).and_then(|place| u32::try_from(place).ok()))
        .collect();
    let values =
        values.filter(|values| is_one_case && (14..=74).contains(&lower.len()) && !values.is_empty());
    let Some(values) = values else { return Err(mistyped("a Bitcoin address")) };
    // "bc" as the checksum reads it: the high bits of each letter, a zero, the low bits.
    let prefix = [3, 3, 0, 2, 3];
    let sum = prefix.iter().chain(&values).fold(1, |sum, value| bech32_step(sum) ^ value);
    let right = if values[0] == 0 { BECH32 } else { BECH32M };
    if sum == right { Ok(lower.to_owned()) } else { Err(mistyped("a Bitcoin address")) }
}

fn bech32_step(sum: u32) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = sum >> 25;
    let bits = GENERATOR.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1);
    bits.fold((sum & 0x01ff_ffff) << 5, |sum, (_, generator)| sum ^ generator)
}

fn looks_like_iban(compact: &str) -> bool {
    let bytes = compact.as_bytes();
    (15..=34).contains(&bytes.len())
        && bytes[..2].iter().all(u8::is_ascii_uppercase)
        && bytes[2..4].iter().all(u8::is_ascii_digit)
        && bytes.iter().all(u8::is_ascii_alphanumeric)
}

/// ISO 13616: with the first four characters at the end and letters as 10 to 35, 1 modulo 97.
fn iban(compact: String) -> Result<String> {
    let moved = compact.bytes().skip(4).chain(compact.bytes().take(4));
    let remainder = moved.fold(0, |remainder, byte| match byte {
        b'0'..=b'9' => (remainder * 10 + u32::from(byte - b'0')) % 97,
        _ => (remainder * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    if remainder == 1 { Ok(compact) } else { Err(mistyped("an IBAN")) }
}

#[cfg(test)]
mod tests {
    use super::wallet_address;

    #[test]
    fn addresses_are_kept_as_they_are_written() {
        for address in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0x00000000000000000000000000000000c0ffee00",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "ada on the usual account",
            "4AdUndXHHZ6cfufTMvppY6JwXNouMBzSkbLYfpAV5Usx3skxNgYeYTRj5UzqtReoS44qo9mtmXCqY45DJ852K5Jv2684Rge",
        ] {
            assert_eq!(wallet_address(&format!(" {address} ")).unwrap(), address);
        }
        assert_eq!(wallet_address("de89 3704 0044 0532 0130 00").unwrap(), "DE89370400440532013000");
        assert_eq!(
            wallet_address("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4").unwrap(),
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
        );
    }

    #[test]
    fn what_was_mistyped_is_refused() {
        for address in [
            "",
            "a\nb",
            "0xA11CE",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7Divf0l",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8F3t4",
            "bc1",
            "DE88 3704 0044 0532 0130 00",
        ] {
            assert!(wallet_address(address).is_err(), "{address}");
        }
        assert!(wallet_address(&"x".repeat(201)).is_err());
    }
}
