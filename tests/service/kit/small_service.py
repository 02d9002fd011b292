"""A small service of the tests' own."""

import asyncio
from typing import Any
from uuid import uuid4

import grpc
import psycopg
from dsm.events.v1 import project_events_pb2
from dsm.project.v1 import project_service_pb2 as pb
from dsm.project.v1 import project_service_pb2_grpc
from dsm.project.v1.project_pb2 import Project
from psycopg.rows import scalar_row

from services.kit.data import tables
from services.kit.data.database import Database
from services.kit.errors import AlreadyExists, NotFound
from services.kit.server import Server
from services.kit.service import Service
from services.kit.settings import ProcessSettings, ServiceSettings
from services.local.stack import Stack

SCHEMA = (
    tables.CONSUMING
    + tables.OUTBOX_SEQUENCE
    + tables.SAGA
    + "CREATE TABLE thing (id text CONSTRAINT thing_pkey PRIMARY KEY, version bigint NOT NULL DEFAULT 1);"
)
INSERT = "INSERT INTO thing (id) VALUES (%(id)s)"


class Gone(NotFound):
    """A test's own error."""

    reason = "PROJECT_NOT_FOUND"


class Taken(AlreadyExists):
    """A test's own error."""

    reason = "PROJECT_ALREADY_EXISTS"


class Handlers(project_service_pb2_grpc.ProjectServiceServicer):
    """Two calls: one reads, one writes and emits."""

    def __init__(self, database: Database) -> None:
        self.db = database
        self.runs = 0

    async def GetProject(self, request: pb.GetProjectRequest, context: Any) -> pb.GetProjectResponse:
        match request.project_id:
            case "SLOW":
                await asyncio.sleep(30)
            case "BROKEN":
                raise RuntimeError("secret detail of the driver")
        if not await self.db.read.value("SELECT id FROM thing WHERE id = %(id)s", {"id": request.project_id}):
            raise Gone(f"Project {request.project_id} does not exist.", project_id=request.project_id)
        response = pb.GetProjectResponse()
        response.project.project_id = request.project_id
        return response

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Any) -> pb.CreateProjectResponse:
        self.runs += 1
        project_id = request.project.project_id
        async with self.db.write() as tx:
            try:
                await tx.execute(INSERT, {"id": project_id})
            except psycopg.errors.UniqueViolation:
                raise Taken(f"Project {project_id} exists.", project_id=project_id) from None
            tx.emit(payload_of(project_id), aggregate=("project", project_id), version=1, project_id=project_id)
            response = pb.CreateProjectResponse()
            response.project.project_id = project_id
            response.project.etag = str(uuid4())
            return tx.reply(response)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, context: Any) -> pb.UpdateProjectResponse:
        project_id = request.project.project_id
        response = pb.UpdateProjectResponse()
        response.project.etag = str(uuid4())
        event = self.db.event(payload_of(project_id), aggregate=("project", project_id), version=2)
        await self.db.change(
            "UPDATE thing SET version = version + 1 WHERE id = %(id)s RETURNING version",
            {"id": project_id},
            row=scalar_row,
            events=[event],
            reply=response,
        )
        return response


def payload_of(project_id: str) -> project_events_pb2.ProjectCreated:
    payload = project_events_pb2.ProjectCreated()
    payload.project.project_id = project_id
    return payload


def creation(project_id: str, name: str = "Name", request_id: str = "") -> pb.CreateProjectRequest:
    return pb.CreateProjectRequest(project=Project(project_id=project_id, name=name), request_id=request_id)


async def make_database(stack: Stack, name: str) -> Database:
    stack.postgres.ensure_database(name)
    url = stack.postgres.url(name)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.execute(SCHEMA)
    database = Database("project", url, pool_size=8, pool_timeout=2)
    await database.open()
    return database


class Running:
    """The test's service on a socket."""

    def __init__(self, server: Server, handlers: Handlers) -> None:
        self.server = server
        self.handlers = handlers
        self.address = f"127.0.0.1:{server.port}"
        self.channel = grpc.aio.insecure_channel(self.address)
        self.stub = project_service_pb2_grpc.ProjectServiceStub(self.channel)


async def serve(database: Database, **settings: Any) -> Running:
    service = Service("project", ServiceSettings(default_deadline_seconds=1))
    handlers = Handlers(database)  # type: ignore[abstract]
    descriptor = pb.DESCRIPTOR.services_by_name["ProjectService"]
    service.serve(descriptor, project_service_pb2_grpc.add_ProjectServiceServicer_to_server, handlers)
    type(service).database = property(lambda _: database)  # type: ignore[method-assign,assignment]
    server = Server([service], ProcessSettings(port=0, metrics_port=-1, grace_seconds=2, **settings))
    server.bind()
    await server.start()
    return Running(server, handlers)
