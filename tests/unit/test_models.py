"""What the models say of themselves."""

from __future__ import annotations

from oneseek_sandbox.models import WriteFileRequest


def test_the_schema_of_a_write_says_that_content_is_needed():
    schema = WriteFileRequest.model_json_schema()
    assert {"path", "content"} <= set(schema["required"])
    assert "default" not in schema["properties"]["content"]
