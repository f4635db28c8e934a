"""PyAV as a player that shows what it gets: pyav_frames.py URL udp|tcp FOLDER [SECONDS]

Writes FOLDER/pictures, a line for each decoded picture (a hash of its samples), and FOLDER/sound, the coded octets of all sound, or the samples
of what is not coded. With SECONDS it seeks there once it has the first packet, and keeps what comes after. It ends when the title does.
"""

import hashlib
import sys

import av

from tape import tell


def samples(frame):
    """A hash of a picture's samples, without what pads its lines."""
    digest = hashlib.md5()
    for number, plane in enumerate(frame.planes):
        octets = memoryview(plane)
        width = frame.width if number == 0 else plane.width
        for line in range(plane.height):
            digest.update(octets[line * plane.line_size : line * plane.line_size + width])
    return digest.hexdigest()


def is_key(packet):
    """Whether decoding can start with a packet; libavformat does not say so of VP9 (frame_type, VP9 specification section 6.2)."""
    if packet.stream.codec_context.name == "vp9" and packet.size:
        return bytes(packet)[0] & 0x0C == 0
    return packet.is_keyframe


def main():
    url, transport, folder = sys.argv[1:4]
    seek_to = float(sys.argv[4]) if len(sys.argv) > 4 else None
    is_live = url.startswith("rtsp:")
    options = {"rtsp_transport": transport, "buffer_size": str(8 << 20), "reorder_queue_size": "1000"}
    container = av.open(url, options=options, timeout=20) if is_live else av.open(url)
    if seek_to is not None:
        next(packet for packet in container.demux() if packet.size)
        container.seek(int(seek_to * av.time_base))
        tell("sought")
    with open(f"{folder}/pictures", "w") as pictures, open(f"{folder}/sound", "wb") as sound:
        # Over UDP libavformat still gives what it had in its sockets from before its own seek: what counts begins with a key picture.
        started = seek_to is None or not container.streams.video
        for packet in container.demux():
            started |= packet.stream.type == "video" and is_key(packet)
            if not started:
                continue
            if packet.stream.type == "video":
                for frame in packet.decode():
                    print(samples(frame), file=pictures)
            elif packet.stream.codec_context.name in ("pcm_s16le", "pcm_s16be", "flac", "pcm_s24le", "pcm_s24be"):
                for frame in packet.decode():
                    size = frame.samples * frame.layout.nb_channels * frame.format.bytes
                    sound.write(bytes(frame.planes[0])[:size])
            elif packet.size:
                sound.write(bytes(packet))
    container.close()
    tell("end")


main()
