//! The SHA-256 of a file, a piece at a time.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

const BUFFER_BYTES: usize = 1 << 20;

/// Of everything that is left to read.
pub fn of(mut file: impl Read) -> io::Result<[u8; 32]> {
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; BUFFER_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().into()),
            read => digest.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_that_of_all_bytes() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::encode(of(&b"abc"[..]).unwrap()), expected);
    }
}
