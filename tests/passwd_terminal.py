"""Types two passwords at `flowsteer passwd anna`: passwd_terminal.py BINARY FIRST SECOND; `^C` and `^\\` are these keys. Prints what its terminal
has shown, and whether that then shows what is typed; its status is that of the binary."""

import os
import pty
import sys
import termios

KEYS = {"^C": b"\x03", "^\\": b"\x1c"}

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


def is_shown():
    """Whether the terminal shows what is typed."""
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


for question, password in zip([b"Password: ", b"Again: "], passwords):
    while question not in shown and read():
        pass
    if is_shown():
        sys.exit("the terminal shows what is typed")
    os.write(terminal, KEYS.get(password) or password.encode() + b"\n")
    if password in KEYS:
        break
while read():
    pass
print(shown.decode() + ("(it shows what is typed)" if is_shown() else "(it shows nothing)"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
