import grpc
import pytest
from google.rpc import error_details_pb2 as details_pb2
from onnxplain.graph_rewrites import (
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OnnxplainError,
    ResourceExhausted,
    Unavailable,
    Violation,
)
from onnxplain.server.errors import RETRY_AFTER_MS, bug_status, to_status

VIOLATION = [Violation("target", "5 is not a class")]


def unpacked(status):
    """Details by message name; each kind may be there once."""
    kinds = (
        details_pb2.ErrorInfo,
        details_pb2.BadRequest,
        details_pb2.PreconditionFailure,
        details_pb2.ResourceInfo,
        details_pb2.RetryInfo,
        details_pb2.RequestInfo,
    )
    found = {}
    for packed in status.details:
        detail = next(kind() for kind in kinds if packed.Is(kind.DESCRIPTOR))
        packed.Unpack(detail)
        assert found.setdefault(type(detail).__name__, detail) is detail
    return found


@pytest.mark.parametrize(
    ("error", "code", "kinds"),
    [
        (InvalidArgument("R", "m", violations=VIOLATION), "INVALID_ARGUMENT", {"BadRequest"}),
        (FailedPrecondition("R", "m"), "FAILED_PRECONDITION", {"PreconditionFailure"}),
        (NotFound("R", "m"), "NOT_FOUND", {"ResourceInfo"}),
        (ResourceExhausted("R", "m"), "RESOURCE_EXHAUSTED", set()),
        (Unavailable("R", "m", metadata={RETRY_AFTER_MS: "500"}), "UNAVAILABLE", {"RetryInfo"}),
        (Cancelled("R", "m"), "CANCELLED", set()),
        (OnnxplainError("R", "m"), "INTERNAL", set()),
    ],
)
def test_every_kind_of_error_has_its_code_and_details(error, code, kinds):
    found, status = to_status(error)
    assert found is grpc.StatusCode[code]
    assert (status.code, status.message) == (found.value[0], "m")
    details = unpacked(status)
    assert set(details) == {"ErrorInfo", *kinds}
    assert (details["ErrorInfo"].reason, details["ErrorInfo"].domain) == ("R", "onnxplain")


def test_details_say_what_the_error_says():
    _, status = to_status(InvalidArgument("R", "m", violations=VIOLATION, metadata={"n": "5"}))
    details = unpacked(status)
    (violation,) = details["BadRequest"].field_violations
    assert (violation.field, violation.description) == ("target", "5 is not a class")
    assert details["ErrorInfo"].metadata == {"n": "5"}

    names = {"resource_type": "model", "resource_name": "cat"}
    info = unpacked(to_status(NotFound("R", "m", metadata=names))[1])["ResourceInfo"]
    assert (info.resource_type, info.resource_name) == ("model", "cat")

    _, status = to_status(ResourceExhausted("R", "m", metadata={RETRY_AFTER_MS: "1500"}))
    assert unpacked(status)["RetryInfo"].retry_delay.ToMilliseconds() == 1500


def test_a_status_fits_into_trailers_whatever_the_error_holds():
    many = [Violation("node" * 100, "x" * 10_000)] * 1000
    error = FailedPrecondition("R", "x" * 100_000, violations=many, metadata={"k": "y" * 10_000})
    code, status = to_status(error)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert status.ByteSize() < 5000
    assert unpacked(status)["PreconditionFailure"].violations


def test_a_bug_tells_nothing_but_its_request_id():
    code, status = bug_status("abc-1")
    assert code is grpc.StatusCode.INTERNAL
    assert unpacked(status)["RequestInfo"].request_id == "abc-1"
    assert "abc-1" in status.message
