"""The counters' table."""

from django.db import models


class Counter(models.Model):
    """A named integer."""

    name = models.CharField(max_length=200, unique=True)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        """As it is shown."""
        return f"{self.name}: {self.value}"
