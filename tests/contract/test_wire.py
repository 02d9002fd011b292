"""Bytes that no well-meaning client sends: mutants of good requests for every call, and garbage on the port."""

from __future__ import annotations

import asyncio
import contextlib
import os
from random import Random

import pytest
import pytest_asyncio
from dsm.project.v1 import project_service_pb2, project_service_pb2_grpc
from google.protobuf.descriptor import MethodDescriptor

from tests.contract.calls import Caller, Outcome
from tests.contract.methods import METHODS, short
from tests.contract.samples import sample
from tests.contract.samples.scene import Scene
from tests.harness import World, eventually

pytestmark = pytest.mark.usefixtures("nothing_fails_inside")

MUTANTS = int(os.environ.get("DSM_FUZZ_MUTANTS", "25"))
SEED = os.environ.get("DSM_FUZZ_SEED", "1")
# One field number more than any message of the contract has, in the wire types of a group's start and end.
_START, _END = b"\xfb\x7f", b"\xfc\x7f"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GARBAGE = {
    "zeros": b"\0" * 4096,
    "http-1": b"GET / HTTP/1.1\r\nHost: dsm\r\n\r\n",
    "tls": bytes.fromhex("16030100a5010000a10303") + b"\x55" * 160,
    "half-a-preface": _PREFACE[:10],
    "a-frame-too-long": _PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    "unknown-frames": _PREFACE + bytes.fromhex("000000040000000000") + bytes.fromhex("000001ee000000000778") * 50,
    "headers-that-are-none": _PREFACE + b"\x00\x00\x04\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff",
}


def mutant(good: bytes, rng: Random) -> bytes:
    """Something close to a good message: some of its bytes changed, cut out, doubled or replaced."""
    data = bytearray(good or b"\0")
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        end = min(len(data), place + rng.randint(1, 9))
        match rng.randrange(6):
            case 0 if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                data[place:end] = rng.randbytes(rng.randint(0, 8))
            case 2:
                data[place:place] = data[place:end]
            case 3:
                del data[place:end]
            case 4:
                # Not UTF-8, a surrogate, a null character: where a text is, it is none any more.
                data[place:end] = rng.choice((b"\xff\xfe", b"\xed\xa0\x80", b"\0", b"\xc0\x80"))
            case _:
                # A length or number of any size.
                data[place:place] = b"\xff" * rng.randint(1, 9) + b"\x7f"
    return bytes(data)


def nested(depth: int) -> bytes:
    """An unknown group in a group, and so on."""
    return _START * depth + _END * depth


@pytest.mark.parametrize("method", METHODS, ids=short)
async def test_mutants_of_good_requests(scene: Scene, caller: Caller, method: MethodDescriptor) -> None:
    good = await sample(scene, method)
    rng = Random(f"{SEED} {method.full_name}")
    bodies = [mutant(good[0].SerializeToString(), rng) for _ in range(MUTANTS)]
    bodies += [nested(90), nested(20_000), good[0].SerializeToString() + b"\x80" * 20]
    wrong = []
    for body in bodies:
        try:
            # Whatever it comes to is an answer or a well-formed refusal; the caller fails otherwise.
            outcome = await caller.call(method, body, *good[1:])
        except AssertionError as error:
            wrong.append(f"{body.hex()[:2000]}: {error}")
        else:
            wrong += [f"{body.hex()[:2000]}: {outcome}"] if _tells_too_much(outcome) else []
    assert not wrong, "\n".join(wrong)


def _tells_too_much(outcome: Outcome) -> bool:
    """Words of the driver, the database or Python."""
    words = ("psycopg", "Traceback", "relation ", "SELECT ", "INSERT ", "violates", "google.protobuf")
    return any(word in outcome.details + str(outcome.metadata) for word in words)


@pytest_asyncio.fixture(scope="module")
async def port(world: World) -> tuple[str, int]:
    """Where the project service listens."""
    await world.start("project")
    host, _, number = world.address("project").rpartition(":")
    return host, int(number)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_on_the_port_harms_nobody(world: World, port: tuple[str, int], garbage: bytes) -> None:
    connections = await asyncio.gather(*(asyncio.open_connection(*port) for _ in range(20)))
    for _, writer in connections:
        writer.write(garbage)
    await asyncio.gather(*(_flushed(writer) for _, writer in connections))
    stub = project_service_pb2_grpc.ProjectServiceStub(await world.channel("project"))
    await stub.ListProjects(project_service_pb2.ListProjectsRequest(page_size=1), timeout=5)
    for _, writer in connections:
        writer.close()


async def test_random_bytes_end_in_a_closed_connection(port: tuple[str, int]) -> None:
    rng = Random(SEED)
    for _ in range(20):
        reader, writer = await asyncio.open_connection(*port)
        writer.write(rng.randbytes(2000))
        await _flushed(writer)

        async def closed(reader: asyncio.StreamReader = reader) -> bool:
            try:
                return await reader.read(4096) == b""
            except ConnectionError:
                return True

        await eventually(closed)
        writer.close()


async def _flushed(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await writer.drain()
