"""Values of command-line options, checked while they are read, and who gives them."""

import argparse
import getpass

_MOST_PROCESSES = 256


def port_number(text: str) -> int:
    """A TCP port; 0 means any free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


def count(text: str) -> int:
    """A number of processes."""
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_PROCESSES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MOST_PROCESSES}")
    return int(text)


def utf8_text(given: str) -> str:
    """Text for a database: a shell may hand over bytes that are none."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{given!r} has bytes that are no UTF-8") from None
    return given


def shell_user() -> str:
    """Who runs a command, as the audit log names them."""
    try:
        return f"shell:{getpass.getuser()}"
    except (KeyError, OSError):  # no such account, as in some containers
        return "shell:unknown"
