#!/usr/bin/env python3
"""Looks for services by multicast DNS, and prints what it finds, a line of JSON for each change, until it is killed.

    mdns_listener.py TYPE...

The first line is `listening`. What is found has been resolved: addresses, port and TXT records are those that were answered.
"""

import json
import sys
import time

from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf


def tell(value):
    print(json.dumps(value), flush=True)


class Listener(ServiceListener):
    def add_service(self, zeroconf, kind, name):
        info = ServiceInfo(kind, name)
        if not info.request(zeroconf, 5000):
            tell({"event": "unresolved", "type": kind, "name": name})
            return
        # An answer has the addresses of one family, or of both.
        until = time.monotonic() + 4
        while time.monotonic() < until and not (info.ip_addresses_by_version(IPVersion.V4Only) and info.ip_addresses_by_version(IPVersion.V6Only)):
            time.sleep(0.02)
            info.load_from_cache(zeroconf)
        texts = {key.decode(): (value or b"").decode() for key, value in info.properties.items()}
        tell({
            "event": "found",
            "type": kind,
            "name": name.removesuffix("." + kind),
            "host": info.server,
            "port": info.port,
            "addresses": info.parsed_addresses(IPVersion.All),
            "txt": texts,
        })

    def update_service(self, zeroconf, kind, name):
        pass

    def remove_service(self, zeroconf, kind, name):
        tell({"event": "gone", "type": kind, "name": name.removesuffix("." + kind)})


zeroconf = Zeroconf(ip_version=IPVersion.All)
browser = ServiceBrowser(zeroconf, sys.argv[1:], Listener())
tell("listening")
while True:
    time.sleep(60)
