"""A notes service in Starlette whose requests and responses pass through plugins.

uvicorn app:app --app-dir examples/hosts/starlette_app
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pluginapi import PluginHost
from pluginapi.asgi import PluginMiddleware, lifespan

MAX_NOTES: Final = 10_000
CONFIG: Final = Path(os.environ.get("NOTES_CONFIG", Path(__file__).with_name("pluginapi.toml")))


class NewNote(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends to make a note."""

    title: str
    text: str = ""


@dataclass(frozen=True)
class Note:
    """One note as it is kept."""

    id: int
    title: str
    text: str


class Notes:
    """Keep notes in memory."""

    def __init__(self) -> None:
        self._notes: dict[int, Note] = {}
        self._numbers = count(1)

    async def list(self, request: Request) -> Response:
        """Answer with all notes, or with those whose title contains ``?q=``."""
        wanted = request.query_params.get("q", "").lower()
        return JSONResponse(
            [asdict(note) for note in self._notes.values() if wanted in note.title.lower()]
        )

    async def create(self, request: Request) -> Response:
        """Make a note."""
        try:
            new = msgspec.json.decode(await request.body(), type=NewNote)
        except msgspec.DecodeError as err:
            return JSONResponse({"error": str(err)}, status_code=400)
        if len(self._notes) >= MAX_NOTES:
            return JSONResponse({"error": "there is no room for another note"}, status_code=507)
        note = Note(next(self._numbers), new.title, new.text)
        self._notes[note.id] = note
        return JSONResponse(
            asdict(note), status_code=201, headers={"location": f"/notes/{note.id}"}
        )

    async def read(self, request: Request) -> Response:
        """Answer with one note."""
        note = self._notes.get(request.path_params["id"])
        if note is None:
            return JSONResponse({"error": "there is no such note"}, status_code=404)
        return JSONResponse(asdict(note))

    async def delete(self, request: Request) -> Response:
        """Remove one note."""
        if self._notes.pop(request.path_params["id"], None) is None:
            return JSONResponse({"error": "there is no such note"}, status_code=404)
        return Response(status_code=204)


async def health(request: Request) -> Response:  # noqa: ARG001 - the signature of an endpoint
    """Answer what a load balancer asks: is the host up, and with how many plugins."""
    return JSONResponse(
        {
            "status": "ok",
            "plugins_loaded": host.registry.plugin_count(),
            "plugins_total": host.registry.total_plugin_count(),
        }
    )


async def plugins(request: Request) -> Response:  # noqa: ARG001 - the signature of an endpoint
    """Answer with the names of the plugins that run."""
    return JSONResponse([plugin.name for plugin in host.registry.list_loaded_plugins()])


host = PluginHost.from_config(CONFIG)
notes = Notes()
app = Starlette(
    routes=[
        Route("/notes", notes.list, methods=["GET"]),
        Route("/notes", notes.create, methods=["POST"]),
        Route("/notes/{id:int}", notes.read, methods=["GET"]),
        Route("/notes/{id:int}", notes.delete, methods=["DELETE"]),
        Route("/health", health),
        Route("/plugins", plugins),
    ],
    middleware=[Middleware(PluginMiddleware, host=host, max_body_bytes=64 * 1024)],
    lifespan=lifespan(host),
)
