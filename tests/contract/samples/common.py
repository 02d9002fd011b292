"""Good requests of the services that every process has, and of the embedding service."""

from __future__ import annotations

from dsm.common.v1 import admin_service_pb2, status_service_pb2
from dsm.embedding.v1 import embedding_service_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from tests.contract.samples.scene import Scene

# Events committed after this are published again: none.
_FAR = Timestamp(seconds=4_000_000_000)


class StatusService:
    """Its one call."""

    async def GetStatus(self, scene: Scene) -> status_service_pb2.GetStatusRequest:
        return status_service_pb2.GetStatusRequest()


class AdminService:
    """One request for each call, named as the call."""

    async def ListDeadLetters(self, scene: Scene) -> admin_service_pb2.ListDeadLettersRequest:
        return admin_service_pb2.ListDeadLettersRequest(service="backlog")

    async def ReplayDeadLetters(self, scene: Scene) -> admin_service_pb2.ReplayDeadLettersRequest:
        return admin_service_pb2.ReplayDeadLettersRequest(service="backlog")

    async def ReplayOutbox(self, scene: Scene) -> admin_service_pb2.ReplayOutboxRequest:
        return admin_service_pb2.ReplayOutboxRequest(service="backlog", since_time=_FAR)

    async def Recover(self, scene: Scene) -> admin_service_pb2.RecoverRequest:
        return admin_service_pb2.RecoverRequest(service="backlog")

    async def Reconcile(self, scene: Scene) -> admin_service_pb2.ReconcileRequest:
        return admin_service_pb2.ReconcileRequest(project_id=scene.project_id)


class EmbeddingService:
    """One request for each call, named as the call."""

    async def Embed(self, scene: Scene) -> embedding_service_pb2.EmbedRequest:
        return embedding_service_pb2.EmbedRequest(text="The login page does not load")

    async def EmbedBatch(self, scene: Scene) -> embedding_service_pb2.EmbedBatchRequest:
        return embedding_service_pb2.EmbedBatchRequest(texts=["Login", "Logout"])

    async def GetMetrics(self, scene: Scene) -> embedding_service_pb2.GetMetricsRequest:
        return embedding_service_pb2.GetMetricsRequest()
