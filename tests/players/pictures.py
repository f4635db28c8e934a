"""A player that decodes: pictures.py pyav|gstreamer URL udp|tcp [DEPAYLOADER DECODER]

Prints the MD5 of each picture's planes, one a line, in the order in which they are shown, as `ffmpeg -f framehash -hash md5` has them. It
ends when the title does. GStreamer is told which elements to use, so that its pictures are those of the same decoders.
"""

import hashlib
import sys


def pyav(url, transport):
    import av

    options = {"rtsp_transport": transport, "buffer_size": str(8 << 20), "reorder_queue_size": "1000"}
    container = av.open(url, options=options, timeout=20)
    for frame in container.decode(video=0):
        digest = hashlib.md5()
        for plane in frame.planes:
            octets = bytes(plane)
            for row in range(plane.height):
                digest.update(octets[row * plane.line_size : row * plane.line_size + plane.width])
        print(digest.hexdigest(), flush=True)
    container.close()


def gstreamer(url, transport, depayloader, decoder):
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import Gst

    from gstreamer_player import end_by_bye
    from gstreamer_segments import show_all

    Gst.init(None)
    pipeline = Gst.parse_launch(
        "rtspsrc name=source latency=500 drop-on-latency=false udp-buffer-size=8388608"
        " ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=0"
        f" ! application/x-rtp,media=video ! {depayloader} ! {decoder} ! fakesink name=sink sync=false async=false"
    )
    source = pipeline.get_by_name("source")
    source.set_property("location", url)
    source.set_property("protocols", transport)
    end_by_bye(source)
    show_all(pipeline)

    def on_buffer(pad, info):
        # Rows and planes may be padded.
        from gi.repository import GstVideo

        caps = pad.get_current_caps()
        video = GstVideo.VideoInfo.new_from_caps(caps) if hasattr(GstVideo.VideoInfo, "new_from_caps") else None
        buffer = info.get_buffer()
        meta = GstVideo.buffer_get_video_meta(buffer)
        offsets, strides = (meta.offset, meta.stride) if meta else (video.offset, video.stride)
        octets = buffer.extract_dup(0, buffer.get_size())
        digest = hashlib.md5()
        for plane in range(3):
            half = plane > 0
            width = (video.width + half) >> half
            # 4:2:2 and 4:2:0 differ in height only.
            rows = (video.height + 1) // 2 if half and "I420" in caps.to_string() else video.height
            for row in range(rows):
                at = offsets[plane] + row * strides[plane]
                digest.update(octets[at : at + width])
        print(digest.hexdigest(), flush=True)
        # A sink wants nothing beyond the end of PLAY's Range, and says so.
        return Gst.PadProbeReturn.DROP

    gi.require_version("GstVideo", "1.0")
    pipeline.get_by_name("sink").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, on_buffer)
    pipeline.set_state(Gst.State.PLAYING)
    message = pipeline.get_bus().timed_pop_filtered(40 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
    pipeline.set_state(Gst.State.NULL)
    if message is None or message.type == Gst.MessageType.ERROR:
        sys.exit(f"{message and message.parse_error()}")


{"pyav": pyav, "gstreamer": gstreamer}[sys.argv[1]](*sys.argv[2:])
