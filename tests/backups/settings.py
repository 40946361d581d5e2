"""The project with backups so often that a test can wait for them."""

from project.settings import *  # noqa: F403
from project.settings import DURABLE

DURABLE = {**DURABLE, "backup_every": 0.4}
