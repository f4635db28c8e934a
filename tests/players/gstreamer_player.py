"""GStreamer's rtspsrc as a player that keeps what it gets: gstreamer_player.py URL udp|tcp TAPE [patient | asking | trusting CERTIFICATE | seek SECONDS | rate FACTOR | pause PICTURES MORE]

It ends when the title does. "patient" waits for missing packets as long as rtspsrc does unless told, "asking" as long as it takes to get them
again, "trusting" wants a server of that certificate. "seek" goes there (flushing) once it has picture and sound and keeps what comes after; "rate" seeks to the beginning and plays at that rate;
"pause" pauses after
PICTURES pictures, says "paused", waits to be told "resume", and ends MORE pictures later.
"""

import os
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gio, Gst  # noqa: E402

from tape import Tape, tell, wait_to_be_told  # noqa: E402

# No sink synchronises to the clock, and the jitter buffer gives up nothing. What arrives is taken in front of the sinks and kept from them, since
# a sink wants nothing beyond the end of PLAY's Range, counted from the first packet's arrival, and says so.
SOURCE = "rtspsrc name=source latency={latency} drop-on-latency=false do-retransmission=true udp-buffer-size=8388608"
PICTURES = """
source. ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! application/x-rtp,media=video ! rtp{coding}depay
  ! video/x-{coding},stream-format=byte-stream,alignment=au ! fakesink name=v sync=false async=false
"""
SOUND = """
source. ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! application/x-rtp,media=audio ! rtpmp4gdepay
  ! fakesink name=a sync=false async=false
"""


def chains_of(url):
    """What takes the media of a title apart, by their kind."""
    # A sink that nothing is linked to never ends: titles of this ending have sound only.
    pictures = PICTURES.format(coding="h265" if "h265" in url else "h264")
    return {"a": SOUND} if ".m4a" in url else {"v": pictures, "a": SOUND}


BYE = 203


def says_bye(octets):
    """Whether one of the packets of a compound RTCP packet is a BYE (RFC 3550 section 6)."""
    at = 0
    while at + 4 <= len(octets):
        if octets[at + 1] == BYE:
            return True
        at += 4 * (1 + int.from_bytes(octets[at + 2 : at + 4], "big"))
    return False


def end_by_bye(source, on_bye=lambda pad: None):
    """Keeps rtspsrc from guessing when a title ends, and from leaving unread what came before a BYE.

    Its jitter buffer puts the end where PLAY's Range would end if all came as fast as its first packets, and drops what comes later: on a busy machine,
    where these are read at once, much of the title. A thread reads RTCP, and another RTP, which ends with the BYE whatever waits in its socket: both may
    have been kept from reading until then. `on_bye` is told the pad of each.
    """

    def forget_the_range(pad, info):
        event = info.get_event()
        if event.type != Gst.EventType.CAPS:
            return Gst.PadProbeReturn.OK
        caps = event.parse_caps().copy()
        structure = caps.get_structure(0)
        if not structure.has_field("npt-stop"):
            return Gst.PadProbeReturn.OK
        structure.remove_field("npt-stop")
        caps = Gst.Caps.from_string(structure.to_string())
        pad.send_event(Gst.Event.new_caps(caps))
        return Gst.PadProbeReturn.DROP

    def on_jitter_buffer(_manager, buffer, _session, _ssrc):
        buffer.get_static_pad("sink").add_probe(Gst.PadProbeType.EVENT_DOWNSTREAM, forget_the_range)

    def let_media_go_first(pad, info):
        buffer = info.get_buffer()
        if says_bye(buffer.extract_dup(0, buffer.get_size())):
            time.sleep(0.2)
            on_bye(pad.get_name())
        return Gst.PadProbeReturn.OK

    def on_pad(_manager, pad):
        if pad.get_name().startswith("recv_rtcp_sink_"):
            pad.add_probe(Gst.PadProbeType.BUFFER, let_media_go_first)

    def on_manager(_source, manager):
        manager.connect("new-jitterbuffer", on_jitter_buffer)
        manager.connect("pad-added", on_pad)

    source.connect("new-manager", on_manager)


class Player:
    """Plays a URL; `chains` says what follows the source for each kind, up to a sink of that kind's name."""

    def __init__(self, url, transport, latency, chains):
        self.changed = threading.Condition()
        self.received = []
        self.pictures = 0
        self.ended = False
        self.byes = set()
        self.pipeline = Gst.parse_launch(SOURCE.format(latency=latency) + "".join(chains.values()))
        source = self.pipeline.get_by_name("source")
        source.set_property("location", url)
        source.set_property("protocols", transport)
        end_by_bye(source, self.on_bye)
        for kind in chains:
            pad = self.pipeline.get_by_name(kind).get_static_pad("sink")
            pad.add_probe(Gst.PadProbeType.BUFFER, self.on_buffer, kind)
            pad.add_probe(Gst.PadProbeType.EVENT_FLUSH, self.on_flush, kind)
        self.bus = self.pipeline.get_bus()
        threading.Thread(target=self.watch_bus, daemon=True).start()

    def on_buffer(self, _pad, info, kind):
        buffer = info.get_buffer()
        with self.changed:
            self.received.append((kind, buffer.extract_dup(0, buffer.get_size())))
            self.pictures += kind == "v"
            self.changed.notify_all()
        return Gst.PadProbeReturn.DROP

    def on_flush(self, _pad, info, kind):
        if info.get_event().type == Gst.EventType.FLUSH_STOP:
            with self.changed:
                self.received = [unit for unit in self.received if unit[0] != kind]
                if kind == "v":
                    self.pictures = 0
        return Gst.PadProbeReturn.OK

    def on_bye(self, name):
        with self.changed:
            self.byes.add(name)
            self.changed.notify_all()

    def watch_bus(self):
        kinds = Gst.MessageType.EOS | Gst.MessageType.ERROR
        message = self.bus.timed_pop_filtered(Gst.CLOCK_TIME_NONE, kinds)
        if message.type == Gst.MessageType.ERROR:
            print(*message.parse_error(), file=sys.stderr)
        with self.changed:
            self.ended = message.type
            self.changed.notify_all()

    def wait_for(self, condition, what, seconds=40):
        with self.changed:
            if not self.changed.wait_for(lambda: condition() or self.ended, seconds) or not condition():
                sys.exit(f"no {what}; ended: {self.ended}, {len(self.received)} units received")

    def wait_for_byes(self, count):
        """Waits for the BYE of each track, and until nothing comes out behind it: all that a jitter buffer holds does, and that it has ended, where packets
        may be asked for, much later or never.
        """
        self.wait_for(lambda: len(self.byes) == count or self.ended == Gst.MessageType.EOS, "BYE of each track")
        before, quiet = None, 0
        while quiet < 10:
            time.sleep(0.1)
            with self.changed:
                quiet = quiet + 1 if len(self.received) == before else 0
                before = len(self.received)

    def keep(self, path):
        tape = Tape(path)
        with self.changed:
            for kind, octets in self.received:
                tape.add(kind, octets)
        tape.close()


def main():
    url, transport, path = sys.argv[1:4]
    what, *numbers = sys.argv[4:] or ["whole"]
    Gst.init(None)
    chains = chains_of(url)
    player = Player(url, transport, {"patient": 2000, "asking": 10_000}.get(what, 500), chains)
    if what == "trusting":
        database = Gio.TlsFileDatabase.new(os.path.abspath(numbers[0]))
        player.pipeline.get_by_name("source").set_property("tls-database", database)
    player.pipeline.set_state(Gst.State.PLAYING)
    if what == "pause":
        pictures, more = map(int, numbers)
        player.wait_for(lambda: player.pictures >= pictures, f"{pictures} pictures")
        player.pipeline.set_state(Gst.State.PAUSED)
        tell("paused")
        wait_to_be_told("resume")
        before = player.pictures
        player.pipeline.set_state(Gst.State.PLAYING)
        player.wait_for(lambda: player.pictures >= before + more, f"{more} pictures after the pause")
    elif what == "asking":
        player.wait_for_byes(len(chains))
    else:
        if what in ("seek", "rate"):
            # Both tracks have to be linked, or the sink of the one that is not refuses.
            player.wait_for(lambda: {kind for kind, _ in player.received} == {"v", "a"}, "picture and sound")
            flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT
            rate, to = (1.0, float(numbers[0])) if what == "seek" else (float(numbers[0]), 0.0)
            begin, end = (Gst.SeekType.SET, int(to * Gst.SECOND)), (Gst.SeekType.SET, -1)
            if not player.pipeline.seek(rate, Gst.Format.TIME, flags, *begin, *end):
                sys.exit("the seek is refused")
            tell("sought")
        player.wait_for(lambda: player.ended == Gst.MessageType.EOS, "end of stream")
    player.keep(path)
    if what == "asking":
        # The pipeline would not stop before its jitter buffers give up what they ask for.
        tell("end")
        os._exit(0)
    player.pipeline.set_state(Gst.State.NULL)
    tell("end")


if __name__ == "__main__":
    main()
