"""Hot writes as one statement each: the change, and if it changed anything, its events and answers. Text, no I/O.

Everything selects from the `change` of a WITH, since what belongs to a change that did not take place must not be kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsm.events.v1 import event_pb2
from google.protobuf.message import Message
from psycopg.types.json import Jsonb

from services.kit.call import RequestKey
from services.kit.envelope import subject_of

# Arrays of texts and bytes go in binary (b): as text each element is searched for what must be quoted.
INSERT_EVENTS = """
    INSERT INTO outbox (event_id, subject, aggregate_id, aggregate_version, project_id, payload)
    SELECT * FROM unnest(%(event_ids)s::uuid[], %(subjects)b::text[], %(aggregate_ids)b::text[],
                         %(versions)s::bigint[], %(project_ids)b::text[], %(payloads)b::bytea[])
"""
_INSERT_EVENTS_OF_CHANGES = """
    INSERT INTO outbox (event_id, subject, aggregate_id, aggregate_version, project_id, payload)
    SELECT event_id, subject, aggregate_id, version, project_id, payload
    FROM unnest(%(keys)b::text[], %(event_ids)s::uuid[], %(subjects)b::text[], %(aggregate_ids)b::text[],
                %(versions)s::bigint[], %(project_ids)b::text[], %(payloads)b::bytea[])
         AS event(key, event_id, subject, aggregate_id, version, project_id, payload)
    WHERE key IN (SELECT key FROM change)
"""
_ANSWER = """
    INSERT INTO request_record (request_id, method, fingerprint, response)
    SELECT %(request_id)s, %(method)s, %(fingerprint)s, %(response)s WHERE EXISTS (SELECT FROM change)
"""
_ANSWER_CHANGES = """
    INSERT INTO request_record (request_id, method, fingerprint, response)
    SELECT request_id, method, fingerprint, response
    FROM unnest(%(answer_keys)b::text[], %(request_ids)s::uuid[], %(methods)b::text[], %(fingerprints)b::bytea[],
                %(responses)b::bytea[]) AS answer(key, request_id, method, fingerprint, response)
    WHERE key IN (SELECT key FROM change)
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One of many hot writes: the record that the SQL reads, and what is stored if that changed anything."""

    key: str
    record: dict[str, Any]
    event: event_pb2.Event
    reply: Message
    request_key: RequestKey | None


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and what its %(named)s parameters stand for."""

    sql: str
    params: Mapping[str, Any]


def changing(
    sql: str,
    params: Mapping[str, Any],
    *,
    also: Mapping[str, str] | None,
    events: Sequence[event_pb2.Event],
    key: RequestKey | None,
    reply: Message | None,
) -> Statement:
    """One change, with its events and its answer to a request_id; `also` names further statements of the WITH."""
    parts, bound = {"change": sql, **(also or {})}, dict(params)
    if events:
        parts["posted"] = f"{INSERT_EVENTS} WHERE EXISTS (SELECT FROM change)"
        bound |= event_params(events)
    if key:
        if reply is None:
            raise RuntimeError(f"{key.method} changed without a reply: its request_id protects nothing.")
        parts["answered"] = _ANSWER
        bound |= {**key_params(key), "response": reply.SerializeToString()}
    return Statement(f"{_with(parts)} SELECT * FROM change", bound)


def changing_all(sql: str, changes: Sequence[Change], *, also: Mapping[str, str] | None) -> Statement:
    """Many changes: `sql` reads jsonb_to_recordset(%(records)s) and returns the key of each that it made."""
    parts = {"change": sql, **(also or {}), "posted": _INSERT_EVENTS_OF_CHANGES}
    bound = {
        **event_params([change.event for change in changes]),
        "records": Jsonb([change.record for change in changes]),
        "keys": [change.key for change in changes],
    }
    if answered := [(change, change.request_key) for change in changes if change.request_key]:
        parts["answered"] = _ANSWER_CHANGES
        bound |= {
            "answer_keys": [change.key for change, _ in answered],
            "request_ids": [key.request_id for _, key in answered],
            "methods": [key.method for _, key in answered],
            "fingerprints": [key.fingerprint for _, key in answered],
            "responses": [change.reply.SerializeToString() for change, _ in answered],
        }
    return Statement(f"{_with(parts)} SELECT key FROM change", bound)


def event_params(events: Sequence[event_pb2.Event]) -> dict[str, Any]:
    """The parameters of the outbox's insert."""
    return {
        "event_ids": [event.event_id for event in events],
        "subjects": [subject_of(event) for event in events],
        "aggregate_ids": [event.aggregate_id for event in events],
        "versions": [event.aggregate_version for event in events],
        "project_ids": [event.project_id for event in events],
        "payloads": [event.SerializeToString() for event in events],
    }


def key_params(key: RequestKey) -> dict[str, Any]:
    """The parameters of what is kept of a request_id."""
    return {"request_id": key.request_id, "method": key.method, "fingerprint": key.fingerprint}


def _with(parts: Mapping[str, str]) -> str:
    return "WITH " + ", ".join(f"{name} AS ({sql})" for name, sql in parts.items())
