"""Policies: what a limiter keeps to, edited in the admin or by REST."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models

from .logic import MAX_LIMIT, MAX_WINDOW_SECONDS

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
MAX_SHARDS = 1024
DEFAULT_SHARDS = 16


class Algorithm(models.TextChoices):
    """How requests are counted; `limiter.logic` states the bound that each keeps."""

    SLIDING_WINDOW = "sliding_window", "sliding window: never more than the limit in any window"
    GCRA = "gcra", "GCRA: a burst, then evenly spaced"
    TOKEN_BUCKET = "token_bucket", "token bucket: a burst, refilled evenly"
    FIXED_WINDOW = "fixed_window", "fixed window: a count for each window of the calendar"


class Policy(models.Model):
    """A limit with a name."""

    name = models.CharField(
        max_length=64,
        unique=True,
        validators=[
            RegexValidator(
                rf"\A{NAME_PATTERN}\Z", "A name begins with a letter or digit; then also '.', '_' and '-'."
            )
        ],
    )
    algorithm = models.CharField(max_length=20, choices=Algorithm, default=Algorithm.SLIDING_WINDOW)
    limit = models.PositiveIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(MAX_LIMIT)], help_text="Cost per window."
    )
    window_seconds = models.PositiveIntegerField(
        "window",
        validators=[MinValueValidator(1), MaxValueValidator(MAX_WINDOW_SECONDS)],
        help_text="Seconds.",
    )
    burst = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_LIMIT)],
        help_text="Cost that GCRA and token bucket admit at once; empty: the limit. The others do not use it.",
    )
    shards = models.PositiveSmallIntegerField(
        default=DEFAULT_SHARDS,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_SHARDS)],
        help_text="Objects the keys are spread over. Changing it lets every key begin anew.",
    )
    created_at = models.DateTimeField("created", auto_now_add=True)
    updated_at = models.DateTimeField("updated", auto_now=True)

    class Meta:
        verbose_name_plural = "policies"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(limit__gte=1, window_seconds__gte=1, shards__gte=1),
                name="limiter_policy_positive",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.limit} in {self.window_seconds} s"
