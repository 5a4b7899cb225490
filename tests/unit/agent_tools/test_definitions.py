"""The schemas that models get are those that calls are checked by."""

from __future__ import annotations

import json
import re

import pytest

from oneseek_sandbox.agent_tools import TOOLS, SandboxTools, function_schemas

TENANT_WORDS = re.compile(r"thread|scope|tenant|sandbox_id|user_id")


def parameters(*, strict=False):
    return {
        schema["function"]["name"]: schema["function"]["parameters"]
        for schema in function_schemas(strict=strict)
    }


def test_there_are_six_tools_and_each_can_be_called():
    tools = SandboxTools(sandbox=None)
    assert list(parameters()) == list(TOOLS) == list(tools._calls)
    assert len(TOOLS) == 6


@pytest.mark.parametrize("name", TOOLS)
def test_a_schema_takes_the_fields_of_the_arguments_and_nothing_else(name):
    schema, fields = parameters()[name], TOOLS[name].arguments.model_fields
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == list(fields)
    assert schema["required"] == [field for field, info in fields.items() if info.is_required()]


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_and_every_field_is_described(name):
    assert len(TOOLS[name].description) > 100
    for field in parameters()[name]["properties"].values():
        assert len(field["description"]) > 20
        assert isinstance(field["type"], str)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", TOOLS)
def test_no_field_names_a_thread_or_a_tenant(name, strict):
    assert not any(TENANT_WORDS.search(f) for f in parameters(strict=strict)[name]["properties"])


@pytest.mark.parametrize("name", TOOLS)
def test_in_strict_schemas_all_is_required_and_null_stands_for_what_is_left_out(name):
    loose, strict = parameters()[name], parameters(strict=True)[name]
    assert strict["required"] == list(loose["properties"])
    for field, schema in strict["properties"].items():
        assert ("null" in schema["type"]) == (field not in loose["required"])
        assert not {"default", "maxLength", "minLength"} & set(schema)


def test_schemas_are_data_of_the_callers_own():
    function_schemas()[0]["function"]["parameters"]["properties"].clear()
    assert json.dumps(function_schemas()[0]).count("description") > 2
