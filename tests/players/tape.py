"""What a player received, for the tests to compare with the file, and the lines by which player and test take turns.

A tape is a row of records: one octet for the kind, four for the length (big endian), then that many octets. Kinds: "v" an access unit of
H.264 or H.265 in Annex B form, "a" an AAC frame without a header.
"""

import sys


class Tape:
    def __init__(self, path):
        self._file = open(path, "wb")

    def add(self, kind, octets):
        self._file.write(kind.encode() + len(octets).to_bytes(4, "big") + octets)

    def close(self):
        self._file.close()


def tell(what):
    """Tells the test how far the player is."""
    print(what, flush=True)


def wait_to_be_told(what):
    """Waits until the test says so."""
    line = sys.stdin.readline().strip()
    if line != what:
        sys.exit(f"told {line!r} while waiting for {what!r}")
