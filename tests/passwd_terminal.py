"""Types two passwords at `flowsteer passwd anna`: passwd_terminal.py BINARY FIRST SECOND. Prints what its terminal has shown; its status is that of the binary."""

import os
import pty
import sys

binary, *passwords = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.execv(binary, [binary, "passwd", "anna"])
shown = b""


def read():
    """More of it; False at its end."""
    global shown
    try:
        more = os.read(terminal, 4096)
    except OSError:
        return False
    shown += more
    return bool(more)


for question, password in zip([b"Password: ", b"Again: "], passwords):
    while question not in shown and read():
        pass
    os.write(terminal, password.encode() + b"\n")
while read():
    pass
print(shown.decode(), end="")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
