"""Response headers that Django does not set by itself: sockets in the CSP, and the permissions policy."""

from typing import Any

from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest, HttpResponseBase

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
