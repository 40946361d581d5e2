"""What an open socket holds in its gateway while its object sleeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from .figures import Figure, tell
from .plan import Plan
from .processes import Holding, holding
from .service import Service, service, until
from .subjects.objects import Hasty
from .websocket import OPEN_SECONDS, WebSocketClient, open_sockets

AIM_KIB = 20.0


async def _open(host: str, port: int, rooms: Sequence[str]) -> list[WebSocketClient]:
    """A socket for each name in `rooms`, that offers compression as a browser does."""
    return await open_sockets(host, port, [f"/ws/subject/{room}" for room in rooms], compression=True)


async def idle_sockets(plan: Plan) -> AsyncIterator[Figure]:
    """Many sockets of one object, and few sockets of each of many objects."""
    for title, objects in (("one object with all", 1), ("objects with two each", plan.sockets // 2)):
        async with service() as running:
            (gateway,) = running.processes.gateway_pids()
            port = running.processes.port
            warm = await _open("127.0.0.1", port, [f"warm-{n % 20}" for n in range(min(200, plan.sockets))])
            await running.wait_until_active(0)
            before = holding(gateway)
            tell(f"opening {plan.sockets:,} sockets: {title}")
            rooms = [f"room-{n % objects}" for n in range(plan.sockets)]
            idlers = await _open("127.0.0.1", port, rooms)
            await running.wait_until_active(0)
            after = holding(gateway)
            yield _per_socket(f"memory of an idle socket, {title}", before, after, len(idlers), right=True)
            right = await _all_hear(rooms, idlers)
            await running.wait_until_active(0)
            yield _per_socket(
                f"the same after a broadcast to each, {title}", before, holding(gateway), len(idlers), right
            )
            held = holding(gateway)
            for idler in idlers:
                idler.close()
            await _let_go(running, gateway, before)
            await _open("127.0.0.1", port, rooms)
            await running.wait_until_active(0)
            more = (holding(gateway).kib - held.kib) / len(idlers)
            yield Figure(f"what each adds when all have gone and as many come, {title}", "KiB", (more,))
            del warm


async def _all_hear(rooms: Sequence[str], idlers: list[WebSocketClient]) -> bool:
    """Whether a frame from each object reaches every one of its sockets once."""
    for room in dict.fromkeys(rooms):
        await Hasty.namespace.get_by_name(room).echo("hello")
    await until(lambda: all(idler.texts for idler in idlers), OPEN_SECONDS)
    return all(idler.texts == 1 and not idler.ended for idler in idlers)


async def _let_go(running: Service, gateway: int, before: Holding) -> None:
    """Return when the gateway and the objects have noticed that the clients have gone."""
    await until(lambda: holding(gateway).descriptors <= before.descriptors + 2, OPEN_SECONDS)
    await running.wait_until_active(0)


def _per_socket(name: str, before: Holding, after: Holding, count: int, right: bool) -> Figure:
    right = right and abs(after.descriptors - before.descriptors - count) <= 2  # links may come and go
    return Figure(name, "KiB", ((after.kib - before.kib) / count,), aim=AIM_KIB, right=right)
