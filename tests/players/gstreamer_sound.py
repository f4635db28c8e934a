"""GStreamer's rtspsrc with one sound, or a transport stream: gstreamer_sound.py URL udp|tcp DEPAYLOADER FILE

Writes what the depayloader puts together, headers aside, and ends when the title does.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

from gstreamer_player import end_by_bye  # noqa: E402

# What arrives is taken in front of the sink and kept from it, since it wants nothing beyond the end of PLAY's Range.
PIPELINE = """
rtspsrc name=source latency=1000 drop-on-latency=false do-retransmission=true udp-buffer-size=8388608
  ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! {depayloader} ! fakesink name=sink sync=false async=false
"""
HEADERS = (b"\x01vorbis", b"\x03vorbis", b"\x05vorbis")


def main(url, transport, depayloader, path):
    Gst.init(None)
    pipeline = Gst.parse_launch(PIPELINE.format(depayloader=depayloader))
    source = pipeline.get_by_name("source")
    source.set_property("location", url)
    source.set_property("protocols", transport)
    end_by_bye(source)
    with open(path, "wb") as out:

        def on_buffer(_pad, info):
            buffer = info.get_buffer()
            octets = buffer.extract_dup(0, buffer.get_size())
            if not octets.startswith(HEADERS):
                out.write(octets)
            return Gst.PadProbeReturn.DROP

        pipeline.get_by_name("sink").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, on_buffer)
        pipeline.set_state(Gst.State.PLAYING)
        message = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, Gst.MessageType.EOS | Gst.MessageType.ERROR)
        pipeline.set_state(Gst.State.NULL)
    if message.type == Gst.MessageType.ERROR:
        sys.exit(str(message.parse_error()))


main(*sys.argv[1:])
