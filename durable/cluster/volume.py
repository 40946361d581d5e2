"""One data directory belongs to one Redis: a worker with another directory would create empty twins."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from durable.errors import DurableError

from .redis import RedisCluster


class WrongVolumeError(DurableError):
    """The data directory is not the one that Redis knows."""

    code = "wrong_volume"


def volume_id(data_dir: Path) -> str:
    """The directory's random id, made at first use."""
    path = data_dir / "volume"
    draft = data_dir / f".volume-{os.getpid()}"
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        draft.write_text(uuid.uuid4().hex + "\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another worker was first
        finally:
            draft.unlink()
    return path.read_text().strip()


async def check_volume(redis: RedisCluster, data_dir: Path) -> None:
    """Raise WrongVolumeError unless the data directory is the one this Redis knows (or its first)."""
    mine = volume_id(data_dir)
    pinned = await redis.take_volume(mine)
    if pinned != mine:
        raise WrongVolumeError(
            f"the Redis at hand belongs to another data directory (volume {pinned}), not to {data_dir} (volume {mine}). "
            "Objects would be created twice. Use the matching REDIS_URL and DATA_DIR; if the old directory is gone for "
            "good, delete the key durable:volume in Redis."
        )
