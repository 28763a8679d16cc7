"""JSON Patch (RFC 6902) on PALs, bodies that cannot be read, and the older names."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from gateway.documents import operations_from_legacy
from tests.api.test_specification import created, document, refused

LAYERS = {"llm": {"model": "x", "speculative": True}, "stt": {"hotwords": ["a", "b"]}}

PATCHES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "nothing": ([], {}),
    "add": ([{"op": "add", "path": "/context", "value": "c"}], {"context": "c"}),
    "replace": ([{"op": "replace", "path": "/pal_name", "value": "Bea"}], {"pal_name": "Bea"}),
    "add-to-the-end-of-a-list": (
        [{"op": "add", "path": "/layers/stt/hotwords/-", "value": "c"}],
        {"layers": {**LAYERS, "stt": {"hotwords": ["a", "b", "c"]}}},
    ),
    "remove": ([{"op": "remove", "path": "/layers/llm"}], {"layers": {"stt": LAYERS["stt"]}}),
    "move": (
        [{"op": "move", "from": "/layers/llm/model", "path": "/layers/tts/model"}],
        {"layers": {"llm": {"speculative": True}, "stt": LAYERS["stt"], "tts": {"model": "x"}}},
    ),
    "copy": ([{"op": "copy", "from": "/system_prompt", "path": "/context"}], {"context": "You are Ada."}),
    "test": (
        [{"op": "test", "path": "/pal_name", "value": "Ada"}, {"op": "add", "path": "/context", "value": "c"}],
        {"context": "c"},
    ),
    "the-whole": (
        [{"op": "replace", "path": "", "value": {**document(), "layers": LAYERS, "pal_name": "Eve"}}],
        {"pal_name": "Eve"},
    ),
    "a-hundred": (
        [{"op": "add", "path": "/context", "value": str(number)} for number in range(100)],
        {"context": "99"},
    ),
}


@pytest.mark.parametrize(("operations", "change"), PATCHES.values(), ids=PATCHES)
def test_patches(api: httpx.Client, operations: list[dict[str, Any]], change: dict[str, Any]) -> None:
    pal_id = created(api, document(layers=LAYERS))["pal_id"]
    before = api.get(f"/v2/pals/{pal_id}").json()
    answer = api.patch(f"/v2/pals/{pal_id}", json=operations)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {**before, **change} == api.get(f"/v2/pals/{pal_id}").json()


def deep(depth: int) -> dict[str, Any]:
    """Objects inside of objects."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


DOUBLED = [{"op": "copy", "from": "/layers", "path": f"/layers/llm/x{number}"} for number in range(6)]
BURIED = [{"op": "add", "path": "/layers/llm/x" + "/a" * 60 * number, "value": deep(60)} for number in range(30)]

REFUSED: dict[str, tuple[Any, str]] = {
    "no-list": ({"op": "add"}, "list of JSON Patch operations"),
    "no-operations": (["add"], "list of JSON Patch operations"),
    "null": (None, "list of JSON Patch operations"),
    "unknown-operation": ([{"op": "burn", "path": "/context"}], "cannot be applied"),
    "no-path": ([{"op": "add", "value": 1}], "cannot be applied"),
    "no-value": ([{"op": "add", "path": "/context"}], "cannot be applied"),
    "no-from": ([{"op": "move", "path": "/context"}], "cannot be applied"),
    "a-path-that-is-none": ([{"op": "add", "path": 5, "value": 1}], "cannot be applied"),
    "an-operation-that-is-none": ([{"op": ["add"], "path": "/context", "value": 1}], "cannot be applied"),
    "nothing-there": ([{"op": "remove", "path": "/context"}], "cannot be applied"),
    "into-a-string": ([{"op": "add", "path": "/pal_name/x", "value": 1}], "cannot be applied"),
    "beyond-a-list": ([{"op": "add", "path": "/layers/stt/hotwords/9", "value": 1}], "cannot be applied"),
    "into-itself": ([{"op": "move", "from": "/layers", "path": "/layers/llm/x"}], "cannot be applied"),
    "a-failed-test": ([{"op": "test", "path": "/pal_name", "value": "Eve"}], "cannot be applied"),
    "the-whole-removed": ([{"op": "remove", "path": ""}], ""),
    "the-whole-a-list": ([{"op": "replace", "path": "", "value": []}], "no JSON object"),
    "unknown-field": ([{"op": "add", "path": "/pal", "value": "p1"}], "no such field"),
    "fixed-field": ([{"op": "add", "path": "/pal_id", "value": "p1"}], "It cannot be changed."),
    "a-layer-that-is-not-there": ([{"op": "remove", "path": "/layers/perception"}], "there is nothing at its path"),
    "the-operation-is-named": (
        [{"op": "test", "path": "/pal_name", "value": "Ada"}, {"op": "test", "path": "/pal_name", "value": "x"}],
        "The operation 2 (counted from 0) cannot be applied: what it tests is not so.",
    ),
    "no-face": ([{"op": "remove", "path": "/default_face_id"}], "default_face_id is required"),
    "layers-a-list": ([{"op": "replace", "path": "/layers", "value": []}], "layers"),
    "many": ([{"op": "add", "path": "/context", "value": "x"}] * 101, "at most 100 operations"),
    "many-copies": (DOUBLED, "5 of them copy"),
    "a-large-result": (
        [{"op": "add", "path": "/layers/llm/x", "value": "x" * 100_000}, *DOUBLED[:2]], "at most 256 kB",
    ),
    "a-deep-value": ([{"op": "add", "path": "/layers/llm/x", "value": deep(80)}], "64 deep"),
    "a-deep-result": (BURIED, "64 deep"),
    "a-deep-result-copied": ([*BURIED, {"op": "copy", "from": "/layers/llm", "path": "/layers/tts/x"}], ""),
}  # fmt: skip


@pytest.mark.parametrize(("operations", "says"), REFUSED.values(), ids=REFUSED)
def test_a_patch_that_is_refused_changes_nothing(api: httpx.Client, operations: Any, says: str) -> None:
    pal_id = created(api, document(layers=LAYERS))["pal_id"]
    before = api.get(f"/v2/pals/{pal_id}").json()
    if isinstance(operations, list) and operations not in ([], ["add"]):
        good = {"op": "replace", "path": "/pal_name", "value": "Ada"}
        operations = [good, *operations] if len(operations) < 99 else operations
    answer = api.patch(f"/v2/pals/{pal_id}", content=json.dumps(operations))
    refused(answer)
    assert says in answer.json()["message"]
    assert api.get(f"/v2/pals/{pal_id}").json() == before


BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "not JSON"),
    "cut-off": (b'{"pal_name": ', 400, "not JSON"),
    "trailing-comma": (b'{"pal_name": "x",}', 400, "not JSON"),
    "not-utf-8": (b'{"pal_name": "\xff"}', 400, "not JSON"),
    "half-a-surrogate-pair": (rb'{"pal_name": "\ud800"}', 400, "cannot be written"),
    "half-a-surrogate-pair-as-a-name": (rb'{"\ud800": 1}', 400, "cannot be written"),
    "not-a-number": (b'{"layers": {"llm": {"x": NaN}}}', 400, "NaN"),
    "beyond-all-bounds": (b'{"layers": {"llm": {"x": 1e999}}}', 400, "cannot be written"),
    "many-digits": (b'{"layers": {"llm": {"x": ' + b"9" * 5000 + b"}}}", 400, "not JSON"),
    "deep": (b"[" * 65 + b"]" * 65, 400, "64 deep"),
    "very-deep": (b"[" * 100_000, 400, "not JSON"),
    "a-list": (b"[]", 400, "JSON object"),
    "null": (b"null", 400, "JSON object"),
    "large": (b'"' + b"x" * (256 * 1024) + b'"', 413, "256 kB"),
    "many-faults": (json.dumps({f"f{n}": n for n in range(5000)}).encode(), 400, "no such field"),
}


@pytest.mark.parametrize(("body", "status", "says"), BODIES.values(), ids=BODIES)
def test_bodies_that_cannot_be_read(api: httpx.Client, body: bytes, status: int, says: str) -> None:
    answer = api.post("/v2/pals", content=body)
    assert len(refused(answer, status)) <= 100
    assert says in answer.json()["message"]
    assert "Traceback" not in answer.text


def test_what_is_kept_comes_back_as_it_was(api: httpx.Client) -> None:
    layers = {"llm": {"text": "ä\u0000\U0001f40d\n", "n": [1, 1.5, True, None, 2**70], "": {}}}
    pal_id = created(api, document(layers=layers))["pal_id"]
    assert api.get(f"/v2/pals/{pal_id}").json()["layers"] == layers


@pytest.mark.parametrize("layers", [None, {}, {"llm": None, "conferencing": None}], ids=str)
def test_layers_that_are_nothing_are_not_kept(api: httpx.Client, layers: Any) -> None:
    pal_id = created(api, document(layers=layers))["pal_id"]
    assert "layers" not in api.get(f"/v2/pals/{pal_id}").json()


def test_the_older_names_in_and_out(api: httpx.Client, name: str) -> None:
    body = {
        "persona_name": "Ada",
        "system_prompt": "You are Ada.",
        "default_replica_id": "r1",
        "layers": {"conferencing": {"username": name}},
    }
    said = api.post("/v2/personas", json=body).json()
    assert set(said) == {"persona_id", "persona_name", "created_at", "conferencing_email"}
    pal_id = said["persona_id"]
    older, todays = api.get(f"/v2/personas/{pal_id}").json(), api.get(f"/v2/pals/{pal_id}").json()
    assert (older["persona_name"], older["default_replica_id"]) == ("Ada", "r1")
    assert (todays["pal_name"], todays["default_face_id"], todays["pal_id"]) == ("Ada", "r1", pal_id)
    assert not {"pal_id", "pal_name", "default_face_id"} & set(older)
    operations = [
        {"op": "replace", "path": "/persona_name", "value": "Wellness Advisor"},
        {"op": "copy", "from": "/persona_name", "path": "/context"},
        {"op": "replace", "path": "/default_replica_id", "value": "r79e1c033f"},
    ]
    patched = api.patch(f"/v2/personas/{pal_id}", json=operations).json()
    assert (patched["persona_name"], patched["default_replica_id"]) == ("Wellness Advisor", "r79e1c033f")
    assert patched["context"] == "Wellness Advisor"
    assert [one["persona_id"] for one in api.get("/v2/personas").json()["data"]] == [pal_id]
    assert api.get(f"/v2/personas/check-username?username={name}").json()["available"] is False
    assert api.delete(f"/v2/personas/{pal_id}").status_code == 204


def test_what_is_shown_can_be_tested(api: httpx.Client, name: str) -> None:
    pal_id = created(api, document(name))["pal_id"]
    shown = api.get(f"/v2/pals/{pal_id}").json()
    tests = [{"op": "test", "path": f"/{member}", "value": value} for member, value in shown.items()]
    changed = api.patch(f"/v2/pals/{pal_id}", json=[*tests, {"op": "replace", "path": "/pal_name", "value": "Eve"}])
    assert (changed.status_code, changed.json()) == (200, {**shown, "pal_name": "Eve"})


def test_the_older_api_asks_for_a_face_only_for_conferencing(api: httpx.Client, name: str) -> None:
    body: dict[str, Any] = {"persona_name": "Ada", "system_prompt": "You are Ada."}
    pal_id = api.post("/v2/personas", json=body).json()["persona_id"]
    operation = {"op": "replace", "path": "/context", "value": "x"}
    assert set(refused(api.patch(f"/v2/pals/{pal_id}", json=[operation]))) == {"0"}
    assert api.patch(f"/v2/pals/{pal_id}", json=[{**operation, "op": "add"}]).status_code == 200
    faults = refused(api.post("/v2/personas", json={**body, "layers": {"conferencing": {"username": name}}}))
    assert set(faults) == {"default_replica_id"}
    assert faults["default_replica_id"] == "A default_replica_id is required when layers.conferencing is set."


@pytest.mark.parametrize(
    ("older", "todays"),
    [
        ("/persona_name", "/pal_name"),
        ("/default_replica_id", "/default_face_id"),
        ("/layers/llm/persona_name", "/layers/llm/persona_name"),
        ("/persona_name/x", "/pal_name/x"),
        ("/persona_names", "/persona_names"),
        ("persona_name", "persona_name"),
        ("", ""),
    ],
)
def test_paths_under_the_older_names(older: str, todays: str) -> None:
    assert operations_from_legacy([{"op": "move", "path": older, "from": older}]) == [
        {"op": "move", "path": todays, "from": todays}
    ]
