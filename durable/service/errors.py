"""What keeps a service from starting, said in one line."""

from __future__ import annotations

#: Exit status of a child that must not be started again as it is: a wrong setting, a refused data directory (EX_CONFIG).
EXIT_REFUSED = 78


class ServiceError(Exception):
    """The service cannot start or go on; the text is one line an operator can act on.

    ``detail`` holds further lines (the end of a log), printed below it.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.message}\n{self.detail}" if self.detail else self.message
