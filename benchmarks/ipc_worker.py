"""The other end of every contestant of bench_ipc: `python ipc_worker.py KIND CPU FD|PATH`."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
import time
from concurrent import futures
from typing import Any

import msgspec


class HttpCall(msgspec.Struct, array_like=True):
    """The struct of ten fields that calls carry."""

    method: str
    path: str
    query: str
    host: str
    client: str
    agent: str
    request_id: str
    port: int
    tls: bool
    length: int


SAMPLE = HttpCall(
    *("GET", "/shop/items/4711", "page=2&sort=price", "shop.example.org", "203.0.113.7"),
    *("Mozilla/5.0 (X11; Linux x86_64)", "01J9ZQ4W", 443, True, 0),
)
KEYS = ("tenant", "user", "locale", "plan", "trace")


def bump(call: HttpCall) -> HttpCall:
    """Do what a plugin's handler does at least: read and change a field."""
    call.length += 1
    return call


def channel(fd: int) -> None:
    """Serve over the channel of this library."""
    from pluginapi._native import _channel
    from pluginapi.ipc.channel import IpcChannel
    from pluginapi.ipc.context_push import pushed_context
    from pluginapi.ipc.serving import WorkerServer, served

    server = WorkerServer(IpcChannel.join(socket.socket(fileno=fd)), lambda _message: None)
    context = pushed_context(())

    def keyed(call: HttpCall) -> HttpCall:
        context.get("tenant")
        context.get("user")
        context.get("locale")
        context.get("plan")
        context.get("trace")
        call.length += 1
        return call

    def slow(call: HttpCall) -> HttpCall:
        until = time.perf_counter_ns() + 200_000
        while time.perf_counter_ns() < until:
            pass
        return call

    # Bytes in, bytes out: the transport and a handler, without msgpack.
    server.add(1, _channel.Served(lambda raw: raw, bytes, bytes, finish=bytes))
    server.add(2, served(bump, input_type=HttpCall))
    server.add(3, served(keyed, input_type=HttpCall, context=context))
    server.add(4, served(lambda view: view, input_type=memoryview))
    server.add(5, served(slow, input_type=HttpCall))
    server.serve()


def streams(path: str, use_uvloop: bool) -> None:
    """Serve length-prefixed structs over asyncio streams."""
    decode = msgspec.msgpack.Decoder(HttpCall).decode
    encode = msgspec.msgpack.Encoder().encode

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                header = await reader.readexactly(12)
                size, _ = struct.unpack("<IQ", header)
                answer = encode(bump(decode(await reader.readexactly(size))))
                writer.write(struct.pack("<I", len(answer)) + header[4:] + answer)
        except asyncio.IncompleteReadError:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_unix_server(serve, path)
        print("ready", flush=True)
        async with server:
            await server.serve_forever()

    if use_uvloop:
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())


def grpc_server(path: str) -> None:
    """Serve bytes over grpcio, as go-plugin for Python does."""
    import grpc

    decode = msgspec.msgpack.Decoder(HttpCall).decode
    encode = msgspec.msgpack.Encoder().encode

    def echo(request: bytes, _context: Any) -> bytes:
        return request

    def typed(request: bytes, _context: Any) -> bytes:
        return encode(bump(decode(request)))

    server = grpc.server(futures.ThreadPoolExecutor(4))
    methods = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Typed": grpc.unary_unary_rpc_method_handler(typed),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Plugin", methods),))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


def grpc_aio_server(path: str) -> None:
    """Serve bytes over grpc.aio."""
    import grpc

    decode = msgspec.msgpack.Decoder(HttpCall).decode
    encode = msgspec.msgpack.Encoder().encode

    async def typed(request: bytes, _context: Any) -> bytes:
        return encode(bump(decode(request)))

    async def main() -> None:
        server = grpc.aio.server()
        methods = {"Typed": grpc.unary_unary_rpc_method_handler(typed)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Plugin", methods),))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        print("ready", flush=True)
        await server.wait_for_termination()

    asyncio.run(main())


def zmq_pair(path: str) -> None:
    """Echo over a ZeroMQ PAIR socket."""
    import zmq

    sock = zmq.Context().socket(zmq.PAIR)
    sock.bind(f"ipc://{path}")
    print("ready", flush=True)
    decode = msgspec.msgpack.Decoder(HttpCall).decode
    encode = msgspec.msgpack.Encoder().encode
    while True:
        sock.send(encode(bump(decode(sock.recv()))))


def main() -> None:
    """Pin this process and serve until the caller is gone."""
    kind, cpu, where = sys.argv[1:]
    if cpu != "any":
        os.sched_setaffinity(0, {int(cpu)})
    if kind == "channel":
        channel(int(where))
    elif kind == "grpc":
        grpc_server(where)
    elif kind == "grpc.aio":
        grpc_aio_server(where)
    elif kind == "zmq":
        zmq_pair(where)
    else:
        streams(where, kind == "uvloop")


if __name__ == "__main__":
    main()
