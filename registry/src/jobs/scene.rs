//! Whether a file is a .blend: told by its header alone, of which at most one block is unpacked.

use std::io::Read;

use flate2::read::GzDecoder;
use ruzstd::decoding::StreamingDecoder;

/// The shortest header that Blender wrote: `BLENDER-v304`.
const HEADER_BYTES: usize = 12;
const MAGIC: &[u8] = b"BLENDER";
const GZIP_MAGIC: &[u8] = &[0x1F, 0x8B];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];

/// Why a file is no scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoScene {
    #[error("the scene is empty")]
    Empty,
    #[error("the scene ends within its header: upload the whole .blend")]
    Truncated,
    #[error("the scene is not a .blend file: it does not begin with BLENDER, compressed or not")]
    NotABlend,
}

/// Judges a file by its first bytes.
pub(super) fn check(head: &[u8]) -> Result<(), NoScene> {
    if head.is_empty() {
        return Err(NoScene::Empty);
    }
    if head.starts_with(ZSTD_MAGIC) {
        let block = first_zstd_block(head).ok_or(NoScene::Truncated)?;
        let unpacked = StreamingDecoder::new(block.as_slice()).map_err(|_| NoScene::NotABlend)?;
        return check_plain(&beginning(unpacked));
    }
    if head.starts_with(GZIP_MAGIC) {
        return check_plain(&beginning(GzDecoder::new(head)));
    }
    check_plain(head)
}

fn check_plain(head: &[u8]) -> Result<(), NoScene> {
    let compared = head.len().min(MAGIC.len());
    if head[..compared] != MAGIC[..compared] {
        return Err(NoScene::NotABlend);
    }
    if head.len() < HEADER_BYTES { Err(NoScene::Truncated) } else { Ok(()) }
}

/// The first bytes of a stream, fewer where it breaks off.
fn beginning(stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    // What a broken stream gave before it broke says enough: too little of it is a truncated header.
    let _ = stream.take(HEADER_BYTES as u64).read_to_end(&mut bytes);
    bytes
}

/// A frame of the first block alone. A decoder gives nothing out before it has a whole window of up to
/// many megabytes, unless the block that it has is the last: so it is made the last, without a checksum.
fn first_zstd_block(head: &[u8]) -> Option<Vec<u8>> {
    const CHECKSUM_FLAG: u8 = 0b100;
    const LAST_BLOCK: u8 = 1;
    const RUN_LENGTH: u32 = 1;
    let descriptor = *head.get(4)?;
    let is_single_segment = descriptor & 0b10_0000 != 0;
    let window_bytes = usize::from(!is_single_segment);
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 0b11)];
    let size_bytes = match descriptor >> 6 {
        0 => usize::from(is_single_segment),
        flag => 1 << flag,
    };
    let block_at = 5 + window_bytes + dictionary_bytes + size_bytes;
    let header = head.get(block_at..block_at + 3)?;
    let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    let content_bytes =
        if (header >> 1) & 0b11 == RUN_LENGTH { 1 } else { usize::try_from(header >> 3).ok()? };
    let mut frame = head.get(..block_at + 3 + content_bytes)?.to_vec();
    frame[4] &= !CHECKSUM_FLAG;
    frame[block_at] |= LAST_BLOCK;
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::{NoScene, check};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn blend() -> Vec<u8> {
        let noise = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
        b"BLENDER-v304REND".iter().copied().chain(noise).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    #[test]
    fn scenes_are_known_by_their_header_in_every_packing() {
        for scene in [blend(), b"BLENDER17-01v0500REND".to_vec(), gzip(&blend()), zstd(&blend())] {
            let head = &scene[..scene.len().min(256 * 1024)];
            assert_eq!(check(head), Ok(()));
        }
    }

    #[test]
    fn what_is_no_scene_is_told_apart() {
        assert_eq!(check(b""), Err(NoScene::Empty));
        assert_eq!(check(b"BLEND"), Err(NoScene::Truncated));
        assert_eq!(check(b"BLENDER-v30"), Err(NoScene::Truncated));
        assert_eq!(check(b"PK\x03\x04 a zip file"), Err(NoScene::NotABlend));
        assert_eq!(check(&gzip(b"not a scene at all")), Err(NoScene::NotABlend));
        assert_eq!(check(&zstd(b"not a scene at all")), Err(NoScene::NotABlend));
        assert_eq!(check(&gzip(&blend())[..11]), Err(NoScene::Truncated));
        assert_eq!(check(&zstd(&blend())[..9]), Err(NoScene::Truncated));
        assert_eq!(check(&[0x28, 0xB5, 0x2F, 0xFD]), Err(NoScene::Truncated));
    }
}
