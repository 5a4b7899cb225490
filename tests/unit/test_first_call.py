"""A function opens its state with its first call; what is wrong with that is an answer."""

from __future__ import annotations

import errno
import json
import os

import pytest
from starlette.requests import Request

from oneseek_sandbox.auth import TokenKey
from oneseek_sandbox.http.service import Service
from oneseek_sandbox.settings import Settings


def _acquire():
    return Request({"type": "http", "method": "POST", "path": "/", "headers": []})


@pytest.mark.finding(12)
async def test_state_that_cannot_be_read_is_unavailable(tmp_path):
    (tmp_path / "token.key").mkdir(mode=0o700)
    service = Service(Settings(home=tmp_path, state_store="file"), control=True)
    response = await service.answer("acquire", _acquire())
    assert response.status_code == 503
    error = json.loads(response.body)["error"]
    assert (error["code"], error["retryable"]) == ("runtime_unavailable", True)
    assert str(tmp_path) in error["message"]


@pytest.mark.finding(12)
def test_a_token_key_that_does_not_fit_leaves_no_file_behind(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        TokenKey.from_settings(Settings(home=tmp_path))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert TokenKey.from_settings(Settings(home=tmp_path)).key_id
