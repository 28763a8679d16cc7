"""Conversations over HTTP, a row for each sentence of "Join a Google Meet via API" and "Create Conversation"."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from gateway.demo import invitation
from scheduler.clock import utc_now
from tests.api.conftest import Running, serving
from tests.api.test_planned_joins import until
from tests.wire.test_main_path import send, settings_for

MEET = "https://meet.google.com/xgq-epxn-ccp"
PATH = "/v2/conversations"


def new_pal(api: httpx.Client, **conferencing: Any) -> str:
    """The id of a PAL with a face."""
    pal: dict[str, Any] = {"pal_name": "Ada", "system_prompt": "You are Ada.", "default_face_id": "face-1"}
    if conferencing:
        pal["layers"] = {"conferencing": conferencing}
    answer = api.post("/v2/pals", json=pal)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["pal_id"])


def joins(api: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    return list(api.get("/v2/joins", params=params).json()["data"])


class Elsewhere:
    """An HTTP server of somebody else: it keeps what it is asked, and answers from a script."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, dict[str, str]]] = []
        self.answers: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self.wait: Callable[[], None] = lambda: None
        outer = self

        class Answering(BaseHTTPRequestHandler):
            def answer(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                body = json.loads(raw) if raw else None
                path = self.path.partition("?")[0]
                outer.asked.append((self.command, path, body, {k.lower(): v for k, v in self.headers.items()}))
                outer.wait()
                script = outer.answers.get((self.command, path)) or [(200, {})]
                status, said = script.pop(0) if len(script) > 1 else script[0]
                told = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(told)))
                if status == 429:
                    self.send_header("retry-after", "7")
                self.end_headers()
                self.wfile.write(told)

            do_GET = do_POST = do_DELETE = do_PUT = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[Elsewhere]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def posts(self, path: str = PATH) -> list[Any]:
        return [body for method, at, body, _ in self.asked if (method, at) == ("POST", path)]


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere().running() as server:
        yield server


@pytest.fixture
def with_platform(elsewhere: Elsewhere, tmp_path: Path, store_url: str) -> Iterator[tuple[Elsewhere, httpx.Client]]:
    """A gateway whose platform is `elsewhere`, and a client of it."""
    platform = {"base_url": elsewhere.url, "api_key": "upstream"}
    loopback = {"private_networks": ["127.0.0.0/8"]}
    settings = settings_for(tmp_path, platform=platform, callbacks=loopback, store={"url": store_url})
    with serving(settings) as served:
        elsewhere.answers["POST", PATH] = [(200, {"conversation_id": "c1", "status": "active"})]
        yield elsewhere, served.client(served.key("acme"))


class TestJoinNow:
    def test_the_pal_joins_the_call_behind_the_link(self, api: httpx.Client) -> None:
        pal_id = new_pal(api)
        answer = api.post(PATH, json={"face_id": "r90bbd427f71", "pal_id": pal_id, "meeting_url": MEET})
        assert answer.status_code == 200
        said = answer.json()
        assert (said["meeting_url"], said["pal_id"], said["status"]) == (MEET, pal_id, "active")
        assert said["conversation_id"].startswith("c")
        (join,) = until(lambda: joins(api, state="joined"))
        assert (join["conversation_id"], join["url"]) == (said["conversation_id"], MEET)
        assert join["room_url"] == said["conversation_url"]
        assert [one["event_type"] for one in join["callbacks"]] == ["system.replica_joined"]

    def test_no_allowlist_is_asked(self, api: httpx.Client, name: str) -> None:
        pal_id = new_pal(api, username=name, allowlist=["nobody@acme.example"])
        assert api.post(PATH, json={"pal_id": pal_id, "meeting_url": MEET}).status_code == 200

    def test_the_older_names_are_taken(self, api: httpx.Client) -> None:
        pal_id = new_pal(api)
        asked = {"persona_id": pal_id, "replica_id": "r1", "meeting_url": MEET}
        assert api.post(PATH, json=asked).json()["pal_id"] == pal_id

    def test_every_further_field_goes_on(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        pal_id = new_pal(api)
        more = {"conversational_context": "Ask about the agenda.", "custom_greeting": "Hello", "audio_only": True}
        properties = {"max_call_duration": 600, "enable_recording": True}
        asked = {"pal_id": pal_id, "meeting_url": MEET, "conversation_name": "Demo", "properties": properties, **more}
        assert api.post(PATH, json=asked).json() == {"conversation_id": "c1", "status": "active"}
        (sent,) = elsewhere.posts()
        ours = sent.pop("callback_url")
        assert "/v2/callbacks/j" in ours
        assert sent == {**asked, "face_id": "face-1"}

    def test_what_a_pal_has_of_properties_stands_behind_what_is_asked(
        self, with_platform: tuple[Elsewhere, httpx.Client]
    ) -> None:
        elsewhere, api = with_platform
        pal_id = new_pal(api, username="ada", properties={"language": "german", "max_call_duration": 60})
        api.post(PATH, json={"pal_id": pal_id, "meeting_url": MEET, "properties": {"max_call_duration": 90}})
        assert elsewhere.posts()[0]["properties"] == {"language": "german", "max_call_duration": 90}

    def test_a_pal_that_only_the_platform_knows_is_its_to_judge(
        self, with_platform: tuple[Elsewhere, httpx.Client]
    ) -> None:
        elsewhere, api = with_platform
        asked = {"face_id": "r90bbd427f71", "pal_id": "pcb7a34da5fe", "meeting_url": MEET}
        assert api.post(PATH, json=asked).status_code == 200
        elsewhere.answers["GET", PATH] = [(200, {"data": [{"conversation_id": "c1"}]})]
        assert [one["conversation_id"] for one in api.get(PATH).json()["data"]] == ["c1"]
        elsewhere.answers["POST", PATH] = [(404, {"message": "Invalid pal_id"})]
        refused = api.post(PATH, json={**asked, "pal_id": "pother"})
        assert (refused.status_code, refused.json()) == (404, {"message": "Invalid pal_id"})

    def test_another_accounts_pal_is_not_there(self, api: httpx.Client, other: httpx.Client) -> None:
        pal_id = new_pal(other)
        for asked in ({"pal_id": pal_id, "meeting_url": MEET}, {"persona_id": pal_id}):
            answer = api.post(PATH, json=asked)
            assert (answer.status_code, answer.json()["message"]) == (404, "There is no such PAL.")

    def test_a_second_order_to_one_room_shares_the_call(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        elsewhere.answers["GET", f"{PATH}/c1"] = [(200, {"conversation_id": "c1", "status": "active"})]
        pal_id = new_pal(api)
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(api.post, PATH, json={"pal_id": pal_id, "meeting_url": MEET}) for _ in range(4)]
            assert {one.result().json()["conversation_id"] for one in asked} == {"c1"}
        assert len(elsewhere.posts()) == 1

    @pytest.mark.parametrize(
        ("link", "named"),
        [
            ("https://acme.zoom.us/j/5551112222?pwd=abc", "Zoom"),
            (
                "https://teams.microsoft.com/l/meetup-join/19%3ameeting_x%40thread.v2/0?context=%7b%7d",
                "Microsoft Teams",
            ),
            ("https://meet.google.com/landing", "Google Meet"),
            ("https://example.com/call", "no link to a meeting"),
            ("https://meet.google.com.evil.example/xgq-epxn-ccp", "no link to a meeting"),
            ("", "no link to a meeting"),
            (17, "no link to a meeting"),
        ],
    )
    def test_a_link_that_cannot_be_joined_is_refused_by_name(self, api: httpx.Client, link: Any, named: str) -> None:
        answer = api.post(PATH, json={"pal_id": new_pal(api), "meeting_url": link})
        assert answer.status_code == 400
        (fault,) = [one for one in answer.json()["errors"] if "link" in one["message"]]
        assert fault["field"] == "meeting_url"
        assert named in fault["message"]
        assert joins(api) == []

    def test_every_fault_is_named_at_once(self, api: httpx.Client) -> None:
        asked = {"meeting_url": "x", "callback_url": "ftp://a", "properties": [], "conversation_name": "a\nb"}
        answer = api.post(PATH, json=asked)
        assert answer.status_code == 400
        found = {one["field"] for one in answer.json()["errors"]}
        assert found == {"meeting_url", "pal_id", "callback_url", "properties", "conversation_name"}

    @pytest.mark.parametrize("url", ["http://", "https://a b", "file:///etc/passwd", "https://u:p@acme/", "//x"])
    def test_a_callback_url_is_an_address(self, api: httpx.Client, url: str) -> None:
        answer = api.post(PATH, json={"pal_id": new_pal(api), "meeting_url": MEET, "callback_url": url})
        assert [one["field"] for one in answer.json()["errors"]] == ["callback_url"]


class TestThePlatformsAnswer:
    @pytest.mark.parametrize(
        ("status", "said", "answered"),
        [
            (400, {"message": "Invalid face"}, (400, {"message": "Invalid face"})),
            (402, {"message": "Out of minutes"}, (402, {"message": "Out of minutes"})),
            (429, {"message": "Slow down"}, (429, {"message": "Slow down"})),
            (500, {"error": "x"}, (500, {"error": "x"})),
            (503, b"<html>", (503, None)),
            (401, {"message": "Invalid access token"}, (502, None)),
            (200, b"<html>", (502, None)),
            (200, {"nothing": 1}, (502, None)),
            (200, b'{"conversation_id": "c1", "x": NaN}', (502, None)),
            (200, b'{"conversation_id": "c1", "x": "\\ud800"}', (502, None)),
            (302, {"conversation_id": "c1"}, (502, None)),
            (699, {"conversation_id": "c1"}, (502, None)),
        ],
    )
    def test_it_is_the_callers(
        self, with_platform: tuple[Elsewhere, httpx.Client], status: int, said: Any, answered: tuple[int, Any]
    ) -> None:
        elsewhere, api = with_platform
        elsewhere.answers["POST", PATH] = [(status, said)]
        answer = api.post(PATH, json={"pal_id": new_pal(api), "meeting_url": MEET})
        assert answer.status_code == answered[0]
        if answered[1] is not None:
            assert answer.json() == answered[1]
        else:
            assert "upstream" not in answer.text
            assert answer.json()["message"]
        assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
        (join,) = joins(api)
        # Who was told that it failed must not find the PAL in the call later.
        assert join["state"] in ("failed", "leaving", "cancelled")
        time.sleep(0.3)
        assert len(elsewhere.posts()) == 1

    def test_an_order_whose_answer_was_lost_is_taken_back(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        elsewhere.answers["POST", PATH] = [(200, b"<cut")]
        assert api.post(PATH, json={"pal_id": new_pal(api), "meeting_url": MEET}).status_code == 502
        (join,) = joins(api)
        assert (join["state"], join["reason"]) == ("leaving", "platform-unreachable")


class TestPassedOn:
    def test_without_a_link_the_request_goes_on_as_it_is(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        asked = {"persona_id": "p1", "conversation_name": "Interview User", "callback_url": "https://a.example/x"}
        said = {"conversation_id": "c1", "conversation_name": "Interview User", "callback_url": "https://a.example/x"}
        elsewhere.answers["POST", PATH] = [(200, said)]
        answer = api.post(PATH, json=asked)
        assert (answer.status_code, answer.json()) == (200, said)
        assert elsewhere.posts() == [asked]
        assert elsewhere.asked[0][3]["x-api-key"] == "upstream"
        assert joins(api) == []

    @pytest.mark.parametrize("said", [[1], {}, {"conversation_id": 7}])
    def test_an_answer_that_names_nothing_is_none(
        self, with_platform: tuple[Elsewhere, httpx.Client], said: Any
    ) -> None:
        elsewhere, api = with_platform
        elsewhere.answers["POST", PATH] = [(200, said)]
        assert api.post(PATH, json={}).status_code == 502

    def test_what_is_no_object_is_refused(self, api: httpx.Client) -> None:
        assert api.post(PATH, json=[1]).status_code == 400


class TestIdempotencyKey:
    def test_the_same_key_is_the_same_request(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        asked, key = {"pal_id": new_pal(api), "meeting_url": MEET}, {"Idempotency-Key": "one"}
        first, again = (api.post(PATH, json=asked, headers=key) for _ in range(2))
        assert (first.status_code, first.json()) == (again.status_code, again.json())
        assert len(elsewhere.posts()) == 1
        assert api.post(PATH, json={**asked, "face_id": "r2"}, headers=key).status_code == 422

    def test_it_is_the_accounts_own(self, served: Running, api: httpx.Client, other: httpx.Client) -> None:
        key = {"Idempotency-Key": "shared"}
        ids = {
            one.post(PATH, json={"pal_id": new_pal(one)}, headers=key).json()["conversation_id"] for one in (api, other)
        }
        assert len(ids) == 2

    def test_two_at_once_are_one(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        asked, go_on = {"pal_id": new_pal(api), "meeting_url": MEET}, threading.Event()
        elsewhere.wait = lambda: assert_true(go_on.wait(20))
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(api.post, PATH, json=asked, headers={"Idempotency-Key": "two"})
            until(lambda: elsewhere.asked)
            assert api.post(PATH, json=asked, headers={"Idempotency-Key": "two"}).status_code == 409
            go_on.set()
            assert first.result().status_code == 200
        assert len(elsewhere.posts()) == 1

    def test_a_refusal_sets_the_key_free(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        elsewhere.answers["POST", PATH] = [(503, {"message": "busy"}), (200, {"conversation_id": "c2"})]
        asked, key = {"pal_id": new_pal(api), "meeting_url": MEET}, {"Idempotency-Key": "three"}
        assert [api.post(PATH, json=asked, headers=key).status_code for _ in range(3)] == [503, 200, 200]

    @pytest.mark.parametrize("asked", [{}, {"meeting_url": MEET, "pal_id": "p1"}])
    def test_what_is_passed_on_has_it_too(
        self, with_platform: tuple[Elsewhere, httpx.Client], asked: dict[str, Any]
    ) -> None:
        elsewhere, api = with_platform
        key = {"Idempotency-Key": "four"}
        assert [api.post(PATH, json=asked, headers=key).status_code for _ in range(2)] == [200, 200]
        assert len(elsewhere.posts()) == 1
        assert elsewhere.asked[-1][3]["idempotency-key"].startswith("j")

    def test_a_key_has_bounds(self, api: httpx.Client) -> None:
        assert api.post(PATH, json={}, headers={"Idempotency-Key": "x" * 256}).status_code == 400


def assert_true(value: bool) -> None:
    assert value


class TestReading:
    def test_what_was_begun_and_what_came_by_invitation_are_in_the_list(
        self, served: Running, api: httpx.Client, other: httpx.Client, name: str
    ) -> None:
        pal_id = new_pal(api, username=name)
        _, mail = invitation(f"{name}@invite.example.com", utc_now() - timedelta(minutes=1))
        assert send(served.gateway, mail, f"{name}@invite.example.com") == {}
        (join,) = until(lambda: joins(api, state="joined"))
        begun = api.post(PATH, json={"pal_id": pal_id, "meeting_url": MEET}).json()
        passed = api.post(PATH, json={"conversation_name": "x"}).json()
        found = api.get(PATH).json()
        ids = [one["conversation_id"] for one in found["data"]]
        assert ids == [passed["conversation_id"], begun["conversation_id"], join["conversation_id"]]
        assert (found["total_count"], found["next_cursor"]) == (3, None)
        assert other.get(PATH).json() == {"data": [], "total_count": 0, "next_cursor": None}
        first = api.get(PATH, params={"limit": 2}).json()
        rest = api.get(PATH, params={"limit": 2, "cursor": first["next_cursor"]}).json()
        assert [one["conversation_id"] for one in [*first["data"], *rest["data"]]] == ids

    def test_ours_is_not_shown_as_the_callback_url(self, api: httpx.Client) -> None:
        pal_id = new_pal(api)
        for theirs in ("https://acme.example/hook", ""):
            asked = {"pal_id": pal_id, "meeting_url": f"https://meet.google.com/aaa-bbbb-cc{'cd'[bool(theirs)]}"}
            said = api.post(PATH, json={**asked, "callback_url": theirs}).json()
            assert said["callback_url"] == theirs
            assert api.get(f"{PATH}/{said['conversation_id']}").json()["callback_url"] == theirs
        assert {one["callback_url"] for one in api.get(PATH).json()["data"]} == {"https://acme.example/hook", ""}

    def test_verbose_is_passed_on(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        elsewhere.answers["GET", f"{PATH}/c1"] = [(200, {"conversation_id": "c1", "shutdown_reason": "left"})]
        api.post(PATH, json={})
        assert api.get(f"{PATH}/c1", params={"verbose": "true"}).json()["shutdown_reason"] == "left"

    @pytest.mark.parametrize("more", ["", "/end"])
    def test_another_accounts_conversation_is_not_there(
        self, api: httpx.Client, other: httpx.Client, more: str
    ) -> None:
        begun = other.post(PATH, json={}).json()["conversation_id"]
        for path in (f"{PATH}/{begun}{more}", f"{PATH}/c0{more}", f"{PATH}/%00{more}"):
            answer = api.post(path) if more else api.get(path)
            assert (answer.status_code, answer.json()["message"]) == (404, "There is no such conversation.")

    def test_a_platform_that_is_away_is_said_so(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        api.post(PATH, json={})
        elsewhere.answers["GET", PATH] = [(500, {"error": "x"})]
        assert api.get(PATH).status_code == 500


class TestEnding:
    @pytest.mark.parametrize("how", ["end", "delete"])
    def test_it_ends_at_the_platform_and_here(self, api: httpx.Client, how: str) -> None:
        begun = api.post(PATH, json={"pal_id": new_pal(api), "meeting_url": MEET}).json()
        path = f"{PATH}/{begun['conversation_id']}"
        answer = api.post(f"{path}/end") if how == "end" else api.delete(path)
        assert answer.status_code == 200
        (join,) = joins(api)
        ours = {"end": "ended-over-the-api", "delete": "deleted-over-the-api"}[how]
        # The platform's own word may be here first.
        assert (join["state"], join["reason"] in (ours, "end_conversation_endpoint_hit")) == ("ended", True)
        there = api.get(path)
        assert (there.json().get("status") if how == "end" else there.status_code) == ("ended" if how == "end" else 404)

    def test_cancelling_an_event_ends_its_call(self, served: Running, api: httpx.Client, name: str) -> None:
        address = f"{name}@invite.example.com"
        new_pal(api, username=name)
        _, mail = invitation(address, utc_now() - timedelta(minutes=1))
        assert send(served.gateway, mail, address) == {}
        (join,) = until(lambda: joins(api, state="joined"))
        withdrawn = mail.replace(b"METHOD:REQUEST", b"METHOD:CANCEL").replace(b"SEQUENCE:0", b"SEQUENCE:1")
        assert send(served.gateway, withdrawn.replace(b'method="REQUEST"', b'method="CANCEL"'), address) == {}
        until(lambda: joins(api, state="cancelled"))
        assert api.get(f"{PATH}/{join['conversation_id']}").json()["status"] == "ended"


class TestCallbacks:
    def test_they_are_passed_on_to_the_caller(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        asked = {"pal_id": new_pal(api), "meeting_url": MEET, "callback_url": f"{elsewhere.url}/hook?x=1"}
        api.post(PATH, json=asked)
        ours = elsewhere.posts()[0]["callback_url"]
        said = [
            {"event_type": "system.replica_joined", "conversation_id": "c1", "properties": {"replica_id": "r"}},
            {
                "event_type": "application.transcription_ready",
                "conversation_id": "c1",
                "properties": {"transcript": []},
            },
            {"event_type": "system.shutdown", "conversation_id": "c1", "properties": {"shutdown_reason": "left"}},
        ]
        with httpx.Client(trust_env=False) as platform:
            for one in [*said, said[0]]:  # a platform that tries again is heard once
                assert platform.post(ours, json=one).status_code == 200
        until(lambda: len(elsewhere.posts("/hook")) == 3)
        assert sorted(elsewhere.posts("/hook"), key=str) == sorted(said, key=str)
        assert len({asked[3]["webhook-id"] for asked in elsewhere.asked if asked[1] == "/hook"}) == 3
        (join,) = joins(api)
        assert (join["state"], join["reason"]) == ("ended", "left")
        assert [one["event_type"] for one in join["callbacks"]] == [one["event_type"] for one in said]

    def test_each_join_of_a_shared_call_hears_of_it_once(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        elsewhere.answers["GET", f"{PATH}/c1"] = [(200, {"conversation_id": "c1", "status": "active"})]
        pal_id = new_pal(api)
        for hook in ("/one", "/two"):
            asked = {"pal_id": pal_id, "meeting_url": MEET, "callback_url": f"{elsewhere.url}{hook}"}
            assert api.post(PATH, json=asked).status_code == 200
        ours = elsewhere.posts()[0]["callback_url"]
        with httpx.Client(trust_env=False) as platform:
            for event_type in ("system.replica_joined", "system.shutdown"):  # without an id: the path says whose it is
                platform.post(ours, json={"event_type": event_type, "properties": {"shutdown_reason": "left"}})
        until(lambda: len(elsewhere.posts("/one")) == len(elsewhere.posts("/two")) == 2)
        for join in joins(api):
            assert (join["state"], join["reason"]) == ("ended", "left")
            heard = [one["event_type"] for one in join["callbacks"]]
            assert heard == ["system.replica_joined", "system.shutdown"]

    def test_a_receiver_that_is_away_hears_of_it_later(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        elsewhere, api = with_platform
        elsewhere.answers["POST", "/hook"] = [(500, {}), (200, {})]
        asked = {"pal_id": new_pal(api), "meeting_url": MEET, "callback_url": f"{elsewhere.url}/hook"}
        api.post(PATH, json=asked)
        with httpx.Client(trust_env=False) as platform:
            platform.post(elsewhere.posts()[0]["callback_url"], json={"event_type": "application.x"})
        until(lambda: len(elsewhere.posts("/hook")) == 2)
        assert len(elsewhere.posts("/hook")) == 2

    def test_an_unsigned_path_is_not_there(self, api: httpx.Client) -> None:
        assert api.post("/v2/callbacks/j1/0123", json={}).status_code == 404


class TestScenarioMeetings:
    TARGET: ClassVar = {"kind": "scenario_meeting", "scenario_id": 17, "dynamic": True, "language": "German"}

    def test_an_invitation_makes_a_meeting_of_the_scenario(self, served: Running, api: httpx.Client, name: str) -> None:
        address = f"{name}@invite.example.com"
        new_pal(api, username=name, target=self.TARGET)
        _, mail = invitation(address, utc_now() - timedelta(minutes=1))
        assert send(served.gateway, mail, address) == {}
        (join,) = until(lambda: joins(api, state="started"))
        assert join["room_url"].endswith(join["conversation_id"])
        assert len(join["room_token"]) == 32
        sandbox = httpx.get(f"{api.base_url}/sandbox/meetings/{join['conversation_id']}", trust_env=False)
        made = sandbox.json()["data"]
        assert (made["scenario_id"], made["language"], made["email"]) == (17, "German", "alex@acme.example")
        assert made["metadata"]["join_id"] == join["join_id"]

    def test_so_does_an_order(self, api: httpx.Client, name: str) -> None:
        pal_id = new_pal(api, username=name, target=self.TARGET)
        answer = api.post(PATH, json={"pal_id": pal_id, "meeting_url": MEET})
        assert answer.json()["data"]["room_token"]

    def test_its_options_are_checked(self, api: httpx.Client, name: str) -> None:
        target = {"kind": "scenario_meeting", "dynamic": "yes"}
        pal = {
            "system_prompt": "x",
            "default_face_id": "f",
            "layers": {"conferencing": {"username": name, "target": target}},
        }
        answer = api.post("/v2/pals", json=pal)
        assert answer.status_code == 400
        assert [one["field"] for one in answer.json()["errors"]] == ["layers.conferencing.target"] * 2

    def test_a_target_without_an_address_is_refused(self, with_platform: tuple[Elsewhere, httpx.Client]) -> None:
        _, api = with_platform
        layers = {"conferencing": {"username": "ada", "target": self.TARGET}}
        answer = api.post("/v2/pals", json={"system_prompt": "x", "default_face_id": "f", "layers": layers})
        assert answer.status_code == 400
        assert "targets" in answer.json()["message"]
