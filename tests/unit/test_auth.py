"""Keys and tokens."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import stat

import pytest

from oneseek_sandbox.auth import Caller, Keys, TokenKey
from oneseek_sandbox.errors import ConfigurationError, ForbiddenError, UnauthenticatedError
from oneseek_sandbox.settings import Settings

LONG = "a-key-that-is-long-enough"


def settings(tmp_path, **values):
    return Settings.model_validate({"home": tmp_path, **values})


def keys_file(tmp_path, entries):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(entries))
    return settings(tmp_path, api_keys_file=path)


def test_the_right_key_opens_and_a_wrong_one_does_not(tmp_path):
    keys = Keys.from_settings(settings(tmp_path, api_key=LONG))
    assert keys.caller(f"Bearer {LONG}") == Caller("api-key")
    assert keys.caller(f"bearer  {LONG} ") == Caller("api-key")
    for wrong in (None, "", LONG, f"Basic {LONG}", f"Bearer {LONG}x", "Bearer ", "Bearer ü"):
        with pytest.raises(UnauthenticatedError):
            keys.caller(wrong)


def test_without_keys_everybody_is_the_operator(tmp_path):
    assert Keys.from_settings(settings(tmp_path)).caller(None).scopes is None


def test_a_file_holds_keys_bound_to_scopes_and_hashes(tmp_path):
    hashed = hashlib.sha256(b"the other key, hashed").hexdigest()
    keys = Keys.from_settings(
        keys_file(
            tmp_path,
            [
                {"name": "one", "key": LONG, "scopes": ["acme"]},
                {"name": "two", "sha256": hashed},
            ],
        )
    )
    assert keys.caller(f"Bearer {LONG}") == Caller("one", frozenset({"acme"}))
    assert keys.caller("Bearer the other key, hashed") == Caller("two")


@pytest.mark.parametrize(
    "entries",
    [
        {},
        [],
        ["key"],
        [{"key": LONG}],
        [{"name": "n", "key": "short"}],
        [{"name": "n", "sha256": "beef"}],
        [{"name": "n", "key": LONG, "scopes": []}],
        [{"name": "n", "key": LONG, "scope": "typo"}],
        [{"name": "n", "key": LONG + "\n"}],
        [{"name": "n", "key": "ein Schlüssel, den kein Kopf trägt"}],
        [{"name": "n", "key": LONG}, {"name": "bound", "key": LONG, "scopes": ["acme"]}],
    ],
)
def test_a_file_that_is_wrong_refuses_the_start(tmp_path, entries):
    with pytest.raises(ConfigurationError):
        Keys.from_settings(keys_file(tmp_path, entries))


def test_errors_never_show_a_key(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        Keys.from_settings(settings(tmp_path, api_key="tiny-secret"))
    assert "tiny-secret" not in str(caught.value)
    assert LONG not in repr(settings(tmp_path, api_key=LONG))


def test_a_bound_key_works_in_its_own_scopes_only():
    one = Caller("one", frozenset({"acme"}))
    assert one.scope(None) == "acme"
    assert one.scope("acme") == "acme"
    with pytest.raises(ForbiddenError):
        one.scope("default")
    with pytest.raises(ForbiddenError):
        one.require_operator("it")
    with pytest.raises(ForbiddenError):
        Caller("two", frozenset({"a", "b"})).scope(None)
    assert Caller("root").scope(None) == "default"


def test_tokens_differ_by_sandbox_and_by_key():
    key = TokenKey(b"secret")
    assert key.token_for("a") == TokenKey(b"secret").token_for("a")
    assert len({key.token_for("a"), key.token_for("b"), TokenKey(b"other").token_for("a")}) == 3
    assert "secret" not in key.key_id


def _key_id(home):
    return TokenKey.from_settings(Settings.model_validate({"home": home})).key_id


def test_processes_that_start_together_agree_on_the_kept_key(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(_key_id, [tmp_path / "home"] * 8))) == 1
    kept = tmp_path / "home" / "token.key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [path.name for path in kept.parent.iterdir()] == ["token.key"]


def test_a_kept_key_that_others_can_read_refuses_the_start(tmp_path):
    TokenKey.from_settings(settings(tmp_path))
    (tmp_path / "token.key").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        TokenKey.from_settings(settings(tmp_path))


OLD = {"name": "old", "key": "old-key-of-the-tests"}
NEW = {"name": "new", "key": "new-key-of-the-tests"}


class TestAKeysFileThatChanges:
    @pytest.fixture
    def mounted(self, tmp_path):
        """Write versions of a file the way a mounted Secret gets them: by swapping a symlink."""
        link = tmp_path / "data"

        def mount(version, text):
            folder = tmp_path / version
            folder.mkdir()
            (folder / "keys.json").write_text(text)
            (tmp_path / "new").symlink_to(folder)
            (tmp_path / "new").rename(link)

        mount("1", json.dumps([OLD]))
        self.settings = settings(tmp_path, api_keys_file=link / "keys.json")
        return mount

    def test_added_keys_open_and_removed_ones_do_not(self, mounted):
        keys = Keys.from_settings(self.settings, look_seconds=0)
        mounted("2", json.dumps([OLD, NEW]))
        assert keys.caller("Bearer " + OLD["key"]).name == "old"
        assert keys.caller("Bearer " + NEW["key"]).name == "new"
        mounted("3", json.dumps([NEW]))
        with pytest.raises(UnauthenticatedError):
            keys.caller("Bearer " + OLD["key"])

    @pytest.mark.parametrize("text", ["", "{}", "[]", '[{"name": "x"}]'])
    def test_a_broken_file_changes_nothing_and_is_logged(self, mounted, text, caplog):
        keys = Keys.from_settings(self.settings, look_seconds=0)
        mounted("2", text)
        assert keys.caller("Bearer " + OLD["key"]).name == "old"
        assert "previous keys" in caplog.text
        mounted("3", json.dumps([NEW]))
        assert keys.caller("Bearer " + NEW["key"]).name == "new"

    def test_the_file_is_not_looked_at_for_every_call(self, mounted):
        keys = Keys.from_settings(self.settings, look_seconds=3600)
        mounted("2", json.dumps([NEW]))
        assert keys.caller("Bearer " + OLD["key"]).name == "old"
