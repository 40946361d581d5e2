"""What a user may get wrong: after `# E:` stands what mypy must say, and it must say no more."""

from durable import AlarmInfo, DurableObject, WebSocket, concurrent


class Counter(DurableObject):
    """A named integer."""

    key = 5  # E: Incompatible types in assignment
    durability = "sloppy"  # E: Incompatible types in assignment
    migrations = [5]  # E: List item 0 has incompatible type "int"
    max_sockets = "many"  # E: Incompatible types in assignment

    async def increment(self, amount: int = 1) -> int:
        return amount

    @concurrent
    async def wait(self, seconds: float) -> str:
        return self.ctx.storage.nothing  # E: "Storage" has no attribute "nothing"

    async def alarm(self) -> None:  # E: Signature of "alarm" incompatible with supertype
        self.ctx.storage.set_alarm(1.5)  # E: incompatible type "float"; expected "int | datetime"

    def web_socket_connect(self, ws: WebSocket) -> None:  # E: incompatible with return type
        ws.send({"a": 1})  # E: Argument 1 to "send" of "WebSocket" has incompatible type

    async def web_socket_message(self, ws: WebSocket, message: str) -> None:  # E: incompatible with supertype
        self.ctx.brodcast(message)  # E: "Context" has no attribute "brodcast"

    async def web_socket_close(self, ws: WebSocket, code: int) -> None:  # E: Signature of "web_socket_close"
        ws.close("bye")  # E: Argument 1 to "close" of "WebSocket" has incompatible type "str"

    async def start(self, info: AlarmInfo) -> None:  # E: Signature of "start" incompatible with supertype
        self.ctx.flush()  # E: must be used


class Other(DurableObject):
    """Another class."""


async def use() -> None:
    """Calls that cannot be."""
    counter = Counter.namespace.get_by_name("x")
    await counter.incremnt()  # E: "Counter" has no attribute "incremnt"; maybe "increment"?
    await counter.increment("5")  # E: Argument 1 to "increment" of "Counter" has incompatible type "str"
    await counter.increment(1, 2)  # E: Too many arguments for "increment" of "Counter"
    await counter.increment(by=1)  # E: Unexpected keyword argument "by"
    counter.increment()  # E: must be used
    await counter.wait()  # E: Missing positional argument "seconds"
    text: str = await counter.increment()  # E: Incompatible types in assignment
    other: Other = Counter.namespace.get_by_name("x")  # E: Incompatible types in assignment
    Counter.namespace.get_by_name(5)  # E: incompatible type "int"; expected "str"
    Counter.namespace.get("x")  # E: incompatible type "str"; expected "ObjectId"
    print(text, other)
