"""What can be refused at once, before minutes of installing: the Python, the data directory, the port."""

import errno
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Tuple

from .running import ROOT, SetupError, works

OLDEST_PYTHON = (3, 11)


def python() -> None:
    """Continue under Python 3.11 or newer: this one, or a newer one found on the PATH."""
    if sys.version_info >= OLDEST_PYTHON:
        return
    for minor in range(20, OLDEST_PYTHON[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and works(found, "-c", ""):
            os.execv(found, [found, "-m", "bootstrap", *sys.argv[1:]])  # noqa: S606  # becomes the newer one
    mine = ".".join(str(part) for part in sys.version_info[:3])
    raise SetupError(
        f"Python 3.11 or newer is needed; {sys.executable} is {mine}. Name another: make PYTHON=/path/to/python3"
    )


def venv_module() -> None:
    """This Python can make virtual environments."""
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            raise SetupError(
                f"this Python has no {module} module; install it (Debian: apt-get install python3-venv)"
            ) from None


def data_dir() -> Path:
    """The data directory exists and can be written."""
    data = Path(os.environ.get("DATA_DIR", "").strip() or ROOT / "var").expanduser().absolute()
    probe = data / f".probe-{os.getpid()}"
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise SetupError(f"DATA_DIR {data} cannot be written: {error.strerror}") from None
    return data


def address() -> Tuple[str, int]:
    """The host and port to serve on, from HOST and PORT; nothing else listens there."""
    host = os.environ.get("HOST", "").strip() or "127.0.0.1"
    text = os.environ.get("PORT", "").strip() or "8000"
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise SetupError(f"PORT must be a number from 1 to 65535; it is {text!r}")
    port = int(text)
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise SetupError(f"HOST {host!r} is not an address of this machine") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
            probe.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SetupError(f"cannot listen on {host} port {port}: {error.strerror}") from None
            other = port + 1 if port < 65535 else 8000
            raise SetupError(
                f"port {port} on {host} is in use; stop what listens there, or choose another: make run PORT={other}"
            ) from None
    return host, port
