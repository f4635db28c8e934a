"""The servers that are measured, running on the scene's server host."""

import http.client
import json
import os
import subprocess
import tempfile
import time

from .scene import HERE

RTSP, HTTP, GST_RTSP = 8554, 8080, 8555
OPERATOR = "operator"


class DidNotStart(Exception):
    pass


class Flowsteer:
    """The binary with its defaults and `settings`, keys as the configuration has them."""

    def __init__(self, scene, binary, folder, settings):
        self.scene, self.binary = scene, binary
        self.state = tempfile.TemporaryDirectory(prefix="flowsteer-bench-")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOWSTEER_")}
        for key, value in {"http.tokens": OPERATOR, **settings}.items():
            environment["FLOWSTEER_" + key.upper().replace(".", "_")] = str(value)
        self.log = open(os.path.join(self.state.name, "log"), "w+")
        command = [binary, "serve", folder, "--state", self.state.name]
        self.process = scene.server.start(command, env=environment, stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
        self.process.wait()
        self.log.seek(0)
        raise DidNotStart(self.log.read().strip().splitlines()[-1])

    def call(self, method, target, body=None):
        """The API, asked by its operator on the server's host."""
        with self.scene.server.inside():
            connection = http.client.HTTPConnection("127.0.0.1", HTTP, timeout=10)
            connection.connect()
        headers = {"Authorization": f"Bearer {OPERATOR}", "Content-Type": "application/json"}
        connection.request(method, target, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        octets = answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {target}: {answer.status} {octets.decode()}")
        return json.loads(octets) if octets else None

    def events(self):
        """The event stream from now on, as a socket file that gives lines."""
        with self.scene.server.inside():
            connection = http.client.HTTPConnection("127.0.0.1", HTTP, timeout=60)
            connection.connect()
        connection.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {OPERATOR}"})
        return connection.getresponse()

    def end_sessions(self):
        """Nothing plays any more."""
        for session in self.call("GET", "/api/v1/sessions"):
            try:
                self.call("POST", f"/api/v1/sessions/{session['id']}/end", {})
            except RuntimeError:
                pass
        for home in self.call("GET", "/api/v1/home-addresses"):
            try:
                self.call("DELETE", f"/api/v1/home-addresses/{home['homeAddress']}")
            except RuntimeError:
                pass

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        self.state.cleanup()


class GstServer:
    """GStreamer's server, see gst_server.py."""

    def __init__(self, scene, folder):
        command = ["/usr/bin/python3", os.path.join(HERE, "gst_server.py"), folder, str(GST_RTSP)]
        self.process = scene.server.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise DidNotStart("gst-rtsp-server did not start: benches/handover --prepare installs it")
        end = time.monotonic() + 10
        while True:
            try:
                return scene.a.connect(scene.server, GST_RTSP).close()
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def close(self):
        self.process.terminate()
        self.process.wait()
