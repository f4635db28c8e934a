"""libavformat as a player that pauses: libav_player.py system|pyav URL udp|tcp TAPE PICTURES MORE

After PICTURES pictures it calls av_read_pause, says "paused", waits to be told "resume", calls av_read_play, and ends MORE pictures later.
Neither the ffmpeg program nor PyAV can pause a network source; the library beneath both can, and ffplay and mpv use it so. "system" is the
library that Debian's ffmpeg uses, "pyav" the one in PyAV's wheel.
"""

import ctypes
import ctypes.util
import glob
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_uint8, c_void_p

from tape import Tape, tell, wait_to_be_told

AVMEDIA_TYPE_VIDEO, AVMEDIA_TYPE_AUDIO = 0, 1


class Packet(ctypes.Structure):
    """The first fields of AVPacket, the same in every version since 2013."""

    _fields_ = [
        ("buf", c_void_p),
        ("pts", c_int64),
        ("dts", c_int64),
        ("data", POINTER(c_uint8)),
        ("size", c_int),
        ("stream_index", c_int),
    ]


def libraries(which):
    names = ["avutil", "avcodec", "avformat"]
    if which == "system":
        return [ctypes.CDLL(ctypes.util.find_library(name)) for name in names]
    import av

    folder = os.path.join(os.path.dirname(os.path.dirname(av.__file__)), "av.libs")
    return [ctypes.CDLL(glob.glob(f"{folder}/lib{name}-*.so.*")[0]) for name in names]


def check(result, what):
    if result < 0:
        sys.exit(f"{what}: error {result}")
    return result


def main():
    which, url, transport, path, pictures, more = sys.argv[1:7]
    util, codec, fmt = libraries(which)
    codec.av_packet_alloc.restype = POINTER(Packet)
    options = c_void_p()
    for key, value in [("rtsp_transport", transport), ("buffer_size", str(8 << 20)), ("reorder_queue_size", "1000")]:
        util.av_dict_set(byref(options), c_char_p(key.encode()), c_char_p(value.encode()), 0)
    context = c_void_p()
    check(fmt.avformat_open_input(byref(context), c_char_p(url.encode()), None, byref(options)), "avformat_open_input")
    check(fmt.avformat_find_stream_info(context, None), "avformat_find_stream_info")
    video = check(fmt.av_find_best_stream(context, AVMEDIA_TYPE_VIDEO, -1, -1, None, 0), "no video")
    audio = check(fmt.av_find_best_stream(context, AVMEDIA_TYPE_AUDIO, -1, -1, None, 0), "no audio")
    kinds = {video: "v", audio: "a"}
    packet = codec.av_packet_alloc()
    tape = Tape(path)

    def keep(count):
        while count > 0:
            check(fmt.av_read_frame(context, packet), "av_read_frame")
            received = packet.contents
            tape.add(kinds[received.stream_index], ctypes.string_at(received.data, received.size))
            if received.stream_index == video:
                count -= 1
            codec.av_packet_unref(packet)

    keep(int(pictures))
    check(fmt.av_read_pause(context), "av_read_pause")
    tell("paused")
    wait_to_be_told("resume")
    check(fmt.av_read_play(context), "av_read_play")
    keep(int(more))
    tape.close()
    fmt.avformat_close_input(byref(context))
    tell("end")


main()
