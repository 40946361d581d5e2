"""What no page of ours may do, collected while a browser context lives."""

from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page

# Tells in the page, since Chromium words its own console message differently from version to version.
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`Content Security Policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


class Watch:
    """Offences against the security policy, uncaught errors and conversations with other hosts."""

    def __init__(self) -> None:
        self.offences: list[str] = []

    def over(self, context: BrowserContext, base_url: str) -> None:
        """Watch all pages of a context that belongs to this address."""
        own = urlsplit(base_url).netloc
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.offences.append(f"uncaught: {error.error}"))
        context.on("request", lambda request: self._spoke(request.url, own))
        context.on("page", lambda page: self._page(page, own))

    def _page(self, page: Page, own: str) -> None:
        page.on("websocket", lambda socket: self._spoke(socket.url, own))

    def _heard(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            self.offences.append(f"{message.page.url if message.page else ''}: {message.text}")

    def _spoke(self, url: str, own: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"data", "blob", "about"} and parts.netloc != own:
            self.offences.append(f"request to another host: {url}")
