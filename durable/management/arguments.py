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


def shell_user() -> str:
    """Who runs a command, as the audit log names them."""
    try:
        return f"shell:{getpass.getuser()}"
    except (KeyError, OSError):  # no such account, as in some containers
        return "shell:unknown"
