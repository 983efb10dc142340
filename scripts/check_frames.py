"""Decodes the PNG files of a folder and fails unless there are COUNT of them, of the right size, all different.

    python3 scripts/check_frames.py FOLDER COUNT WIDTHxHEIGHT

With Python's own library only: this checks a render network from outside it.
"""

import struct
import sys
import zlib
from pathlib import Path

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by PNG colour type


def decode(path):
    """The size and the filtered pixel rows of a PNG; raises ValueError with what is wrong."""
    data = path.read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("is not a PNG")
    at, header, packed, ended = 8, None, b"", False
    while at + 12 <= len(data) and not ended:
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body, crc = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if crc != struct.pack(">I", zlib.crc32(kind + body)):
            raise ValueError(f"has a damaged {kind.decode(errors='replace')} chunk")
        header = struct.unpack(">IIBBBBB", body) if kind == b"IHDR" else header
        packed += body if kind == b"IDAT" else b""
        ended = kind == b"IEND"
        at += 12 + length
    if header is None or not ended:
        raise ValueError("is cut short")
    width, height, depth, colour, _, _, interlaced = header
    if colour not in CHANNELS or interlaced:
        raise ValueError(f"has colour type {colour}, interlaced {interlaced}: not what Blender writes")
    try:
        rows = zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError(f"does not inflate: {error}") from error
    if len(rows) != height * (1 + (width * CHANNELS[colour] * depth + 7) // 8):
        raise ValueError("lacks pixels")
    return (width, height), rows


def main(folder, count, size):
    paths = sorted(Path(folder).glob("*.png"))
    if len(paths) != count:
        sys.exit(f"{folder}: {len(paths)} PNG files instead of {count}")
    seen = {}
    for path in paths:
        try:
            got, rows = decode(path)
        except ValueError as error:
            sys.exit(f"{path} {error}")
        if got != size:
            sys.exit(f"{path} is {got[0]}x{got[1]} instead of {size[0]}x{size[1]}")
        if rows in seen:
            sys.exit(f"{path} shows the same as {seen[rows]}")
        seen[rows] = path
    print(f"{count} frames decoded, {size[0]}x{size[1]}, all different")


main(sys.argv[1], int(sys.argv[2]), tuple(map(int, sys.argv[3].split("x"))))
