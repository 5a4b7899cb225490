"""What the tests of connections to workers share: a server's side, and a request."""

from __future__ import annotations

from oneseek_sandbox.workers.request import Request

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
DEADLINE = 60.0


class Caller:
    """What a server has of a connection: what came, and whether it ended."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def request(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head + await self.reader.readexactly(int(line[15:]))
        return head

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()


async def ask(pool, peer, **fields):
    async with pool.asked(peer, Request("POST", "/do", **fields)) as answer:
        return answer.status, b"".join([piece async for piece in answer.pieces()])


async def answer_always(caller, data=OK):
    while True:
        await caller.request()
        await caller.send(data)
