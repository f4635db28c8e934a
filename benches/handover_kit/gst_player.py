"""gst_player.py URL udp|tcp LATENCY_MS [old]: GStreamer's rtspsrc as a player with decoder and sinks in step with the clock.

Prints a line of JSON for each picture when it is shown and each audio frame when it is played: kind, wall clock in ns, running time
in seconds (which is what sound and picture are kept together by), how late it is in ms, checksum. Every second the sinks' counts of what
they dropped for being late. "old" decodes nothing and prints only its end.
"""

import json
import sys
import threading
import time
import zlib

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

# As playbin has it: a short queue behind the decoder, and sinks that drop a picture later than 20 ms.
PICTURES = (
    " s. ! application/x-rtp,media=video ! rtph264depay ! h264parse ! avdec_h264 ! video/x-raw,format=I420"
    " ! queue max-size-buffers=3 max-size-bytes=0 max-size-time=0 ! fakesink name=v sync=true qos=true max-lateness=20000000"
)
SOUND = " s. ! application/x-rtp,media=audio ! queue ! rtpmp4gdepay ! fakesink name=a sync=true max-lateness=40000000"
BLIND = (
    " s. ! application/x-rtp,media=video ! rtph264depay ! fakesink name=v sync=true"
    " s. ! application/x-rtp,media=audio ! rtpmp4gdepay ! fakesink name=a sync=true"
)


TELLING = threading.Lock()


def tell(**what):
    """Each sink has a thread of its own: a line is written in one piece."""
    with TELLING:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


def main():
    url, transport, latency = sys.argv[1:4]
    is_old = sys.argv[4:] == ["old"]
    Gst.init(None)
    source = f'rtspsrc name=s location="{url}" protocols={transport} latency={latency} udp-buffer-size=8388608'
    pipeline = Gst.parse_launch(source + (BLIND if is_old else PICTURES + SOUND))
    loop = GLib.MainLoop()

    def shown(sink, buffer, pad, kind):
        at = time.time_ns()
        segment = pad.get_sticky_event(Gst.EventType.SEGMENT, 0).parse_segment()
        running = segment.to_running_time(Gst.Format.TIME, buffer.pts)
        late = pipeline.get_clock().get_time() - pipeline.get_base_time() - running - pipeline.get_latency_in_force()
        octets = buffer.extract_dup(0, buffer.get_size())
        tell(kind=kind, at=at, time=running / 1e9, late=round(late / 1e6, 2), crc=zlib.adler32(octets, 0))

    def latency_in_force():
        query = Gst.Query.new_latency()
        return query.parse_latency()[1] if pipeline.query(query) else 0

    known = []

    def cached():
        if not known:
            known.append(latency_in_force())
        return known[0]

    pipeline.get_latency_in_force = cached
    sinks = {kind: pipeline.get_by_name(kind) for kind in "va"}
    if not is_old:
        for kind, sink in sinks.items():
            sink.set_property("signal-handoffs", True)
            sink.connect("handoff", shown, kind)

    def counts():
        for kind, sink in sinks.items():
            stats = sink.get_property("stats")
            tell(kind="counts", of=kind, dropped=stats.get_value("dropped"), rendered=stats.get_value("rendered"))
        return True

    def message(_bus, message):
        if message.type == Gst.MessageType.EOS:
            tell(kind="end", how="end of stream", at=time.time_ns())
            loop.quit()
        elif message.type == Gst.MessageType.ERROR:
            tell(kind="end", how=str(message.parse_error()[0]), at=time.time_ns())
            loop.quit()

    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message", message)
    if not is_old:
        GLib.timeout_add(1000, counts)
    pipeline.set_state(Gst.State.PLAYING)
    loop.run()
    pipeline.set_state(Gst.State.NULL)


main()
