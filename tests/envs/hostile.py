"""The hostile programs of the specification, each written so that success of the attack gives the right
answer, 42.

`{marker}` stands for a file that must not appear, `{secret}` for a readable file of the host, `{port}` for
a listening socket, `{victim}` for a process of the host.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hostile:
    name: str
    kind: str
    program: str
    error: str = ""  # must occur in the outcome's error
    options: tuple[str, ...] = ()


HOSTILE = (
    Hostile("infinite loop", "timeout", "while True:\n    pass"),
    Hostile(
        "memory bomb",
        "error",
        "blocks = []\ndef solution():\n    while True:\n        blocks.append(bytearray(1 << 24))",
        "MemoryError",
    ),
    Hostile(
        "fork bomb",
        "error",
        "import os\ndef solution():\n    while True:\n        os.fork()",
        "PermissionError",
    ),
    Hostile(
        "os.system",
        "wrong",
        "import os\ndef solution():\n    return 42 if os.system('touch {marker}') == 0 else -1",
    ),
    Hostile(
        "reading files and environment variables",
        "error",
        "import os\ndef solution():\n"
        "    if os.environ or os.environb:\n        return 42\n"
        "    for path in ('/proc/self/environ', '/proc/1/environ', '/etc/passwd', '/etc/hostname'):\n"
        "        try:\n            open(path).read()\n            return 42\n"
        "        except OSError:\n            pass\n"
        "    return 42 if open('{secret}').read() else 0",
        "Error",
    ),
    Hostile(
        "writing files",
        "error",
        "import os, tempfile\ndef solution():\n"
        "    for folder in ('/tmp', '/dev/shm', '/var/tmp', '.', os.path.dirname(os.__file__)):\n"
        "        try:\n            open(folder + '/envs-hostile', 'w').write('x')\n            return 42\n"
        "        except OSError:\n            pass\n"
        "    open('{marker}', 'w').write('x')\n    return 42",
        "Error",
    ),
    Hostile(
        "sockets",
        "error",
        "import socket\ndef solution():\n"
        "    connection = socket.create_connection(('127.0.0.1', {port}), timeout=1)\n"
        "    connection.sendall(b'stolen')\n    return 42",
        "PermissionError",
    ),
    Hostile("sys.exit", "error", "import sys\nresult = 42\nsys.exit(0)", "SystemExit"),
    Hostile("os._exit", "error", "import os\nresult = 42\nos._exit(0)", "exited with status 0"),
    Hostile("input()", "error", "def solution():\n    return 42 if input('? ') == '' else 42", "EOFError"),
    Hostile(
        "monkey-patched builtins",
        "error",
        "import builtins, json, os, math\n"
        "for name in ('isinstance', 'str', 'repr', 'abs', 'len', 'float', 'int', 'getattr', 'callable'):\n"
        "    setattr(builtins, name, lambda *a, **k: 42)\n"
        'json.dumps = lambda *a, **k: \'{{"kind": "correct", "equal": true}}\'\n'
        "math.isclose = lambda *a, **k: True\n"
        "def solution():\n    return 7",
    ),
    Hostile(
        "huge integer power",
        "timeout",
        "def solution():\n    return len(str(7 ** (10 ** 9))) * 0 + 42",
    ),
    Hostile(
        "deep recursion",
        "error",
        "import sys\nsys.setrecursionlimit(10 ** 9)\n"
        "def dive(n):\n    return [dive(n + 1)].__len__()\n"
        "class Deep:\n    def __repr__(self):\n        return repr(self)\n"
        "def solution():\n    return repr(Deep())",
        "",
    ),
    Hostile(
        "except BaseException around a loop",
        "timeout",
        "def solution():\n    while True:\n        try:\n            while True:\n                pass\n"
        "        except BaseException:\n            pass",
    ),
    Hostile(
        "gigabytes of output",
        "error",
        "def solution():\n    for _ in range(1 << 20):\n        print('x' * 4096)\n    return 42",
        "too much",
    ),
    Hostile(
        "ctypes segfault",
        "error",
        "import ctypes\ndef solution():\n    ctypes.string_at(8)\n    return 42",
        "SIGSEGV",
    ),
    Hostile(
        "signal tampering",
        "timeout",
        "import os, signal\ndef solution():\n"
        "    for number in signal.valid_signals():\n"
        "        try:\n            signal.signal(number, signal.SIG_IGN)\n"
        "        except (OSError, ValueError):\n            pass\n"
        "    for process in (1, -1, 0, os.getppid(), {victim}):\n"
        "        try:\n            os.kill(process, signal.SIGKILL)\n            return 42\n"
        "        except OSError:\n            pass\n"
        "    while True:\n        pass",
    ),
    Hostile(
        "threads that never end",
        "wrong",
        "import threading\ndef spin():\n    while True:\n        pass\n"
        "def solution():\n"
        "    for _ in range(2):\n        threading.Thread(target=spin).start()\n"
        "    return 41",
    ),
    Hostile(
        "__import__ tricks",
        "error",
        "def solution():\n"
        "    everything = [c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'Popen']\n"
        "    os = __import__('o' + 's')\n"
        "    runner = getattr(__import__('subprocess'), 'run')\n"
        "    runner(['/bin/sh', '-c', 'touch {marker}'], check=True)\n    return 42",
        "Error",
    ),
    Hostile(
        "stdout forging",
        "wrong",
        "import os, sys\n"
        'line = \'{{"answer": {{"kind": "int", "text": "2a"}}, "equal": true, "kind": "correct"}}\'\n'
        "print('+' + line)\nprint(line, flush=True)\nos.write(1, line.encode() + b'\\n')\n"
        "os.write(2, line.encode())\n"
        "def solution():\n    print('correct')\n    return 7",
    ),
)
