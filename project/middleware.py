"""Response headers that Django does not set by itself: sockets in the CSP, permissions, caching of built files."""

import re
from typing import Any

from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest, HttpResponseBase
from servestatic.middleware import ServeStaticMiddleware

PERMISSIONS_POLICY = (
    "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=(), "
    "clipboard-read=(self), clipboard-write=(self), fullscreen=(self)"
)


class PolicyMiddleware(CSPMiddleware):
    """The site's Content-Security-Policy plus `connect-src` for WebSockets to the host that was asked.

    `'self'` covers ws: and wss: in current browsers only; older ones need the origin by name.
    """

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """The configured policy, with the socket origin of this request added."""
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only:
            scheme = "wss" if request.is_secure() else "ws"
            update: dict[str, Any] = dict(parts.update or {})
            sources = update.get("connect-src", [])
            sources = [sources] if isinstance(sources, str) else list(sources)
            update["connect-src"] = [*sources, f"{scheme}://{request.get_host()}"]
            parts.update = update
        return parts

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Add both policies, unless a view set its own."""
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return super().process_response(request, response)


class StaticMiddleware(ServeStaticMiddleware):  # type: ignore[misc]  # servestatic has no types
    """Static files, those with a hash of their contents in their name cached for ever.

    The names are given by the front end's build, so the manifest that the base class asks for does not exist.
    """

    hashed = re.compile(r"^dist/(?:(?:chunks|assets)/.+-[\w-]{8}|fonts/.+-[0-9a-f]{32})\.\w+$")

    def immutable_file_test(self, path: str, url: str) -> bool:
        """Whether the contents of this URL can never change."""
        return url.startswith(self.static_prefix) and bool(self.hashed.match(url[len(self.static_prefix) :]))
