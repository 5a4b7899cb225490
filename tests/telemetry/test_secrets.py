"""Whatever passes through, no span and no figure holds it: commands, environments, contents, keys."""

from __future__ import annotations

import secrets

import pytest
from tests.telemetry.collector import until
from tests.telemetry.conftest import KEY

from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.telemetry import add_recorder, remove_recorder


class Everything:
    def __init__(self):
        self.heard = []

    def on_start(self, span):
        self.heard.append(repr(span))

    def on_end(self, span):
        self.heard.append(repr(span))


@pytest.fixture
def recorder():
    recorder = Everything()
    add_recorder(recorder)
    yield recorder
    remove_recorder(recorder)


async def _pass_everything(remote, secret, name):
    path = f"/workspace/{secret}"
    await remote.execute(
        f"cat; echo {secret}; echo {secret} >&2; exit 1",
        env={"TOKEN": secret, secret: "value"},
        stdin=secret,
        request_id=secret,
        **name,
    )
    assert [event async for event in remote.stream(["echo", secret], **name)]
    await remote.write_file(path, secret, **name)
    await remote.upload(path, secret.encode(), **name)
    await remote.read_file(path, **name)
    async with remote.download(path, **name) as file:
        assert [chunk async for chunk in file.chunks] == [secret.encode()]
    await remote.replace(path, secret, secret + secret, **name)
    await remote.ls("/workspace", **name)
    talk = {"env": {"TOKEN": secret}, "stdin_open": True, "request_id": f"{secret}p"}
    await remote.start(f"cat; echo {secret}", **talk, **name)
    await remote.input(f"{secret}p", secret, offset=0, close=True, **name)
    assert [event async for event in remote.attach(f"{secret}p", **name)]
    await remote.processes(**name)
    for fails in (
        remote.execute("true", cwd=path + "/none", **name),
        remote.read_file(path + "none", **name),
        remote.replace(path, "not there " + secret + "!", "x", **name),
        remote.cancel(secret + "none", **name),
        remote.acquire("secrets", env={secret: secret + "\0"}),
    ):
        with pytest.raises(SandboxError):
            await fails


async def test_no_span_and_no_figure_holds_what_passed_through(
    remote, collector, exporter, spans, recorder
):
    secret = "s3cr" + secrets.token_hex(12)
    name = {"thread_id": "secrets"}
    given = {"TOKEN": secret, secret: "value"}
    await remote.acquire("secrets", env=given, labels={"of": secret})
    await remote.acquire("secrets", env=given | {"NEXT": secret})
    await _pass_everything(remote, secret, name)
    await remote.release(**name)
    last = spans()[-1].trace_id
    theirs = until(lambda: [s for s in collector.spans() if s.trace_id == last], "the last span")
    assert {s.name for s in collector.spans()} >= {"function.execute", "worker.execute"}
    until(collector.metrics, "figures")
    exported = [body for _, body in collector.received]
    exported += [span.to_json().encode() for span in exporter.get_finished_spans()]
    exported += [text.encode() for text in recorder.heard]
    assert len(recorder.heard) > 20
    assert theirs
    for planted in (secret, secret.upper(), KEY):
        assert not [body for body in exported if planted.encode() in body]
