"""PyAV as a player that keeps what it gets: pyav_player.py URL udp|tcp TAPE [SECONDS]

With SECONDS it seeks there once it has the first picture, and keeps what comes after the seek. It ends when the title does.
"""

import sys

import av

from tape import Tape, tell


def main():
    url, transport, path = sys.argv[1:4]
    seek_to = float(sys.argv[4]) if len(sys.argv) > 4 else None
    options = {"rtsp_transport": transport, "buffer_size": str(8 << 20), "reorder_queue_size": "1000"}
    container = av.open(url, options=options, timeout=20)
    tape = Tape(path)
    if seek_to is not None:
        for packet in container.demux():
            if packet.stream.type == "video" and packet.size:
                break
        container.seek(int(seek_to * av.time_base))
        tell("sought")
    # Over UDP libavformat still gives what it had in its sockets from before its own seek: what counts begins with a key picture.
    started = seek_to is None
    for packet in container.demux():
        started |= packet.stream.type == "video" and packet.is_keyframe
        if started and packet.size:
            tape.add({"video": "v", "audio": "a"}[packet.stream.type], bytes(packet))
    tape.close()
    container.close()
    tell("end")


main()
