"""Types passwords at a program that asks for them: password_terminal.py PASSWORD... -- PROGRAM ARGUMENT...; `^C` and `^\\` are these keys. Prints what
its terminal has shown, and whether that then shows what is typed; its status is that of the program."""

import os
import pty
import sys
import termios

KEYS = {"^C": b"\x03", "^\\": b"\x1c"}

end = sys.argv.index("--")
passwords, program = sys.argv[1:end], sys.argv[end + 1 :]
child, terminal = pty.fork()
if child == 0:
    os.execv(program[0], program)
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


for password in passwords:
    before = len(shown)
    while not (shown.endswith(b": ") and len(shown) > before) and read():
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
