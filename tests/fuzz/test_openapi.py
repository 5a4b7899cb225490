"""Calls drawn from `/openapi.json`, right ones and wrong ones, to a real server: answers as it says."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.fuzz.budget import tries

from oneseek_sandbox.http.verbs import VERBS

pytestmark = pytest.mark.faults

KEY = "key-of-the-calls-that-are-drawn"
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance,
]  # fmt: skip
SETTINGS = {"PROVISIONER_MAX_SANDBOXES": "4", "PROVISIONER_MAX_TIMEOUT_SECONDS": "2"}
THREAD = {"thread_id": "known"}


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(key=KEY, settings=SETTINGS)


@pytest.fixture(scope="module")
def described(server):
    return schemathesis.openapi.from_url(server.url + "/openapi.json")


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
def test_every_call_is_answered_as_described(server, described, verb, mode):
    operation = described[f"/v1/sandbox/{verb}"]["POST"]

    @tries(6)
    @given(data=st.data())
    def attempt(data):
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if isinstance(case.body, dict) and data.draw(st.booleans()):
            # Of a thread that is there, so that more than its absence is answered.
            for other in ("sandbox_id", "scope"):
                case.body.pop(other, None)
            case.body |= THREAD
            client.post("/v1/sandbox/acquire", json=THREAD)
        response = case.call(headers=client.headers)
        case.validate_response(response, checks=CHECKS)

    with server.client() as client:
        attempt()


@pytest.mark.parametrize("path", ["/v1/sandbox", "/healthz", "/readyz"])
def test_what_is_only_asked_for_is_answered_as_described(server, described, path):
    case = described[path]["GET"].Case()
    response = case.call(headers={"authorization": f"Bearer {KEY}"})
    case.validate_response(response, checks=CHECKS)
    assert response.status_code == 200
