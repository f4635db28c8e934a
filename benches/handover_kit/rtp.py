"""RTP as it came: access units out of packets (RFC 3550, RFC 6184, RFC 3640), and where they are in the film."""

from .film import FRAME_SAMPLES, digest

NAL_SLICE, NAL_IDR, NAL_SPS, NAL_PPS, STAP_A, FU_A = 1, 5, 7, 8, 24, 28


class Unit:
    """What came with one timestamp."""

    def __init__(self, began, sequence, timestamp):
        self.began, self.ended = began, began
        self.first, self.last = sequence, sequence
        self.timestamp = timestamp
        self.payloads = []
        self.is_whole = False
        self.index = None
        self.kinds = []

    def is_decodable_key(self):
        """A random access point with its parameter sets in front, all of it there."""
        if not self.is_whole or NAL_IDR not in self.kinds:
            return False
        before = self.kinds[: self.kinds.index(NAL_IDR)]
        return NAL_SPS in before and NAL_PPS in before


def units(datagrams, film, kind):
    """Access units in order of arrival; `index` is the place in the film, `None` where it is not whole or not in the film."""
    made, extended = [], None
    for at, octets in datagrams:
        if len(octets) < 13 or octets[0] >> 6 != 2 or 64 <= octets[1] & 0x7F < 96:
            continue
        sequence = int.from_bytes(octets[2:4], "big")
        extended = sequence if extended is None else extended + ((sequence - extended + 0x8000) % 0x10000 - 0x8000)
        timestamp = int.from_bytes(octets[4:8], "big")
        payload = octets[12 + 4 * (octets[0] & 15) :]
        if kind == "audio":
            made.extend(_frames(at, extended, timestamp, octets[1] & 0x80, payload, film.frames))
            continue
        if not made or made[-1].timestamp != timestamp:
            made.append(Unit(at, extended, timestamp))
        unit = made[-1]
        unit.ended, unit.last = at, extended
        unit.payloads.append((extended, payload))
        unit.is_whole |= bool(octets[1] & 0x80)
    for unit in made if kind == "video" else ():
        numbers = [number for number, _ in unit.payloads]
        unit.is_whole &= numbers == list(range(unit.first, unit.last + 1))
        parts, unit.kinds, is_torn = _pieces([payload for _, payload in unit.payloads])
        unit.is_whole &= not is_torn
        if unit.is_whole and parts:
            unit.index = film.pictures.get(digest(parts))
    return made


def _frames(at, sequence, timestamp, is_marked, payload, places):
    """The audio frames of a packet: AU headers of 16 bits, 13 of size and 3 of index, then the frames."""
    count = int.from_bytes(payload[:2], "big") // 16
    sizes = [int.from_bytes(payload[2 + 2 * number : 4 + 2 * number], "big") >> 3 for number in range(count)]
    start = 2 + 2 * count
    for number, size in enumerate(sizes):
        unit = Unit(at, sequence, timestamp + number * FRAME_SAMPLES & 0xFFFFFFFF)
        unit.is_whole = bool(is_marked) and start + size <= len(payload)
        if unit.is_whole:
            unit.index = places.get(digest([payload[start : start + size]]))
        start += size
        yield unit


def _pieces(payloads):
    """The slices, the kinds of all NAL units, and whether a fragment is missing."""
    slices, kinds, open_unit, is_torn = [], [], None, False
    for payload in payloads:
        kind = payload[0] & 0x1F
        if kind == FU_A:
            if payload[1] & 0x80:
                open_unit = bytearray([payload[0] & 0xE0 | payload[1] & 0x1F])
            if open_unit is None:
                is_torn = True
                continue
            open_unit += payload[2:]
            if not payload[1] & 0x40:
                continue
            whole, open_unit = [bytes(open_unit)], None
        elif kind == STAP_A:
            whole, at = [], 1
            while at + 2 <= len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                whole.append(payload[at + 2 : at + 2 + size])
                at += 2 + size
        else:
            whole = [payload]
        for unit in whole:
            kinds.append(unit[0] & 0x1F)
            if kinds[-1] in (NAL_SLICE, NAL_IDR):
                slices.append(unit.rstrip(b"\0"))
    return slices, kinds, is_torn or open_unit is not None


def bye_at(datagrams):
    """When a BYE (RFC 3550 section 6.6) came."""
    for at, octets in datagrams:
        while len(octets) >= 4 and octets[0] >> 6 == 2:
            if octets[1] == 203:
                return at
            octets = octets[4 * (int.from_bytes(octets[2:4], "big") + 1) :]
    return None
