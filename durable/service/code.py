"""Which code a process runs: a digest that changes when an installed app's code does."""

from __future__ import annotations

import sys
from hashlib import blake2b
from pathlib import Path

from django.apps import apps

_DIGITS = 12
_COMMANDS = ".management.commands."


def code_version() -> str:
    """12 hex digits over the sources of the installed apps' loaded modules; to be asked soon after they were loaded.

    Management commands are left out: a worker is started by one or the other, and is none the different for it.
    """
    packages = {config.name for config in apps.get_app_configs()}
    digest = blake2b(digest_size=_DIGITS // 2)
    for name, module in sorted(sys.modules.items()):
        source = getattr(module, "__file__", None)
        if source is None or _COMMANDS in name:
            continue
        if not any(name == package or name.startswith(f"{package}.") for package in packages):
            continue
        digest.update(f"\n{name}\n".encode())
        try:
            digest.update(Path(source).read_bytes())
        except OSError:  # inside a zip, or replaced meanwhile
            digest.update(source.encode())
    return digest.hexdigest()
