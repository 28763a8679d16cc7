"""A row for each sentence of the specification on configuring a PAL: usernames, allowlist, availability, changes."""

from __future__ import annotations

import json
import smtplib
from typing import Any

import httpx
import pytest

from tests.api.conftest import Running

# As the specification has them, character for character; the host alone is ours.
CONFIGURING = r"""{
  "pal_name": "Anna",
  "system_prompt": "You are Anna, a helpful meeting assistant who takes notes and answers questions.",
  "pipeline_mode": "full",
  "default_face_id": "r90bbd427f71",
  "layers": {
    "conferencing": {
      "username": "anna",
      "allowlist": ["alex@acme.com", ".*@acme\\.com"]
    }
  }
}"""
END_TO_END = r"""{
  "pal_name": "Anna",
  "system_prompt": "You are Anna, a meeting assistant. Greet attendees, take notes, and answer questions about the agenda.",
  "pipeline_mode": "full",
  "default_face_id": "r90bbd427f71",
  "layers": {
    "conferencing": {
      "username": "acme-anna",
      "allowlist": [".*@acme\\.com"]
    }
  }
}"""  # noqa: E501  as it stands there
ADD_USERNAME = r"""[
    { "op": "add", "path": "/layers/conferencing/username", "value": "anna" }
  ]"""
REPLACE_ALLOWLIST = r"""[
    { "op": "replace", "path": "/layers/conferencing/allowlist", "value": ["alex@acme.com", ".*@acme\\.com"] }
  ]"""
JSON = {"Content-Type": "application/json"}


def document(username: str | None = None, **more: Any) -> dict[str, Any]:
    """A PAL that can be created, with a conferencing layer when it has a username."""
    layers = {"layers": {"conferencing": {"username": username}}} if username is not None else {}
    return {"pal_name": "Ada", "system_prompt": "You are Ada.", "default_face_id": "r1", **layers, **more}


def created(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v2/pals", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refused(answer: httpx.Response, status: int = 400) -> dict[str, str]:
    """The faults of an answer, by field."""
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert set(said) == {"message", "errors"}
    return {one["field"]: one["message"] for one in said["errors"]}


def at_rcpt(served: Running, username: str) -> int:
    """What SMTP answers to a recipient."""
    with smtplib.SMTP("127.0.0.1", served.gateway.smtp_port) as client:
        client.helo("test")
        client.mail("alex@acme.example")
        return client.rcpt(f"{username}@invite.example.com")[0]


def test_the_end_to_end_example(api: httpx.Client) -> None:
    answer = api.post("/v2/pals", content=END_TO_END, headers=JSON)
    assert answer.status_code == 200
    said = answer.json()
    assert set(said) == {"pal_id", "pal_name", "created_at", "conferencing_email"}
    assert (said["pal_name"], said["conferencing_email"]) == ("Anna", "acme-anna@invite.example.com")
    whole = api.get(f"/v2/pals/{said['pal_id']}").json()
    assert f"/v2/pals/{said['pal_id']}/calendar.ics?token=" in whole.pop("calendar_url")
    assert whole == {**json.loads(END_TO_END), **said}
    assert api.delete(f"/v2/pals/{said['pal_id']}").status_code == 204


def test_modifying_conferencing_by_the_examples(api: httpx.Client, served: Running) -> None:
    """On a PAL that has no conferencing; the demo's Anna, who has the name, makes room first."""
    pal_id = created(api, document())["pal_id"]
    assert "conferencing_email" not in api.get(f"/v2/pals/{pal_id}").json()
    taken = api.patch(f"/v2/pals/{pal_id}", content=ADD_USERNAME, headers=JSON)
    assert "choose a different" in refused(taken)["layers.conferencing.username"]
    default = served.client(served.key("default"))
    (anna,) = [one for one in default.get("/v2/pals").json()["data"] if one["conferencing_email"].startswith("anna@")]
    assert default.delete(f"/v2/pals/{anna['pal_id']}").status_code == 204
    first = api.patch(f"/v2/pals/{pal_id}", content=ADD_USERNAME, headers=JSON)
    assert (first.status_code, first.json()["conferencing_email"]) == (200, "anna@invite.example.com")
    second = api.patch(f"/v2/pals/{pal_id}", content=REPLACE_ALLOWLIST, headers=JSON)
    assert second.status_code == 200
    conferencing = {"username": "anna", "allowlist": ["alex@acme.com", r".*@acme\.com"]}
    assert api.get(f"/v2/pals/{pal_id}").json()["layers"] == {"conferencing": conferencing}
    assert api.delete(f"/v2/pals/{pal_id}").status_code == 204
    again = api.post("/v2/pals", content=CONFIGURING, headers=JSON)
    assert again.json()["conferencing_email"] == "anna@invite.example.com"
    api.delete(f"/v2/pals/{again.json()['pal_id']}")


def test_a_layer_that_is_not_there_can_be_added_to(api: httpx.Client) -> None:
    """Specification, "Modify Existing PAL"."""
    pal_id = created(api, document())["pal_id"]
    operation = {"op": "add", "path": "/layers/stt/hotwords", "value": "leadership"}
    answer = api.patch(f"/v2/pals/{pal_id}", json=[operation])
    assert answer.json()["layers"] == {"stt": {"hotwords": "leadership"}}


@pytest.mark.parametrize("name", ["ad", "a1", "a.b_c-d", "0x", "bots", "robot1"])
def test_usernames_that_can_be_had(api: httpx.Client, name: str) -> None:
    said = created(api, document(name))
    assert said["conferencing_email"] == f"{name}@invite.example.com"
    api.delete(f"/v2/pals/{said['pal_id']}")


BAD_NAMES = {
    "one-character": ("a", "2 or more"),
    "empty": ("", "2 or more"),
    "begins-with-a-dot": (".ada", "starts and ends"),
    "ends-with-a-dash": ("ada-", "starts and ends"),
    "space": ("a da", "letter or digit"),
    "not-ascii": ("ädа", "letter or digit"),
    "kelvin-sign": ("\u212aate", "letter or digit"),
    "line-end": ("ada\n", "letter or digit"),
    "nul": ("a\x00a", "letter or digit"),
    "reserved": ("bot1", "reserved"),
    "reserved-in-upper-case": ("BOT42", "reserved"),
    "postmaster": ("postmaster", "reserved"),
    "too-long": ("a" * 65, "at most 64"),
}


@pytest.mark.parametrize(("name", "says"), BAD_NAMES.values(), ids=BAD_NAMES)
def test_usernames_that_cannot_be_had(api: httpx.Client, name: str, says: str) -> None:
    faults = refused(api.post("/v2/pals", json=document(name)))
    assert says in faults["layers.conferencing.username"]
    available = api.get("/v2/pals/check-username", params={"username": name})
    assert available.status_code == 200
    assert available.json()["available"] is False
    assert says in available.json()["reason"]


def test_usernames_are_case_insensitive(api: httpx.Client, name: str) -> None:
    said = created(api, document(name.upper()))
    assert said["conferencing_email"] == f"{name}@invite.example.com"
    assert api.get(f"/v2/pals/{said['pal_id']}").json()["layers"]["conferencing"]["username"] == name
    assert api.get(f"/v2/pals/check-username?username={name.title()}").json()["available"] is False


def test_availability_before_and_after(api: httpx.Client, other: httpx.Client, name: str) -> None:
    path = f"/v2/pals/check-username?username={name}"
    assert api.get(path).json() == {"available": True}
    pal_id = created(api, document(name))["pal_id"]
    for client in (api, other):
        assert client.get(path).json() == {"available": False, "reason": "Username is already taken."}
    api.delete(f"/v2/pals/{pal_id}")
    assert other.get(path).json() == {"available": True}


def test_usernames_are_unique_across_accounts(api: httpx.Client, other: httpx.Client, name: str) -> None:
    created(api, document(name))
    for client in (api, other):
        for body in (document(name), document(name.upper())):
            fault = refused(client.post("/v2/pals", json=body))["layers.conferencing.username"]
            assert "choose a different username" in fault
    mine = created(other, document())["pal_id"]
    operation = {"op": "add", "path": "/layers/conferencing/username", "value": name}
    assert refused(other.patch(f"/v2/pals/{mine}", json=[operation]))


def test_a_rename_frees_the_old_name_at_once(
    api: httpx.Client, other: httpx.Client, name: str, served: Running
) -> None:
    pal_id = created(api, document(name))["pal_id"]
    assert at_rcpt(served, name) == 250
    operation = {"op": "replace", "path": "/layers/conferencing/username", "value": f"{name}-new"}
    answer = api.patch(f"/v2/pals/{pal_id}", json=[operation])
    assert answer.json()["conferencing_email"] == f"{name}-new@invite.example.com"
    assert (at_rcpt(served, name), at_rcpt(served, f"{name}-new")) == (550, 250)
    assert created(other, document(name))["pal_id"] != pal_id


ALLOWLISTS: dict[str, tuple[Any, str | None]] = {
    "address": (["alex@acme.com"], None),
    "regex": ([r".*@acme\.com"], None),
    "empty": ([], None),
    "null": (None, None),
    "does-not-compile": (["("], "missing )"),
    "look-ahead": (["(?=x).*"], "(?="),
    "look-behind": (["(?<!x)y"], "(?<"),
    "back-reference": ([r"(a)\1"], r"\1"),
    "empty-entry": ([""], "1 to 500"),
    "long-entry": (["x" * 501], "1 to 500"),
    "many": ([f"a{n}@b.example" for n in range(201)], "at most 200"),
}


@pytest.mark.parametrize(("entries", "says"), ALLOWLISTS.values(), ids=ALLOWLISTS)
def test_allowlists(api: httpx.Client, name: str, entries: Any, says: str | None) -> None:
    body = document(layers={"conferencing": {"username": name, "allowlist": entries}})
    answer = api.post("/v2/pals", json=body)
    if says is None:
        whole = api.get(f"/v2/pals/{answer.json()['pal_id']}").json()
        assert whole["layers"]["conferencing"]["allowlist"] == (entries or [])
    else:
        (field, fault) = next(iter(refused(answer).items()))
        assert (field.removesuffix(".0"), says in fault) == ("layers.conferencing.allowlist", True)


def test_every_bad_entry_is_named(api: httpx.Client, name: str) -> None:
    layers = {"conferencing": {"username": name, "allowlist": ["(", "a@b.example", "(?=a)"]}}
    where = "layers.conferencing.allowlist."
    assert set(refused(api.post("/v2/pals", json=document(layers=layers)))) == {where + "0", where + "2"}


@pytest.mark.parametrize("seconds", [-5, 0, "abc", True, 1.5, None])
def test_times_that_the_platform_would_refuse_are_refused_here(api: httpx.Client, name: str, seconds: Any) -> None:
    layers = {"conferencing": {"username": name, "properties": {"max_call_duration": seconds}}}
    answer = api.post("/v2/pals", json=document(layers=layers))
    assert set(refused(answer)) == {"layers.conferencing.properties.max_call_duration"}


def test_a_bad_allowlist_is_refused_when_it_is_patched_in(api: httpx.Client, name: str) -> None:
    pal_id = created(api, document(name))["pal_id"]
    operation = {"op": "replace", "path": "/layers/conferencing/allowlist", "value": ["(?=x).*"]}
    assert "(?=" in refused(api.patch(f"/v2/pals/{pal_id}", json=[operation]))["layers.conferencing.allowlist.0"]


def test_conferencing_needs_a_face(api: httpx.Client, name: str) -> None:
    body = document(name)
    del body["default_face_id"]
    assert "required" in refused(api.post("/v2/pals", json=body))["default_face_id"]
    pal_id = created(api, document(name))["pal_id"]
    gone = api.patch(f"/v2/pals/{pal_id}", json=[{"op": "remove", "path": "/default_face_id"}])
    assert "required" in refused(gone)["default_face_id"]


DOCUMENTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "plain": ({}, set()),
    "no-name": ({"pal_name": None}, set()),
    "no-face": ({"default_face_id": None}, {"default_face_id"}),
    "no-prompt": ({"system_prompt": None}, {"system_prompt"}),
    "no-prompt-in-echo": ({"system_prompt": None, "pipeline_mode": "echo"}, set()),
    "another-mode": ({"pipeline_mode": "half"}, {"pipeline_mode"}),
    "fifty-guardrails": ({"guardrail_ids": ["g"] * 50, "guardrail_tags": ["t"] * 50}, set()),
    "more-guardrails": ({"guardrail_ids": ["g"] * 51}, {"guardrail_ids"}),
    "more-guardrail-tags": ({"guardrail_tags": ["t"] * 51}, {"guardrail_tags"}),
    "documents": ({"document_ids": ["d1"], "document_tags": ["t"], "objectives_id": "o", "guardrails_id": "g"}, set()),
    "layers-as-given": ({"layers": {"llm": {"model": "x", "n": [1]}, "tts": {}, "perception": {"a": None}}}, set()),
    "unknown-layer": ({"layers": {"smell": {}}}, {"layers.smell"}),
    "unknown-conferencing": (
        {"layers": {"conferencing": {"username": "zoe", "colour": 1}}}, {"layers.conferencing.colour"},
    ),
    "no-username": ({"layers": {"conferencing": {"allowlist": []}}}, {"layers.conferencing.username"}),
    "time-zone": (
        {"layers": {"conferencing": {"username": "zoe", "time_zone": "Mars/Base"}}}, {"layers.conferencing.time_zone"},
    ),
    "a-name-of-two-lines": ({"pal_name": "Evil\r\nBcc: x@y.example"}, {"pal_name"}),
    "a-face-with-nul": ({"default_face_id": "r\x00"}, {"default_face_id"}),
    "every-fault-at-once": (
        {"system_prompt": 1, "default_face_id": "", "nonsense": 1, "more": 2, "pipeline_mode": "x"},
        {"system_prompt", "default_face_id", "nonsense", "more", "pipeline_mode"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "fields"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_what_a_pal_is_made_of(api: httpx.Client, change: dict[str, Any], fields: set[str]) -> None:
    body = {name: value for name, value in {**document(), **change}.items() if value is not None}
    answer = api.post("/v2/pals", json=body)
    if fields:
        assert set(refused(answer)) == fields
        assert all(field in answer.json()["message"] for field in fields)
        assert api.get("/v2/pals").json()["total_count"] == 0
    else:
        said = answer.json()
        assert set(said) == {"pal_id", "pal_name", "created_at"}
        whole = api.get(f"/v2/pals/{said['pal_id']}").json()
        assert whole == {"pal_name": "PAL", "pipeline_mode": "full", **body, **said}
