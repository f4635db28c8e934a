"""What GStreamer's decoders show of what comes."""

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402


def show_all(pipeline):
    """Keeps decoders from leaving out pictures that lie outside of PLAY's Range.

    rtspsrc puts sound and pictures beside each other by when they were read, too. On a busy machine, where these are read at once, the first
    pictures then lie before the range begins.
    """

    def open_the_segment(pad, info):
        event = info.get_event()
        if event.type != Gst.EventType.SEGMENT:
            return Gst.PadProbeReturn.OK
        segment = event.parse_segment().copy()
        if segment.start == 0 and segment.stop == Gst.CLOCK_TIME_NONE:
            return Gst.PadProbeReturn.OK
        segment.start, segment.stop = 0, Gst.CLOCK_TIME_NONE
        pad.send_event(Gst.Event.new_segment(segment))
        return Gst.PadProbeReturn.DROP

    elements = pipeline.iterate_elements()
    while True:
        outcome, element = elements.next()
        if outcome != Gst.IteratorResult.OK:
            break
        if "Depayloader" in element.get_factory().get_metadata("klass"):
            element.get_static_pad("src").get_peer().add_probe(Gst.PadProbeType.EVENT_DOWNSTREAM, open_the_segment)
