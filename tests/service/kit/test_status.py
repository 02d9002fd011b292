"""Status and health, on real servers."""

from dsm.common.v1 import status_service_pb2, status_service_pb2_grpc

from tests.harness import refused
from tests.service.kit.small_service import Running


async def test_status_names_the_services_of_the_process(running: Running) -> None:
    stub = status_service_pb2_grpc.StatusServiceStub(running.channel)
    answer = await stub.GetStatus(status_service_pb2.GetStatusRequest())
    assert [service.service for service in answer.services] == ["project"]
    failed = await refused(stub.GetStatus(status_service_pb2.GetStatusRequest(service="nope")))
    assert failed.reason == "SERVICE_NOT_FOUND"
