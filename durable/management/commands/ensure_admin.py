"""`manage.py ensure_admin`: an administrator exists; a new one gets a generated password, printed once."""

import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Create an administrator with a generated password, unless there is one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", default="admin")

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model()._default_manager
        if users.filter(is_superuser=True, is_active=True).exists():
            return
        if users.filter(username=options["username"]).exists():  # somebody's account; never taken over
            self.stderr.write(f"No administrator, and {options['username']!r} is taken: run createsuperuser.")
            return
        password = secrets.token_urlsafe(12)
        user = users.model(username=options["username"], is_staff=True, is_superuser=True)
        user.set_password(password)
        user.save()
        self.stdout.write(f"Admin login (shown this once): {options['username']} / {password}")
