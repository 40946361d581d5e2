"""`manage.py api_token create|list|revoke`: tokens of the REST API from a shell."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from durable.conf import durable_settings
from durable.management.arguments import shell_user, utf8_text
from durable.models import ApiToken, AuditEntry


class Command(BaseCommand):
    help = "Create, list and revoke tokens of the REST API."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="make a token and print it once")
        create.add_argument("name", type=utf8_text, help="what it is for")
        create.add_argument("--scopes", required=True, help="separated by commas, such as objects,counters")
        create.add_argument("--json", action="store_true", help="print one JSON object")
        listing = actions.add_parser("list", help="show all tokens, without their secrets")
        listing.add_argument("--json", action="store_true", help="print a JSON list")
        revoke = actions.add_parser("revoke", help="close a token for good")
        revoke.add_argument("token", type=utf8_text, help="its name, or the ten characters after dr_")

    def handle(self, *args: Any, **options: Any) -> None:
        action = options["action"]
        if action == "create":
            self._create(options["name"], options["scopes"], as_json=options["json"])
        elif action == "list":
            self._list(as_json=options["json"])
        else:
            self._revoke(options["token"])

    def _create(self, name: str, scopes: str, *, as_json: bool) -> None:
        known = durable_settings().api_scopes
        wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
        unknown = [scope for scope in wanted if scope not in known]
        if unknown or not wanted:
            problem = f"unknown scope {', '.join(unknown)}" if unknown else "no scope given"
            raise CommandError(
                f'{problem}; scopes are {", ".join(known)}: settings.DURABLE["api_scopes"] lists them'
            )
        try:
            name = ApiToken._meta.get_field("name").clean(name.strip(), None)
        except ValidationError as error:
            raise CommandError(f"the token's name: {error.messages[0]}") from None
        token, text = ApiToken.issue(name, wanted)
        AuditEntry.record(shell_user(), "token.create", token=str(token), scopes=token.scopes)
        if as_json:
            shown = {"name": token.name, "prefix": token.prefix, "scopes": token.scopes, "token": text}
            self.stdout.write(json.dumps(shown))
            return
        self.stderr.write("This is shown once; only its hash is kept.")
        self.stdout.write(text)

    def _list(self, *, as_json: bool) -> None:
        tokens = list(ApiToken.objects.order_by("created_at"))
        if as_json:
            self.stdout.write(
                json.dumps(
                    [
                        {
                            "name": token.name,
                            "prefix": token.prefix,
                            "scopes": token.scopes,
                            "created_at": token.created_at.isoformat(),
                            "last_used_at": token.last_used_at and token.last_used_at.isoformat(),
                            "revoked_at": token.revoked_at and token.revoked_at.isoformat(),
                        }
                        for token in tokens
                    ]
                )
            )
            return
        for token in tokens:
            state = "revoked" if token.revoked_at else "live"
            used = token.last_used_at.isoformat(timespec="minutes") if token.last_used_at else "never used"
            self.stdout.write(f"{token.prefix}  {state:8}{token.name}  [{', '.join(token.scopes)}]  {used}")

    def _revoke(self, wanted: str) -> None:
        live = ApiToken.objects.filter(revoked_at=None)
        tokens = list(live.filter(prefix=wanted) or live.filter(name=wanted))
        if not tokens:
            raise CommandError(f"no live token is called {wanted!r}")
        if len(tokens) > 1:
            raise CommandError(
                f"{len(tokens)} live tokens are called {wanted!r}; give the prefix, one of "
                + ", ".join(token.prefix for token in tokens)
            )
        AuditEntry.record(shell_user(), "token.revoke", token=str(tokens[0]))
        tokens[0].revoke()
        self.stdout.write(f"Revoked {tokens[0]}.")
