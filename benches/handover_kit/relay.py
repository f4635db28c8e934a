"""relay.py DELAY_MS FD,V6,V4 …: passes packets between TUN interfaces, each DELAY_MS after it was read.

Says "ready", and at SIGTERM one line of JSON: how late packets were passed on. One queue serves all, as the delay is the same for all.
"""

import collections
import gc
import json
import os
import select
import signal
import socket
import sys
import time

EARLY = 200_000


def main():
    delay = int(float(sys.argv[1]) * 1e6)
    handles, ways = [], {}
    for text in sys.argv[2:]:
        handle, v6, v4 = text.split(",")
        handles.append(int(handle))
        ways[socket.inet_pton(socket.AF_INET6, v6)] = int(handle)
        ways[socket.inet_pton(socket.AF_INET, v4)] = int(handle)
    # In front of all else on this processor, so that the path is not slower when the players work.
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
    except OSError:
        pass
    gc.disable()
    late = collections.deque(maxlen=200_000)
    passed = lost = 0
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    queue = collections.deque()
    clock, read, write = time.monotonic_ns, os.read, os.write
    print("ready", flush=True)
    while not ended:
        # Wakes a little early and looks until it is time: waking itself takes a tenth of a millisecond.
        pause = max(0, queue[0][0] - clock() - EARLY) / 1e9 if queue else 0.2
        ready, _, _ = select.select(handles, [], [], pause)
        for handle in ready:
            # A few at a time: what is due must not wait for a long row to be read.
            for _ in range(16):
                try:
                    packet = read(handle, 65536)
                except BlockingIOError:
                    break
                to = ways.get(packet[24:40]) if packet[0] >> 4 == 6 else ways.get(packet[16:20])
                if to is not None:
                    queue.append((clock() + delay, to, packet))
        while queue:
            due, to, packet = queue[0]
            now = clock()
            if due > now:
                break
            queue.popleft()
            try:
                write(to, packet)
                passed += 1
                late.append(now - due)
            except OSError:
                lost += 1
    values = sorted(late) or [0]
    at = lambda part: round(values[min(len(values) - 1, int(len(values) * part))] / 1e6, 3)  # noqa: E731
    print(json.dumps({"passed": passed, "lost": lost, "lateMs": {"p50": at(0.5), "p99": at(0.99), "max": at(1)}}), flush=True)


main()
