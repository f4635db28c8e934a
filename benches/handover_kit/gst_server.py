"""gst_server.py FOLDER PORT: GStreamer's RTSP server with the MP4 files of a folder, to compare with. Says "ready".

Needs gir1.2-gst-rtsp-server-1.0 (Debian). Each player has a pipeline of its own, as the server does it unless told otherwise.
"""

import os
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

LAUNCH = (
    '( filesrc location="{path}" ! qtdemux name=d d.video_0 ! queue ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1'
    " d.audio_0 ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97 )"
)


def main():
    folder, port = sys.argv[1:3]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("::")
    server.set_service(port)
    for name in os.listdir(folder):
        if name.endswith(".mp4"):
            factory = GstRtspServer.RTSPMediaFactory()
            factory.set_launch(LAUNCH.format(path=os.path.join(folder, name)))
            server.get_mount_points().add_factory(f"/{name}", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


main()
