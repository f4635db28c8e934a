"""As much of an RTSP client as a device's player has (RFC 2326), over UDP; it can send a row of requests at once."""

import re

from .rtp import bye_at, units
from .scene import drain


class Answer:
    def __init__(self, head, body):
        lines = head.split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.line = lines[0]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.body = body


class Refused(Exception):
    pass


class Track:
    """A track that is received: a pair of sockets."""

    def __init__(self, host, kind, port):
        self.kind, self.port = kind, port
        self.rtp, self.rtcp = host.udp(port), host.udp(port + 1)
        self.came, self.reports = [], []

    def read(self):
        self.came += drain(self.rtp)
        self.reports += drain(self.rtcp)
        return self

    def units(self, film):
        return units(self.read().came, film, self.kind)

    def bye_at(self):
        return bye_at(self.read().reports)

    def close(self):
        self.rtp.close()
        self.rtcp.close()


class Session:
    """A player on `host`; `tracks` are its receivers, pictures first."""

    def __init__(self, host, server, port, tracks, agent="handover-bench/1"):
        self.host, self.server, self.port, self.tracks, self.agent = host, server, port, tracks, agent
        self._socket, self._buffer, self._sequence = None, b"", 0
        self.session = None
        self.controls = []
        self.base = None
        self.played = None

    def connect(self):
        self._socket = self.host.connect(self.server, self.port)
        return self

    def request(self, method, url, *headers):
        self._sequence += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._sequence}", f"User-Agent: {self.agent}", *headers]
        if self.session and not any(header.startswith("Pipelined-Requests") for header in headers):
            lines.append(f"Session: {self.session}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def send(self, octets):
        self._socket.sendall(octets)

    def answer(self):
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        answer = Answer(head.decode(), b"")
        length = int(answer.headers.get("content-length", 0))
        while len(self._buffer) < length:
            self._more()
        answer.body, self._buffer = self._buffer[:length].decode(), self._buffer[length:]
        if answer.status != 200:
            raise Refused(answer.line)
        if "session" in answer.headers:
            self.session = answer.headers["session"].split(";")[0]
        return answer

    def _more(self):
        octets = self._socket.recv(65536)
        if not octets:
            raise Refused("the connection was closed")
        self._buffer += octets

    def ask(self, method, url, *headers):
        self.send(self.request(method, url, *headers))
        return self.answer()

    def options(self, url):
        self.ask("OPTIONS", url)

    def describe(self, url):
        answer = self.ask("DESCRIBE", url, "Accept: application/sdp")
        self.base = answer.headers["content-base"]
        sections = answer.body.split("\r\nm=")[1:]
        self.controls = []
        for kind in ("video", "audio"):
            control = next(re.search(r"a=control:(\S+)", section)[1] for section in sections if section.startswith(kind))
            self.controls.append(control if control.startswith("rtsp://") else self.base + control)
        return answer

    def set_up_request(self, index, *headers, destination=""):
        port = self.tracks[index].port
        transport = f"Transport: RTP/AVP;unicast;client_port={port}-{port + 1}{destination}"
        return self.request("SETUP", self.controls[index], transport, *headers)

    def set_up(self, index, **options):
        self.send(self.set_up_request(index, **options))
        return self.answer()

    def play(self, *headers):
        self.played = self.ask("PLAY", self.base, *headers)
        return self.played

    def open(self, url):
        """From nothing to all tracks set up, one request after the other, as FFmpeg and GStreamer do."""
        self.connect()
        self.options(url)
        self.describe(url)
        for index in range(len(self.tracks)):
            self.set_up(index)
        return self

    def position(self, packet):
        """The media time of a packet of pictures, as a player tells it: by Range and RTP-Info of the answer to PLAY."""
        start = float(re.search(r"npt=([\d.]+)", self.played.headers["range"])[1])
        rtptime = int(re.search(r"rtptime=(\d+)", self.played.headers["rtp-info"])[1])
        return start + ((int.from_bytes(packet[4:8], "big") - rtptime + (1 << 31)) % (1 << 32) - (1 << 31)) / 90_000

    def close(self):
        try:
            self.ask("TEARDOWN", self.base)
        except (Refused, OSError, TypeError, AttributeError):
            pass
        if self._socket:
            self._socket.close()
