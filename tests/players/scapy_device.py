#!/usr/bin/env python3
"""A device whose messages scapy writes and reads: a care-of test, a reservation, and a binding.

    scapy_device.py HOST PORT SPI NAI KEY

Everything but the codec is here: keys, authenticators, padding. Prints what it was told as JSON; an answer that is not right
is an assertion that fails.
"""

import hashlib
import hmac
import json
import os
import socket
import struct
import sys
import time

from scapy.layers.inet6 import (
    MIP6MH_BA,
    MIP6MH_BU,
    MIP6MH_CoT,
    MIP6MH_CoTI,
    MIP6OptMNID,
    MIP6OptMsgAuth,
    MIP6OptNonceIndices,
    MIP6OptReplayProtection,
    MIP6OptUnknown,
    PadN,
)

ANY = bytes(16)


def hkdf(key, info, length):
    """RFC 5869 with SHA-256."""
    secret = hmac.new(b"flow-mobility/1", key, hashlib.sha256).digest()
    out, block, count = b"", b"", 1
    while len(out) < length:
        block = hmac.new(secret, block + info + bytes([count]), hashlib.sha256).digest()
        out, count = out + block, count + 1
    return out[:length]


def mapped(address):
    return bytes(10) + b"\xff\xff" + socket.inet_aton(address)


def tag(key, care_of, home, token, covered):
    return hmac.new(key, care_of + home + token + covered, hashlib.sha256).digest()[:16]


def signed(update, options, spi, key, care_of, home, token=bytes(8)):
    """The update's octets, its options padded to where each begins, and its authenticator at the end."""
    listed, at = [], 12
    for option, (multiple, offset) in options + [(MIP6OptMsgAuth(mspi=spi, authdata=bytes(16)), (8, 1))]:
        missing = (offset - at) % multiple
        if missing == 1:
            missing += multiple
        if missing:
            listed.append(PadN(optdata=bytes(missing - 2)))
        listed.append(option)
        at += missing + len(bytes(option))
    update.options, update.autopad = listed, 0
    octets = bytes(update)
    assert len(octets) == at and at % 8 == 0, (at, octets.hex())
    return octets[:-16] + tag(key, care_of, home, token, octets[:-16])


def prefix(address, length=128):
    return MIP6OptUnknown(otype=22, odata=bytes([0, length]) + address), (8, 4)


def option(message, otype):
    found = [one for one in message.options if one.otype == otype]
    assert found, (otype, message.show(dump=True))
    return found[0]


def main():
    host, port, spi, nai, key = sys.argv[1], int(sys.argv[2]), int(sys.argv[3], 0), sys.argv[4].encode(), bytes.fromhex(sys.argv[5])
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.settimeout(10)
    link.connect((host, port))
    care_of = mapped(link.getsockname()[0])

    def ask(octets, answer):
        link.send(octets)
        return answer(link.recv(4096))

    cookie = os.urandom(8)
    told = ask(bytes(MIP6MH_CoTI(mhtype=2, cookie=cookie, cksum=0)), MIP6MH_CoT)
    assert (told.nh, told.mhtype, told.cookie) == (59, 4, cookie), told.show(dump=True)
    index, token = told.index, told.token

    def checked(octets, key, home):
        ack = MIP6MH_BA(octets)
        assert ack.mhtype == 6, ack.show(dump=True)
        home = bytes(option(ack, 22).odata)[2:] if home is None else home
        found = option(ack, 9)
        assert bytes(found.authdata) == tag(key, care_of, home, bytes(8), octets[:-16]), "the answer is authentic"
        return ack

    ntp = int((time.time() + 2208988800) * 2**32)
    options = [prefix(ANY, 0), (MIP6OptMNID(id=nai), (1, 0)), (MIP6OptReplayProtection(timestamp=ntp), (8, 2))]
    update = MIP6MH_BU(seq=1, flags="HA", mhtime=75, cksum=0)
    ack = ask(signed(update, options, spi, key, care_of, ANY), lambda octets: checked(octets, key, None))
    assert ack.status == 0, ack.show(dump=True)
    home = bytes(option(ack, 22).odata)[2:]
    vendor, kind, home_spi, end = struct.unpack("!IBxxxIQxx", bytes(option(ack, 19).odata))
    assert (vendor, kind) == (32473, 5)
    home_key = hkdf(key, b"home key\0" + home + struct.pack("!IH", home_spi, len(nai)) + nai, 32)

    binding = MIP6OptUnknown(otype=35, odata=struct.pack("!HBB", 1, 0, 1) + care_of[12:]), (8, 2)
    ports = MIP6OptUnknown(otype=19, odata=struct.pack("!IBBHHHHH", 32473, 2, 0, 0, 0, 6000, 6001, 0)), (4, 2)
    nonce = MIP6OptNonceIndices(olen=4, hni=0, coni=index), (2, 0)

    def bind(sequence, options, shown):
        update = MIP6MH_BU(seq=sequence, flags="HA", mhtime=75, cksum=0)
        octets = signed(update, [prefix(home)] + options, home_spi, home_key, care_of, home, shown)
        return ask(octets, lambda octets: checked(octets, home_key, home))

    unproven = bind(9, [binding, ports], bytes(8))
    assert unproven.status == 137, unproven.show(dump=True)
    bound = bind(10, [binding, ports, nonce], token)
    assert (bound.status, bound.seq, bound.mhtime) == (0, 10, 75), bound.show(dump=True)
    assert bytes(option(bound, 35).odata) == struct.pack("!HBB", 1, 0, 0)
    replayed = bind(10, [binding, ports, nonce], token)
    assert (replayed.status, replayed.seq) == (135, 10), replayed.show(dump=True)
    print(json.dumps({"home": socket.inet_ntop(socket.AF_INET6, home), "spi": home_spi, "end": end, "careOf": link.getsockname()[0]}))


main()
