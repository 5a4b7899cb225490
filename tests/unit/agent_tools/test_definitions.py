"""The schemas that models get are those that calls are checked by."""

from __future__ import annotations

import json
import re

import pytest

from oneseek_sandbox.agent_tools import (
    READ_ONLY_TOOLS,
    TOOLS,
    SandboxTools,
    choose_tools,
    function_schemas,
)
from oneseek_sandbox.errors import InvalidRequestError

TENANT_WORDS = re.compile(r"thread|scope|tenant|sandbox_id|user_id")


def parameters(*, strict=False):
    return {
        schema["function"]["name"]: schema["function"]["parameters"]
        for schema in function_schemas(strict=strict, yielding=True)
    }


def test_there_are_six_tools_and_one_to_go_on_where_commands_yield():
    names = [schema["function"]["name"] for schema in function_schemas()]
    assert names == [name for name in TOOLS if name != "sandbox_wait"]
    assert list(parameters()) == list(TOOLS)
    assert len(TOOLS) == 7


@pytest.mark.parametrize("yield_seconds", [None, 0, 45])
async def test_each_tool_that_is_offered_can_be_called(yield_seconds):
    tools = SandboxTools(sandbox=None, yield_seconds=yield_seconds)
    for name in TOOLS:
        # Its arguments are wrong, which is told before anything is done.
        told = await tools.call(name, {"no": "such"})
        offered = yield_seconds or name != "sandbox_wait"
        assert told.startswith("Error (invalid_arg" if offered else "Error (unknown_tool)")


def test_only_where_commands_yield_the_model_is_told_so():
    assert "sandbox_wait" not in str(function_schemas())
    told = choose_tools(None, yielding=True)["sandbox_execute"]
    assert "sandbox_wait" in told.description
    assert [schema["additionalProperties"] for schema in told.output_schema()["anyOf"]] == [
        False,
        False,
    ]
    # Who leaves it out has commands that do not yield.
    alone = choose_tools(["sandbox_execute"], yielding=True)
    assert alone == choose_tools(["sandbox_execute"])


@pytest.mark.parametrize("yielding", [False, True])
def test_waiting_changes_things(yielding):
    assert choose_tools(READ_ONLY_TOOLS, yielding=yielding).keys() == set(READ_ONLY_TOOLS)
    assert "sandbox_wait" not in READ_ONLY_TOOLS


@pytest.mark.parametrize(
    ("names", "yielding", "told"),
    [
        (["sandbox_wait"], True, "name sandbox_execute too"),
        (["sandbox_wait", "sandbox_ls"], True, "name sandbox_execute too"),
        (["sandbox_wait", "sandbox_execute"], False, "set yield_seconds"),
    ],
)
def test_waiting_for_nothing_is_refused(names, yielding, told):
    with pytest.raises(InvalidRequestError, match=told):
        choose_tools(names, yielding=yielding)


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
