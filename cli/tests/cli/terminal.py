"""Runs a command on a terminal of its own, step by step, and prints what came of it as JSON."""
import json
import os
import select
import signal
import sys
import termios
import time

told = json.loads(sys.argv[1])
deadline = time.monotonic() + 60
# The command's end stays open here, so that its settings can be read once the command is gone.
terminal, held = os.openpty()
child = os.fork()
if child == 0:
    os.close(terminal)
    os.login_tty(held)
    os.execv(told["command"][0], told["command"])
shown = ""
seen = 0


def read():
    """Takes in what the command shows. False once it has ended."""
    global shown
    if time.monotonic() > deadline:
        os.kill(child, signal.SIGKILL)
        sys.exit(f"it waits: {shown!r}")
    if select.select([terminal], [], [], 0.05)[0]:
        shown += os.read(terminal, 65536).decode(errors="replace")
        return True
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def echoes():
    """Does the terminal show what is typed?"""
    return bool(termios.tcgetattr(held)[3] & termios.ECHO)


for kind, text in told["steps"]:
    if kind == "see":
        while text not in shown[seen:]:
            if not read():
                sys.exit(f"never shown: {text!r} in {shown!r}")
        seen = shown.index(text, seen) + len(text)
    elif kind == "hidden":
        while echoes():
            if not read():
                sys.exit(f"it never hides what is typed: {shown!r}")
    elif kind == "type":
        os.write(terminal, text.encode())
    else:
        os.kill(child, getattr(signal, "SIG" + text))
while read():
    pass
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps({"code": code, "shown": shown, "echo": echoes()}))
