"""PALs that are mirrored at the platform: a server on loopback that keeps them, and can be told to fail."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonpatch
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs
from uvicorn import Config

from gateway import store
from gateway.app import Server
from gateway.documents import difference, without_conferencing
from gateway.pals import Pal
from gateway.sockets import listen
from scheduler.clock import utc_now
from tests.api.conftest import Running, serving
from tests.api.test_specification import created, document, refused
from tests.scheduler.calendars import FIXED
from tests.wire.test_main_path import settings_for

KEY = "the-gateways-own-key"
PATIENCE = 2.0  # seconds that the gateway waits for the platform here


@dataclass
class Asked:
    """One request that the platform got."""

    method: str
    path: str
    body: Any
    key: str


class _Dropped(Response):
    """An answer that ends before what its header promised."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise asyncio.CancelledError


@dataclass
class Upstream:
    """The platform: the PALs it has, what it was asked, and what it will answer next in place of the truth.

    An answer is (status, body); 'hang' comes too late, 'drop' ends the connection. `meanwhile` is done, once, before
    the next request is answered.
    """

    port: int = 0
    pals: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    answers: list[tuple[int, Any] | str] = field(default_factory=list)
    meanwhile: Callable[[], None] | None = None
    numbers: int = 0

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/v2/pals", self.answer, methods=["POST"])
        app.add_api_route("/v2/pals/{pal_id}", self.answer, methods=["PATCH", "DELETE"])
        return app

    async def answer(self, request: Request) -> Response:
        raw = await request.body()
        path, key = request.url.path, request.headers.get("x-api-key", "")
        self.asked.append(Asked(request.method, path, json.loads(raw) if raw else None, key))
        if self.meanwhile is not None:
            work, self.meanwhile = self.meanwhile, None
            await asyncio.to_thread(work)
        said = self.answers.pop(0) if self.answers else ""
        if said == "hang":
            await asyncio.sleep(2 * PATIENCE)
            return Response()
        if said == "drop":
            return _Dropped()
        if isinstance(said, tuple):
            body = said[1]
            return Response(body, said[0]) if isinstance(body, str) else JSONResponse(body, said[0])
        return self._truth(self.asked[-1])

    def _truth(self, asked: Asked) -> Response:
        if asked.method == "POST":
            self.numbers += 1
            pal_id = f"pc{self.numbers:06}"
            self.pals[pal_id] = asked.body
            return JSONResponse({"pal_id": pal_id, "pal_name": asked.body["pal_name"]})
        pal_id = asked.path.rpartition("/")[2]
        if pal_id not in self.pals:
            return JSONResponse({"error": "Not found"}, 404)
        if asked.method == "DELETE":
            del self.pals[pal_id]
            return Response(status_code=204)
        self.pals[pal_id] = jsonpatch.apply_patch(self.pals[pal_id], asked.body)
        return JSONResponse(self.pals[pal_id])


@pytest.fixture(scope="module")
def platform() -> Iterator[Upstream]:
    upstream = Upstream()
    socket = listen("127.0.0.1", 0)
    upstream.port = socket.getsockname()[1]
    server = Server(Config(upstream.app(), log_config=None, lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[socket])))
    thread.start()
    try:
        yield upstream
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def mirrored(platform: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = settings_for(
        tmp_path_factory.mktemp("mirror"),
        platform={"base_url": f"http://127.0.0.1:{platform.port}", "api_key": KEY, "mirror_pals": True},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scheduler.platform.TIMEOUT", httpx.Timeout(PATIENCE))
        with serving(settings) as running:
            yield running


@pytest.fixture
def upstream(platform: Upstream) -> Upstream:
    """The platform with nothing in it."""
    platform.pals.clear()
    platform.asked.clear()
    platform.answers.clear()
    platform.meanwhile = None
    return platform


@pytest.fixture
def ours(mirrored: Running, account: str) -> httpx.Client:
    """A client of this test's account."""
    return mirrored.client(mirrored.key(account))


def methods(upstream: Upstream) -> list[str]:
    return [one.method for one in upstream.asked]


def test_a_pal_is_made_there_without_its_conferencing(ours: httpx.Client, upstream: Upstream, name: str) -> None:
    layers = {"llm": {"model": "x"}, "conferencing": {"username": name}}
    said = created(ours, document(layers=layers, context="c"))
    (asked,) = upstream.asked
    assert (asked.method, asked.path, asked.key) == ("POST", "/v2/pals", KEY)
    assert asked.body == {
        "pal_name": "Ada",
        "system_prompt": "You are Ada.",
        "pipeline_mode": "full",
        "default_face_id": "r1",
        "context": "c",
        "layers": {"llm": {"model": "x"}},
    }
    assert said["pal_id"] in upstream.pals
    assert said["conferencing_email"] == f"{name}@invite.example.com"
    whole = ours.get(f"/v2/pals/{said['pal_id']}").json()
    assert whole["layers"]["conferencing"]["username"] == name


def test_the_older_names_are_todays_there(ours: httpx.Client, upstream: Upstream, name: str) -> None:
    body = {"persona_name": "Ada", "system_prompt": "x", "default_replica_id": "r1"}
    said = ours.post("/v2/personas", json={**body, "layers": {"conferencing": {"username": name}}}).json()
    assert upstream.pals[said["persona_id"]] == {
        "pal_name": "Ada", "system_prompt": "x", "default_face_id": "r1", "pipeline_mode": "full",
    }  # fmt: skip


def test_what_is_wrong_here_is_not_asked_there(ours: httpx.Client, upstream: Upstream, name: str) -> None:
    pal_id = created(ours, document(name))["pal_id"]
    upstream.asked.clear()
    bad = [{"op": "add", "path": "/nonsense", "value": 1}]
    for answer in (
        ours.post("/v2/pals", json={"nonsense": 1}),
        ours.post("/v2/pals", json=document(name)),
        ours.patch(f"/v2/pals/{pal_id}", json=bad),
    ):
        refused(answer, 400)
    for answer in (ours.patch("/v2/pals/p-nobody", json=[]), ours.delete("/v2/pals/p-nobody")):
        refused(answer, 404)
    assert upstream.asked == []


# What the platform says, what the caller is told, and in which words.
FAILURES: dict[str, tuple[tuple[int, Any] | str, int, str]] = {
    "bad-face": ((400, {"message": "Invalid default_face_id"}), 400, "Invalid default_face_id"),
    "another-form": ((422, {"error": "Too\r\nlong"}), 422, "Too long"),
    "third-form": ((402, {"detail": [{"msg": "Pay"}]}), 402, "Pay"),
    "no-words": ((409, "oops"), 409, "409"),
    "too-many": ((429, {}), 429, "429"),
    "long-words": ((400, {"message": "x" * 9999}), 400, "x" * 500),
    "our-key": ((401, {"message": "Invalid access token"}), 502, "operator"),
    "our-key-may-not": ((403, {"message": "Forbidden"}), 502, "operator"),
    "fault": ((500, {"message": "secret stack"}), 502, "answered 500"),
    "away": ((503, "<html>"), 502, "answered 503"),
    "elsewhere": ((302, {}), 502, "status 302"),
    "late": ("hang", 504, "did not answer"),
    "cut-off": ("drop", 502, "did not answer"),
}


@pytest.mark.parametrize(("said", "status", "words"), FAILURES.values(), ids=FAILURES)
def test_what_the_platform_refuses_changes_nothing_here(
    ours: httpx.Client, upstream: Upstream, name: str, said: tuple[int, Any] | str, status: int, words: str
) -> None:
    pal_id = created(ours, document(name))["pal_id"]
    path = f"/v2/pals/{pal_id}"
    before = ours.get(path).json()
    edit = [{"op": "replace", "path": "/pal_name", "value": "Bea"}]
    for method, at, body in (
        ("POST", "/v2/pals", document(f"{name}-2")),
        ("PATCH", path, edit),
        ("DELETE", path, None),
    ):
        upstream.answers.append(said)
        answer = ours.request(method, at, json=body)
        assert refused(answer, status) == {}
        assert words in answer.json()["message"]
        assert len(answer.content) < 700
        assert "secret" not in answer.text
    assert ours.get(path).json() == before
    assert ours.get("/v2/pals").json()["total_count"] == 1
    assert ours.get(f"/v2/pals/check-username?username={name}-2").json() == {"available": True}
    assert methods(upstream) == ["POST", "POST", "PATCH", "DELETE"]


@pytest.mark.parametrize("said", [{}, [], {"pal_id": None}, {"pal_id": ""}, {"pal_id": "../x"}, {"pal_id": 5}], ids=str)
def test_a_create_that_gets_no_id_is_none(ours: httpx.Client, upstream: Upstream, said: Any) -> None:
    upstream.answers.append((200, said))
    answer = ours.post("/v2/pals", json=document())
    refused(answer, 502)
    assert ours.get("/v2/pals").json()["total_count"] == 0


def test_the_id_of_another_pal_is_refused_and_that_one_stays(ours: httpx.Client, upstream: Upstream) -> None:
    pal_id = created(ours, document())["pal_id"]
    upstream.answers.append((200, {"pal_id": pal_id}))
    refused(ours.post("/v2/pals", json=document()), 502)
    assert methods(upstream) == ["POST", "POST"]
    assert ours.get(f"/v2/pals/{pal_id}").status_code == 200


def test_a_patch_goes_there_as_a_difference(ours: httpx.Client, upstream: Upstream, name: str) -> None:
    pal_id = created(ours, document(name, context="c"))["pal_id"]
    upstream.asked.clear()
    operations = [
        {"op": "test", "path": "/pal_name", "value": "Ada"},
        {"op": "replace", "path": "/pal_name", "value": "Bea"},
        {"op": "add", "path": "/layers/llm/model", "value": "x"},
        {"op": "add", "path": "/layers/conferencing/allowlist/-", "value": "a@b.example"},
        {"op": "remove", "path": "/context"},
    ]
    assert ours.patch(f"/v2/pals/{pal_id}", json=operations).status_code == 200
    (asked,) = upstream.asked
    assert (asked.method, asked.path, asked.key) == ("PATCH", f"/v2/pals/{pal_id}", KEY)
    assert "conferencing" not in json.dumps(asked.body)
    whole = ours.get(f"/v2/pals/{pal_id}").json()
    assert upstream.pals[pal_id] == {
        name: value for name, value in whole.items() if name in upstream.pals[pal_id] and name != "layers"
    } | {"layers": {"llm": {"model": "x"}}}
    assert whole["layers"]["conferencing"]["allowlist"] == ["a@b.example"]


def test_what_is_ours_alone_is_not_asked_there(ours: httpx.Client, upstream: Upstream, name: str) -> None:
    pal_id = created(ours, document(name))["pal_id"]
    upstream.asked.clear()
    for operation in (
        {"op": "replace", "path": "/layers/conferencing/username", "value": f"{name}-new"},
        {"op": "remove", "path": "/layers/conferencing"},
        {"op": "test", "path": "/pal_name", "value": "Ada"},
    ):
        assert ours.patch(f"/v2/pals/{pal_id}", json=[operation]).status_code == 200
    assert upstream.asked == []


def take(running: Running, name: str) -> Callable[[], None]:
    """Somebody takes a username. The store must be free for it while the platform is asked."""

    def now() -> None:
        with running.gateway.engine.begin() as connection:
            store.add_pal(connection, Pal(f"p-{name}", "Eve", f"{name}@invite.example.com", "r1"), utc_now())

    return now


def test_a_create_that_comes_second_here_is_undone_there(
    ours: httpx.Client, upstream: Upstream, mirrored: Running, name: str
) -> None:
    upstream.meanwhile = take(mirrored, name)
    faults = refused(ours.post("/v2/pals", json=document(name)), 400)
    assert "already taken" in faults["layers.conferencing.username"]
    assert methods(upstream) == ["POST", "DELETE"]
    assert upstream.pals == {}


def test_a_patch_that_comes_second_here_is_undone_there(
    ours: httpx.Client, upstream: Upstream, mirrored: Running, name: str
) -> None:
    pal_id = created(ours, document(f"{name}-old", context="c"))["pal_id"]
    before, here = dict(upstream.pals[pal_id]), ours.get(f"/v2/pals/{pal_id}").json()
    operations = [
        {"op": "replace", "path": "/pal_name", "value": "Bea"},
        {"op": "remove", "path": "/context"},
        {"op": "add", "path": "/layers/llm/model", "value": "x"},
        {"op": "replace", "path": "/layers/conferencing/username", "value": name},
    ]
    upstream.meanwhile = take(mirrored, name)
    assert set(refused(ours.patch(f"/v2/pals/{pal_id}", json=operations))) == {"layers.conferencing.username"}
    assert methods(upstream) == ["POST", "PATCH", "PATCH"]
    assert upstream.pals[pal_id] == before
    assert ours.get(f"/v2/pals/{pal_id}").json() == here


def test_what_cannot_be_undone_is_in_the_log(
    ours: httpx.Client, upstream: Upstream, mirrored: Running, name: str
) -> None:
    upstream.meanwhile = take(mirrored, name)
    upstream.answers += [(200, {"pal_id": "pc-lost"}), (500, {})]
    with capture_logs() as lines:
        refused(ours.post("/v2/pals", json=document(name)), 400)
    (line,) = [one for one in lines if one["event"] == "not undone at the platform"]
    assert line["asked"] == "DELETE /v2/pals/pc-lost"


def test_two_changes_at_once_are_one_and_a_refusal(
    ours: httpx.Client, upstream: Upstream, mirrored: Running, account: str
) -> None:
    stranger = mirrored.client(mirrored.key(f"{account}-other"))
    pal_id = created(ours, document())["pal_id"]
    path, second = f"/v2/pals/{pal_id}", []
    edit = [{"op": "replace", "path": "/pal_name", "value": "Bea"}]

    def other() -> None:
        second.append(ours.patch(path, json=[{"op": "add", "path": "/context", "value": "c"}]))
        second.append(ours.delete(path))
        second.append(stranger.delete(path))

    upstream.meanwhile = other
    assert ours.patch(path, json=edit).status_code == 200
    assert [answer.status_code for answer in second] == [409, 409, 404]
    assert methods(upstream) == ["POST", "PATCH"]
    assert ours.patch(path, json=[{"op": "add", "path": "/context", "value": "c"}]).status_code == 200
    assert upstream.pals[pal_id]["context"] == "c"


def test_a_change_by_another_process_is_not_overwritten(
    ours: httpx.Client, upstream: Upstream, mirrored: Running, account: str
) -> None:
    pal_id = created(ours, document())["pal_id"]
    path, before = f"/v2/pals/{pal_id}", dict(upstream.pals[pal_id])

    def other() -> None:
        with mirrored.gateway.engine.begin() as connection:
            row = store.account_pal(connection, account, pal_id)
            assert row is not None
            store.save_pal(connection, row.pal, {**row.document, "context": "theirs"})

    upstream.meanwhile = other
    refused(ours.patch(path, json=[{"op": "replace", "path": "/pal_name", "value": "Bea"}]), 409)
    assert upstream.pals[pal_id] == before
    whole = ours.get(path).json()
    assert (whole["pal_name"], whole["context"]) == ("Ada", "theirs")


def test_a_pal_is_deleted_there_and_one_that_is_gone_there_already_is_deleted(
    ours: httpx.Client, upstream: Upstream
) -> None:
    first, second = (created(ours, document())["pal_id"] for _ in range(2))
    assert ours.delete(f"/v2/pals/{first}").status_code == 204
    assert list(upstream.pals) == [second]
    upstream.pals.clear()
    assert ours.delete(f"/v2/personas/{second}").status_code == 204
    assert ours.get("/v2/pals").json()["total_count"] == 0


def test_it_is_off_unless_it_is_set(api: httpx.Client, served: Running) -> None:
    """And then the sandbox knows nothing of PALs."""
    pal_id = created(api, document())["pal_id"]
    assert served.client(None).get(f"/sandbox/v2/pals/{pal_id}").status_code == 404


def test_the_sandbox_mirrors(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    settings = settings_for(tmp_path_factory.mktemp("sandbox"), platform={"mirror_pals": True})
    with serving(settings) as running:
        ours = running.client(running.key("a"))
        pal_id = created(ours, document(name))["pal_id"]
        there = f"/sandbox/v2/pals/{pal_id}"
        assert "layers" not in ours.get(there).json()
        edit = [{"op": "replace", "path": "/pal_name", "value": "Bea"}]
        assert ours.patch(f"/v2/pals/{pal_id}", json=edit).json()["pal_name"] == "Bea"
        assert ours.get(there).json()["pal_name"] == "Bea"
        assert ours.patch(there, json=[{"op": "remove", "path": "/nothing"}]).status_code == 400
        assert ours.delete(f"/v2/pals/{pal_id}").status_code == 204
        assert ours.get(there).status_code == 404


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-1, 1) | st.text("a/~0é", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("a/~0-", max_size=2), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.fixed_dictionaries(
    {"pal_name": st.text(max_size=2)},
    optional={
        "layers": st.fixed_dictionaries(
            {}, optional={"llm": JSON_VALUES, "tts": JSON_VALUES, "conferencing": st.just({"username": "ada"})}
        )
    },
)


@FIXED
@given(DOCUMENTS, DOCUMENTS)
def test_a_difference_makes_one_document_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    there = jsonpatch.apply_patch(without_conferencing(before), difference(before, after))
    assert json.dumps(there, sort_keys=True) == json.dumps(without_conferencing(after), sort_keys=True)
