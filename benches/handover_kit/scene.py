"""A server and two devices, each in a network namespace of its own, and a relay between them that delays.

    server 2001:db8:f10::1, 10.15.0.1      device A …::a, 10.15.0.10      device B …::b, 10.15.0.11
          tun0 ─────────────────── relay ─────────────────── tun0, tun0

The relay (relay.py) is a process that holds the three TUN interfaces and passes each packet on after the delay: no kernel module for
emulation is needed. A TUN interface takes no segments to be cut apart, so the kernel cuts them before: the relay sees what a wire would.
See network_namespaces(7), setns(2), and Documentation/networking/tuntap.rst of the kernel.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
ETH_P_ALL = 3

LIBC = ctypes.CDLL(None, use_errno=True)
HERE = os.path.dirname(os.path.abspath(__file__))


def _setns(handle):
    if LIBC.setns(handle, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    """A network namespace without a name: it lives as long as this process holds it."""

    def __init__(self):
        made = []

        def make():
            if LIBC.unshare(CLONE_NEWNET) == 0:
                made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if not made:
            sys.exit("network namespaces cannot be made here: run as root")
        self.handle = made[0]

    @contextlib.contextmanager
    def inside(self):
        """Sockets made meanwhile belong there."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _setns(self.handle)
        try:
            yield
        finally:
            _setns(before)
            os.close(before)

    def start(self, command, **options):
        """Starts a program inside; it ends with this process."""

        def enter():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            _setns(self.handle)

        return subprocess.Popen(command, preexec_fn=enter, **options)

    def run(self, command, **options):
        """Runs a program inside to its end; gives what it printed."""
        process = self.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        out, err = process.communicate(timeout=30)
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {err.strip() or out.strip()}")
        return out


class Host(Namespace):
    """A machine: a namespace with one interface, tun0."""

    def __init__(self, name, last):
        super().__init__()
        self.name = name
        self.v6 = f"2001:db8:f10::{last:x}"
        self.v4 = f"10.15.0.{last}"
        with self.inside():
            self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.tun, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
        lines = (
            f"link set lo up\nlink set tun0 txqueuelen 20000 up\naddr add {self.v6}/64 dev tun0 nodad\naddr add {self.v4}/24 dev tun0\n"
        )
        self.run(["ip", "-batch", "/dev/stdin"], stdin=_pipe(lines))

    def address(self, family):
        return self.v6 if family == 6 else self.v4

    def udp(self, port):
        """A UDP socket for both families with room for seconds of media; the kernel notes when each datagram comes."""
        with self.inside():
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 128 << 20)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind(("::", port))
        sock.setblocking(False)
        return sock

    def tap(self):
        """A socket that sees whole packets in both directions, with the kernel's time for each."""
        with self.inside():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 128 << 20)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.bind(("tun0", ETH_P_ALL))
        sock.setblocking(False)
        return sock

    def connect(self, host, port, family=6):
        """A TCP connection from here."""
        with self.inside():
            sock = socket.create_connection((host.address(family), port), timeout=10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


def _pipe(text):
    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    return os.fdopen(reader)


def drain(sock):
    """All that waits in a socket of `udp` or `tap`: (nanoseconds since the epoch, octets)."""
    came = []
    while True:
        try:
            octets, control, _flags, _from = sock.recvmsg(65536, 64)
        except BlockingIOError:
            return came
        except ConnectionRefusedError:
            continue
        for level, kind, value in control:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanos = struct.unpack("qq", value[:16])
                came.append((seconds * 1_000_000_000 + nanos, octets))


class Scene:
    """Server, two devices, and the relay with its delay one way."""

    def __init__(self, delay_ms):
        self.delay_ms = delay_ms
        self.server, self.a, self.b = Host("server", 1), Host("A", 10), Host("B", 11)
        hosts = [self.server, self.a, self.b]
        command = [sys.executable, os.path.join(HERE, "relay.py"), str(delay_ms)]
        command += [f"{host.tun},{host.v6},{host.v4}" for host in hosts]
        die_with_us = lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # noqa: E731
        handles = [host.tun for host in hosts]
        self._relay = subprocess.Popen(command, pass_fds=handles, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_us)
        if self._relay.stdout.readline().strip() != "ready":
            sys.exit("the relay did not start")
        for host in hosts:
            os.close(host.tun)

    def accuracy(self, seconds=1.5):
        """How exactly the relay delays: milliseconds from sending to the kernel's time of arrival, server to B, beyond the delay.

        Single datagrams every 5 ms, and bursts of 64 datagrams of 1,400 octets such as a key picture is.
        """
        port = 9
        receiver = self.b.udp(port)
        with self.server.inside():
            sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sender.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)
        sender.connect((self.b.v6, port))
        end = time.monotonic() + seconds
        count = 0
        while time.monotonic() < end:
            burst = 64 if count % 20 == 19 else 1
            for _ in range(burst):
                sender.send(struct.pack("!qB", time.time_ns(), burst) + bytes(1391))
            count += 1
            time.sleep(0.005)
        time.sleep(self.delay_ms / 1000 + 0.1)
        late = {1: [], 64: []}
        for at, octets in drain(receiver):
            sent, burst = struct.unpack("!qB", octets[:9])
            late[burst].append((at - sent) / 1e6 - self.delay_ms)
        receiver.close()
        sender.close()
        shown = {"delayMs": self.delay_ms}
        for burst, name in [(1, "single"), (64, "burst64")]:
            values = sorted(late[burst])
            shown[name] = {
                "datagrams": len(values),
                "p50": round(values[len(values) // 2], 3),
                "p99": round(values[len(values) * 99 // 100], 3),
                "max": round(values[-1], 3),
            }
        return shown

    def close(self):
        """Ends the relay; gives how late it passed packets on."""
        self._relay.send_signal(signal.SIGTERM)
        line = self._relay.stdout.readline()
        self._relay.wait()
        return json.loads(line) if line else {}
