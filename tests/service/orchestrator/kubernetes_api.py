"""A small API server of Kubernetes: CronJobs and service accounts over HTTP: labels, pages, conflicts, refusals."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from services.local.process import choose_port

_PATH = "/apis/batch/v1/namespaces/{namespace}/cronjobs"
_ACCOUNT = "/api/v1/namespaces/{namespace}/serviceaccounts/{account}"


@dataclass
class FakeKubernetes:
    """Keeps CronJobs in memory. `refuse` maps a verb to the status that it is answered with; 0 = never answered."""

    port: int = field(default_factory=lambda: choose_port(0, 0))
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    refuse: dict[str, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    # Left out of lists, as what another client makes right after.
    hidden: set[str] = field(default_factory=set)
    # Deleted once they were listed, as by somebody at that moment.
    fleeting: set[str] = field(default_factory=set)
    # Service accounts, with their uids.
    accounts: dict[str, str] = field(default_factory=dict)
    page: int = 2
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application(middlewares=[self._gate])
        app.router.add_get(_PATH, self._list)
        app.router.add_post(_PATH, self._create)
        app.router.add_get(_PATH + "/{name}", self._read)
        app.router.add_put(_PATH + "/{name}", self._replace)
        app.router.add_delete(_PATH + "/{name}", self._delete)
        app.router.add_get(_ACCOUNT, self._account)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    def names(self, namespace: str = "team") -> set[str]:
        return {name for there, name in self.objects if there == namespace}

    @web.middleware
    async def _gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        verb = request.method if "name" in request.match_info or request.method == "POST" else "LIST"
        verb = "ACCOUNT" if "account" in request.match_info else verb
        self.calls.append(verb)
        if verb in self.refuse:
            if not self.refuse[verb]:
                await asyncio.Event().wait()
            return _status(self.refuse[verb], "Refused")
        response: web.StreamResponse = await handler(request)
        return response

    async def _list(self, request: web.Request) -> web.Response:
        wanted = dict(part.split("=") for part in request.query.get("labelSelector", "").split(",") if part)
        items = [
            body
            for (namespace, name), body in sorted(self.objects.items())
            if name not in self.hidden
            and namespace == request.match_info["namespace"]
            and wanted.items() <= body["metadata"]["labels"].items()
        ]
        begin = int(request.query.get("continue", "0"))
        end = begin + min(self.page, int(request.query.get("limit", "500")))
        for _, name in [key for key in self.objects if key[1] in self.fleeting]:
            del self.objects[(request.match_info["namespace"], name)]
            self.fleeting.discard(name)
        metadata = {"resourceVersion": "1"} | ({"continue": str(end)} if end < len(items) else {})
        return web.json_response(
            {"apiVersion": "batch/v1", "kind": "CronJobList", "metadata": metadata, "items": items[begin:end]}
        )

    async def _account(self, request: web.Request) -> web.Response:
        name = request.match_info["account"]
        if name not in self.accounts:
            return _status(404, "NotFound")
        metadata = {"name": name, "namespace": request.match_info["namespace"], "uid": self.accounts[name]}
        return web.json_response({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        key = (request.match_info["namespace"], body["metadata"]["name"])
        if key in self.objects:
            return _status(409, "AlreadyExists")
        body["metadata"] |= {"uid": f"uid-{len(self.calls)}", "resourceVersion": "1", "namespace": key[0]}
        self.objects[key] = body | {"status": {}}
        return web.json_response(self.objects[key], status=201)

    async def _read(self, request: web.Request) -> web.Response:
        found = self.objects.get(_key(request))
        return web.json_response(found) if found else _status(404, "NotFound")

    async def _replace(self, request: web.Request) -> web.Response:
        if _key(request) not in self.objects:
            return _status(404, "NotFound")
        before = self.objects[_key(request)]
        self.objects[_key(request)] = await request.json() | {"status": before["status"]}
        return web.json_response(self.objects[_key(request)])

    async def _delete(self, request: web.Request) -> web.Response:
        if self.objects.pop(_key(request), None) is None:
            return _status(404, "NotFound")
        return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success"})


def _key(request: web.Request) -> tuple[str, str]:
    return request.match_info["namespace"], request.match_info["name"]


def _status(code: int, reason: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    return web.json_response(body, status=code, reason=reason)
