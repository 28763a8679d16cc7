"""Meeting links: every form of every platform, every wrapper, every hostile form, what holds for all."""

import base64
import json
import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.platforms import FIELDS, PLATFORMS, Candidate, Link, candidates, choose, classify, cut
from gateway.verdict import PLATFORM_NAMES

pytestmark = pytest.mark.usefixtures("without_collections")

MEET = "https://meet.google.com/abc-defg-hij"
OTHER_MEET = "https://meet.google.com/xyz-wxyz-xyz"
ZOOM = "https://us02web.zoom.us/j/88395547586?pwd=4KcslVk8qLNSDcTSjalXdrLbGG8xmR.1"
TID, OID = "67babc5f-d3b3-47d2-8bcd-40d59d4c2cb1", "02af95eb-0bfc-4767-b99a-dc89b62fc224"
JOIN = "https://teams.microsoft.com/l/meetup-join/19%3Ameeting_Y2I0ODFk%40thread.v2/0"
CONTEXT = f"?context=%7B%22Tid%22%3A%22{TID}%22%2C%22Oid%22%3A%22{OID}%22%7D"
FOUND_JOIN = "https://teams.microsoft.com/l/meetup-join/19%3ameeting_Y2I0ODFk%40thread.v2/0"
FOUND_CONTEXT = f"?context=%7b%22Tid%22%3a%22{TID}%22%2c%22Oid%22%3a%22{OID}%22%7d"
SHORT = "https://teams.microsoft.com/meet/2345678901234?p=AbCdEf123"
LIGHT = "https://teams.microsoft.com/light-meetings/launch?coords="
V2 = "https://teams.microsoft.com/v2/?meetingjoin=true#"
THREAD = "19:meeting_Y2I0ODFk@thread.v2"
BLOCK = "-::~:~::~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~::~:~::-"


def coords(fields: dict[str, object], *, encode: bool = False) -> str:
    text = json.dumps(fields)
    return quote(base64.b64encode((quote(text) if encode else text).encode()).decode(), safe="")


def launcher(path: str) -> str:
    return "https://teams.microsoft.com/dl/launcher/launcher.html?url=" + path + "&type=meetup-join&directDl=true"


ROOMS = [
    # Google Meet
    ("google_meet", MEET, MEET),
    ("google_meet", MEET + "?authuser=1", MEET),
    ("google_meet", MEET + "?pli=1&authuser=0", MEET),
    ("google_meet", MEET + "?hs=224", MEET),
    ("google_meet", MEET + "/", MEET),
    ("google_meet", MEET + "#top", MEET),
    ("google_meet", "https://meet.google.com:443/abc-defg-hij", MEET),
    ("google_meet", "http://meet.google.com/abc-defg-hij", MEET),
    ("google_meet", "http://meet.google.com:80/abc-defg-hij", MEET),
    ("google_meet", "meet.google.com/abc-defg-hij", MEET),
    ("google_meet", "HTTPS://MEET.GOOGLE.COM/ABC-DEFG-HIJ", MEET),
    ("google_meet", "https://meet.google.com/_meet/abc-defg-hij?authuser=0", MEET),
    # Zoom
    ("zoom", "https://zoom.us/j/123456789", "https://zoom.us/j/123456789"),
    ("zoom", ZOOM + "#success", ZOOM),
    ("zoom", "https://zoom.us/j/1234567890?uname=Eve&pwd=a%3D%3D", "https://zoom.us/j/1234567890?pwd=a=="),
    ("zoom", "https://zoom.us/j/1234567890123", "https://zoom.us/j/1234567890123"),
    ("zoom", "https://zoom.us/s/12345678901?zak=secret", "https://zoom.us/j/12345678901"),
    ("zoom", "https://zoom.us/w/12345678901?tk=a-b_c.d", "https://zoom.us/w/12345678901?tk=a-b_c.d"),
    ("zoom", "https://zoom.us/wc/join/123456789?wpk=x", "https://zoom.us/j/123456789"),
    ("zoom", "https://app.zoom.us/wc/123456789/join?pwd=x", "https://app.zoom.us/j/123456789?pwd=x"),
    ("zoom", "https://acme.zoom.us/my/ada.lovelace", "https://acme.zoom.us/my/ada.lovelace"),
    ("zoom", "zoommtg://zoom.us/join?confno=123456789&pwd=abc&zc=0", "https://zoom.us/j/123456789?pwd=abc"),
    ("zoom", "https://zoom.com/j/123456789", "https://zoom.com/j/123456789"),
    ("zoom", "https://zoomgov.com/j/123456789", "https://zoomgov.com/j/123456789"),
    ("zoom", "https://acme.zoomgov.com/j/123456789", "https://acme.zoomgov.com/j/123456789"),
    ("zoom", "https://zoom-x.de/j/123456789", "https://zoom-x.de/j/123456789"),
    ("zoom", "https://zoom.com.cn/j/123456789", "https://zoom.com.cn/j/123456789"),
    # Teams
    ("teams", FOUND_JOIN + FOUND_CONTEXT, JOIN + CONTEXT),
    ("teams", FOUND_JOIN, JOIN),
    ("teams", FOUND_JOIN + "?context=nonsense&anon=true", JOIN),
    ("teams", FOUND_JOIN.replace("%3a", ":").replace("%40", "@") + FOUND_CONTEXT, JOIN + CONTEXT),
    ("teams", FOUND_JOIN + '?context={"Tid":"' + TID + '","Oid":"' + OID + '"}', JOIN + CONTEXT),
    ("teams", FOUND_JOIN.replace(".com/", ".com:443/"), JOIN),
    ("teams", FOUND_JOIN.replace("thread.v2/0", "thread.tacv2/1600000000000"),
     JOIN.replace("thread.v2/0", "thread.tacv2/1600000000000")),
    ("teams", FOUND_JOIN.replace("teams.microsoft.com", "gov.teams.microsoft.us"),
     JOIN.replace("teams.microsoft.com", "gov.teams.microsoft.us")),
    ("teams", FOUND_JOIN.replace("teams.microsoft.com", "dod.teams.microsoft.us"),
     JOIN.replace("teams.microsoft.com", "dod.teams.microsoft.us")),
    ("teams", SHORT + "&anon=true", SHORT),
    ("teams", "https://teams.microsoft.com/meet/2345678901", "https://teams.microsoft.com/meet/2345678901"),
    ("teams", "https://teams.live.com/meet/934854846802812?p=x", "https://teams.live.com/meet/934854846802812?p=x"),
    ("teams", "https://teams.cloud.microsoft/meet/2345678901234", "https://teams.cloud.microsoft/meet/2345678901234"),
    ("teams", V2 + "/meet/2345678901234?p=AbCdEf123&anon=true", SHORT),
    ("teams", V2 + "/l/meetup-join/" + THREAD + "/0" + FOUND_CONTEXT, JOIN + CONTEXT),
    ("teams", "https://teams.microsoft.com/_#/l/meetup-join/" + THREAD + "/0", JOIN),
    ("teams", launcher(quote(f"/_#/l/meetup-join/{THREAD}/0{FOUND_CONTEXT}&anon=true", safe="")),
     JOIN + CONTEXT),
    ("teams", launcher(quote("/_#/meet/2345678901234?p=AbCdEf123&anon=true", safe="")), SHORT),
    ("teams", launcher("/_#/meet/2345678901234?p=AbCdEf123"), SHORT),
    ("teams", LIGHT.replace("?", "?anon=true&")
     + coords({"conversationId": THREAD, "tenantId": TID, "organizerId": OID, "messageId": "0"}),
     JOIN + CONTEXT),
    ("teams", LIGHT + coords({"conversationId": THREAD, "messageId": 0}, encode=True), JOIN),
    ("teams", LIGHT + coords({"meetingCode": "2345678901234", "passcode": "AbCdEf123"}), SHORT),
    ("teams", LIGHT.replace("microsoft", "live") + coords({"meetingUrl": SHORT + "&anon=true"}), SHORT),
    ("teams", "msteams:/l/meetup-join/" + THREAD + "/0", JOIN),
    ("teams", "msteams://teams.microsoft.com/l/meetup-join/" + THREAD + "/0", JOIN),
    # Others
    ("webex", "https://acme.webex.com/meet/ada", "https://acme.webex.com/meet/ada"),
    ("webex", "https://acme.webex.com/join/ada?x=1", "https://acme.webex.com/join/ada"),
    ("webex", "https://acme.webex.com/acme/j.php?RGID=r&MTID=m0123abc", "https://acme.webex.com/acme/j.php?MTID=m0123abc"),
    ("webex", "https://meetings.webex.com/collabs/meetings/join?uuid=MAMJ-4P6&epwd=x",
     "https://meetings.webex.com/collabs/meetings/join?uuid=MAMJ-4P6"),
    ("jitsi", "https://meet.jit.si/MyRoom?jwt=secret#config.x=1", "https://meet.jit.si/MyRoom"),
    ("jitsi", "https://8x8.vc/vpaas-magic-cookie-1/Room%20One", "https://8x8.vc/vpaas-magic-cookie-1/Room%20One"),
    ("whereby", "https://whereby.com/my-room", "https://whereby.com/my-room"),
    ("whereby", "https://acme.whereby.com/my-room?roomKey=secret", "https://acme.whereby.com/my-room"),
    ("goto", "https://meet.goto.com/123456789", "https://meet.goto.com/123456789"),
    ("goto", "https://global.gotomeeting.com/join/123456789", "https://global.gotomeeting.com/join/123456789"),
    ("chime", "https://chime.aws/1234567890", "https://chime.aws/1234567890"),
    ("ringcentral", "https://meetings.ringcentral.com/j/1234567890", "https://meetings.ringcentral.com/j/1234567890"),
    ("slack", "https://app.slack.com/huddle/T012AB3C4/C012AB3C4", "https://app.slack.com/huddle/T012AB3C4/C012AB3C4"),
    ("proton", "https://meet.proton.me/join/id-FRMQ717ZMW#pwd-GoslDQl8D7mu",
     "https://meet.proton.me/join/id-FRMQ717ZMW#pwd-GoslDQl8D7mu"),
    ("proton", "https://meet.proton.me/join/abc123#x", "https://meet.proton.me/join/abc123"),
    ("lark", "https://vc.feishu.cn/j/123456789", "https://vc.feishu.cn/j/123456789"),
    ("lark", "https://vc.larksuite.com/j/123456789", "https://vc.larksuite.com/j/123456789"),
    ("calcom", "https://app.cal.com/video/aBcDeF123", "https://app.cal.com/video/aBcDeF123"),
    ("daily", "https://acme.daily.co/stand-up?t=secret", "https://acme.daily.co/stand-up"),
]  # fmt: skip

NOT_ROOMS = [
    (
        "google_meet",
        "https://meet.google.com/lookup/AbC123?authuser=0",
        "https://meet.google.com/lookup/AbC123",
    ),
    ("google_meet", "https://meet.google.com/Team-Standup", "https://meet.google.com/team-standup"),
    ("google_meet", "https://g.co/meet/standup", "https://g.co/meet/standup"),
    ("zoom", "https://zoom.us/meeting/register/tJ0-abc_D?x=1", "https://zoom.us/meeting/register/tJ0-abc_D"),
    ("zoom", "https://events.zoom.us/ejl/AbCdEf~1-2", "https://events.zoom.us/ejl/AbCdEf~1-2"),
]

NO_MEETING = [
    "",
    "Microsoft Teams Meeting",
    "https://stream.meet.google.com/stream/0e8b1c7a-1111-2222-3333-444455556666",
    "https://meet.google.com",
    "https://meet.google.com/",
    "https://meet.google.com/new",
    "https://meet.google.com/landing?pli=1",
    "https://meet.google.com/abc-defg-hij/extra",
    "https://tel.meet/abc-defg-hij?pin=1234567890123",
    "https://support.google.com/a/users/answer/9282720",
    "https://calendar.google.com/calendar/event?action=VIEW&eid=x",
    "https://g.co/abc-defg-hij",
    "https://zoom.us/meeting/tJ0abc/ics?icsToken=98tyKu",
    "https://us02web.zoom.us/meeting/attendee/tJ0abc/ics?icsToken=98tyKu",
    "https://zoom.us/j/12345678",
    "https://zoom.us/j/123456789012",
    "https://zoom.us/j/12345678901234",
    "https://zoom.us/pricing",
    "https://zoom.us/ejl/AbCdEf",
    "zoommtg://zoom.us/join?confno=12",
    "zoommtg://zoom.us/start?confno=123456789",
    "zoommtg://meet.google.com/abc-defg-hij",
    "msteams://meet.google.com/abc-defg-hij",
    "https://teams.microsoft.com/l/meeting/new?subject=x",
    "https://teams.microsoft.com/l/meetup-join/example/0",
    "https://teams.microsoft.com/meet/123456789",
    "https://teams.microsoft.com/meet/1234567890123456",
    "https://teams.microsoft.com/v2/",
    "https://teams.microsoft.com/dl/launcher/launcher.html",
    "https://teams.microsoft.com/dl/launcher/launcher.html?url=https%3A%2F%2Fevil.example%2Fmeet%2F2345678901234",
    "https://teams.microsoft.com/light-meetings/launch?coords=!!!",
    LIGHT + base64.b64encode(b"[" * 4000).decode(),
    LIGHT + base64.b64encode(b'["a"]').decode(),
    LIGHT + coords({"conversationId": "\ud800", "passcode": "\ud800"}),
    LIGHT + coords({"meetingUrl": "https://evil.example/meet/2345678901234"}),
    "https://webex.com/meet/ada",
    "https://acme.webex.com/acme/j.php",
    "https://meetings.webex.com/collabs/meetings/join",
    "https://meet.jit.si/",
    "https://meet.jit.si/static/close.html",
    "https://meet.jit.si/%2e%2e/room",
    "https://meet.jit.si/a%00b",
    "https://jitsi.acme.example/room",
    "https://whereby.com/information/about",
    "https://whereby.com/pricing",
    "https://docs.whereby.com/room",
    "https://www.daily.co/pricing",
    "https://daily.co/room",
    "https://docs.daily.co/reference",
    "https://chime.aws/about",
    "https://app.slack.com/client/T012AB3C4/C012AB3C4",
    "https://app.cal.com/event-types",
    "tel:+15551234567",
    "mailto:ada@meet.google.com",
    "javascript:location='https://meet.google.com/abc-defg-hij'",
    "data:text/html,https://meet.google.com/abc-defg-hij",
]  # fmt: skip

SAMPLES = [
    MEET,
    ZOOM,
    JOIN,
    "https://acme.webex.com/meet/ada",
    "https://meet.jit.si/MyRoom",
    "https://acme.daily.co/room",
]


def hostile_forms(url: str) -> dict[str, str]:
    """One good link -> every way to look like it."""
    host, path = url.removeprefix("https://").split("/", 1)
    return {
        "suffix": f"https://evil{host.replace('.', '-')}.example/{path}",
        "glued": f"https://evil{host}x/{path}",
        "prefix": f"https://{host}.evil.example/{path}",
        "user": f"https://{host}@evil.example/{path}",
        "user and password": f"https://{host}:443@evil.example/{path}",
        "user of the true host": f"https://evil.example@{host}/{path}",
        "path": f"https://evil.example/{host}/{path}",
        "path with scheme": f"https://evil.example/{url}",
        "query": f"https://evil.example/?u={url}",
        "fragment": f"https://evil.example/#{url}",
        "backslash": f"https://evil.example\\@{host}/{path}",
        "backslash path": f"https://{host}\\{path}",
        "odd port": f"https://{host}:8443/{path}",
        "port of http": f"https://{host}:80/{path}",
        "empty port": f"https://{host}:/{path}",
        "cyrillic": f"https://{host.replace('o', 'о', 1).replace('e', 'е', 1)}/{path}",
        "full width dot": f"https://{host.replace('.', '。', 1)}/{path}",
        "kelvin sign": f"https://\u212a{host}/{path}",
        "punycode": f"https://xn--mnchen-3ya.{host}/{path}",
        "trailing dot": f"https://{host}./{path}",
        "tab in host": f"https://{host[:4]}\t{host[4:]}/{path}",
        "newline": f"https://{host}/\n{path}",
        "zero width": f"https://{host[:4]}\u200b{host[4:]}/{path}",
        "nul": f"https://{host}/{path}\x00",
        "three slashes": f"https:///{host}/{path}",
        "no slashes": f"https:{host}/{path}",
        "other scheme": f"ftp://{host}/{path}",
        "endless": f"https://{host}/{path}" + "&a=b" * 3000,
    }


HOSTILE = {f"{kind} of {url}": form for url in SAMPLES for kind, form in hostile_forms(url).items()}
LOOKALIKES = ["https://evilzoom.us/j/123456789", "https://meet.google.com.evil.example/abc-defg-hij"]


def safelink(url: str) -> str:
    host = "eur01.safelinks.protection.outlook.com"
    return f"https://{host}/?url={quote(url, safe='')}&data=05%7C02%7C&reserved=0"


def teams_safelink(url: str) -> str:
    page = "https://statics.teams.cdn.office.net/evergreen-assets/safelinks/1/atp-safelinks.html"
    return f"{page}?url={quote(url, safe='')}&locale=en-us"


def google(url: str) -> str:
    return f"https://www.google.com/url?q={quote(url, safe='')}&sa=D&source=calendar&usg=x"


def proofpoint1(url: str) -> str:
    return f"https://urldefense.proofpoint.com/v1/url?u={quote(url, safe='')}&k=abc"


def proofpoint2(url: str) -> str:
    text = "".join(c if c.isalnum() or c in "./" else f"-{ord(c):02X}" for c in url).replace("/", "_")
    return f"https://urldefense.proofpoint.com/v2/url?u={text}&d=DwMF&c=x"


def proofpoint3(url: str) -> str:
    hidden = "".join(c for c in url if c in "%#*")
    shown = "".join("*" if c in "%#*" else c for c in url)
    return f"https://urldefense.com/v3/__{shown}__;{base64.urlsafe_b64encode(hidden.encode()).decode().rstrip('=')}!!Ab-c!xyz$"


WRAPPERS = [safelink, teams_safelink, google, proofpoint1, proofpoint2, proofpoint3]


def nested(url: str, depth: int) -> str:
    for wrap in [safelink, google, proofpoint1, teams_safelink, safelink][:depth]:
        url = wrap(url)
    return url


class TestForms:
    @pytest.mark.parametrize(("platform", "url", "canonical"), ROOMS, ids=[row[1][:90] for row in ROOMS])
    def test_a_room_is_recognised_and_rebuilt(self, platform: str, url: str, canonical: str) -> None:
        assert classify(url) == Link(platform, canonical, room=True)

    @pytest.mark.parametrize(("platform", "url", "canonical"), NOT_ROOMS, ids=[row[1] for row in NOT_ROOMS])
    def test_a_known_form_without_a_room(self, platform: str, url: str, canonical: str) -> None:
        assert classify(url) == Link(platform, canonical, room=False)

    @pytest.mark.parametrize("url", NO_MEETING, ids=lambda url: url[:90])
    def test_what_is_no_meeting_gives_nothing(self, url: str) -> None:
        assert classify(url) is None

    @pytest.mark.parametrize("url", [row[2] for row in ROOMS + NOT_ROOMS])
    def test_the_canonical_form_is_read_as_itself(self, url: str) -> None:
        link = classify(url)
        assert link is not None
        assert link.url == url

    def test_jitsi_on_the_operators_own_host(self) -> None:
        url, hosts = "https://jitsi.acme.example/room", frozenset({"jitsi.acme.example"})
        assert classify(url, jitsi_hosts=hosts) == Link("jitsi", url, room=True)
        assert classify(f"https://x.{url[8:]}", jitsi_hosts=hosts) is None
        assert [c.link.url for c in candidates([("LOCATION", url)], jitsi_hosts=hosts)] == [url]

    def test_every_platform_has_a_form_here(self) -> None:
        assert {row[0] for row in ROOMS} == {platform.name for platform in PLATFORMS}

    def test_every_platform_has_a_name_for_people(self) -> None:
        assert {platform.name for platform in PLATFORMS} == PLATFORM_NAMES.keys()


class TestWrappers:
    @pytest.mark.parametrize("wrap", WRAPPERS)
    @pytest.mark.parametrize("url", [*SAMPLES, JOIN + CONTEXT, SHORT], ids=lambda url: url[:60])
    def test_one_layer(self, wrap: Callable[[str], str], url: str) -> None:
        link = classify(wrap(url))
        assert link is not None
        assert link.url == url

    @pytest.mark.parametrize("depth", [1, 2, 3, 4])
    @pytest.mark.parametrize("url", [MEET, JOIN + CONTEXT], ids=["meet", "teams"])
    def test_nested_up_to_four(self, url: str, depth: int) -> None:
        link = classify(nested(url, depth))
        assert link is not None
        assert link.url == url

    def test_five_deep_is_nothing(self) -> None:
        assert classify(nested(MEET, 5)) is None

    @pytest.mark.parametrize("wrap", WRAPPERS)
    @pytest.mark.parametrize("form", hostile_forms(MEET).items(), ids=lambda form: form[0])
    def test_a_look_alike_inside_stays_one(self, wrap: Callable[[str], str], form: tuple[str, str]) -> None:
        assert classify(wrap(form[1])) is None

    def test_a_real_hyphen_of_proofpoint_2(self) -> None:
        assert "abc-2Ddefg-2Dhij" in proofpoint2(MEET)

    def test_proofpoint_3_run_of_characters(self) -> None:
        hidden = base64.urlsafe_b64encode(b"abc-defg").decode().rstrip("=")
        wrapped = f"https://urldefense.com/v3/__https:/meet.google.com/**G-hij__;{hidden}!!A!b$"  # G: a run of 8
        assert classify(wrapped) == Link("google_meet", MEET, room=True)

    @pytest.mark.parametrize(
        "url",
        [
            "https://urldefense.com/v3/__https://meet.google.com/***__;YQ!!A!b$",
            "https://urldefense.com/v3/__https://meet.google.com/*__;A!!A!b$",
            "https://urldefense.com/v3/__https://meet.google.com/*__;_w!!A!b$",
            "https://urldefense.com/v3/__https://zoom.us/j/123456789*__;!!A!b$",  # a character is missing
            "https://urldefense.com/v3/__",
            "https://www.google.com/url?sa=D",
            "https://www.google.com/search?q=" + quote(MEET, safe=""),
            "https://safelinks.protection.outlook.com.evil.example/?url=" + quote(MEET, safe=""),
            "https://evilsafelinks.protection.outlook.com/?url=" + quote(MEET, safe=""),
            "https://statics.teams.cdn.office.net/other?url=" + quote(MEET, safe=""),
            "https://urldefense.com.evil.example/v3/__" + MEET + "__;!!A!b$",
            "https://www.google.com:8080/url?q=" + quote(MEET, safe=""),
        ],
    )
    def test_a_broken_or_foreign_wrapper_gives_nothing(self, url: str) -> None:
        assert classify(url) is None


class TestHostile:
    @pytest.mark.parametrize("url", [*HOSTILE.values(), *LOOKALIKES], ids=[*HOSTILE, *LOOKALIKES])
    def test_it_is_not_a_link(self, url: str) -> None:
        assert classify(url) is None

    @pytest.mark.parametrize(
        "text",
        [
            "https://evil.example/meet.google.com/abc-defg-hij",
            "evil.example/meet.google.com/abc-defg-hij",
            "https://meet.google.com@evil.example/abc-defg-hij",
            "meet.google.com@evil.example/abc-defg-hij",
            "ada@meet.google.com/abc-defg-hij",
            "https://meet.google.com.evil.example/abc-defg-hij",
            "meet.google.com.evil.example/abc-defg-hij",
            "evilmeet.google.com/abc-defg-hij",
            "evil-meet.google.com/abc-defg-hij",
            "\u0435vil.meet.google.com/abc-defg-hij",
            "https://\u0435.meet.google.com/abc-defg-hij",
            "https://m\u0435et.google.com/abc-defg-hij",
            "https://meet\u200b.google.com/abc-defg-hij",
            "https://meet.google.com/abc-defg-hij\u00e9",
            "https://evil.example?https://meet.google.com/abc-defg-hij",
            "https://evil.example\\meet.google.com/abc-defg-hij",
            "https://meet.google.com\\abc-defg-hij",
            "https://meet.google.com:8443/abc-defg-hij",
            "//meet.google.com/abc-defg-hij",
        ],
    )
    @pytest.mark.parametrize("field", ["LOCATION", "DESCRIPTION", "X-ALT-DESC"])
    def test_it_is_not_found_in_a_text(self, field: str, text: str) -> None:
        assert candidates([(field, f"Join {text} now")]) == ()
        assert candidates([(field, text)]) == ()


def found(text: str, field: str = "DESCRIPTION") -> list[str]:
    return [candidate.link.url for candidate in candidates([(field, text)])]


class TestText:
    @pytest.mark.parametrize(
        "text",
        [
            MEET,
            f"({MEET}).",
            f"[Join]({MEET})",
            f"[{MEET}]({MEET})",
            f"<{MEET}>",
            f'"{MEET}"',
            f"Link: {MEET}, bitte",
            f"Link:{MEET};",
            f"see {MEET}!?",
            f"{MEET}]}}>",
            f"**{MEET}**",
            f"{MEET}\\nJoin by phone",
            f"Join:\\n{MEET}\\nMore",
            f"会议链接：{MEET}，请准时",
            f"链接{MEET}请准时",
            f"\u200b{MEET}\u200b",
            "Video: meet.google.com/abc-defg-hij.",
            "(meet.google.com/abc-defg-hij)",
            "<meet.google.com/abc-defg-hij>",
            "meet.google.com/abc-defg-hij?hs=224",
            f"https://evil.example/x,{MEET}",
            f"{MEET};{MEET}?pli=1",
            "Call\u00a0meet.google.com/abc-defg-hij\u2028x",
            f'<a href="{MEET}?hs=224&amp;x=1">Join</a>',
            f"<a class='x' HREF='{MEET}'>Join</a>",
            f"<A data-x=1 href={MEET}>Join</A>",
            f"<p>Join<br>{MEET}<br/>now</p>",
            f"<b>{MEET}</b>",
            "meet.google.com&#47;abc-defg-hij&nbsp;now",
            f"a < b {MEET} c > d",
            f"<!-- hidden -->{MEET}",
            f"<script>var x</script>{MEET}",
            f'<a href="{safelink(MEET)}">https://meet.google.com/abc-defg-hij</a>',
        ],
    )
    def test_the_link_is_cut_out(self, text: str) -> None:
        assert found(text) == [MEET]

    @pytest.mark.parametrize(
        "text",
        [
            f"<script>location='{MEET}'</script>",
            f"<SCRIPT src=x>{MEET}",
            f"<style>a{{background:url({MEET})}}</style>",
            f"<!-- {MEET} -->",
            f"<!-- {MEET}",
            f"<a href=\"javascript:open('{MEET}')\">Join</a>",
            f'<a data-href="{MEET}">Join</a>',
            f"<a title=\"href='{MEET}'\">Join</a>",
            f'<form action="{MEET}"><img src="{MEET}"><iframe src="{MEET}">{MEET}</iframe>',
            "evil.<b></b>meet.google.com/abc-defg-hij",
            "Microsoft Teams Meeting",
        ],
    )
    def test_active_and_hidden_content_counts_for_nothing(self, text: str) -> None:
        assert found(text) == []

    @pytest.mark.parametrize("text", ["&#99999999999999999999;", "&#" + "9" * 9000 + ";", "&#xD800;", "\ud800 <a"])
    def test_odd_characters_do_not_raise(self, text: str) -> None:
        assert found(f"{text} {MEET}") == [MEET]

    def test_entities_are_decoded_once_and_only_with_a_semicolon(self) -> None:
        assert found("https://zoom.us/j/123456789?a=1&copy=2&amp;pwd=x") == ["https://zoom.us/j/123456789?pwd=x"]
        assert found("&amp;lt;a&amp;gt;") == []


class TestCandidates:
    def test_the_best_field_stands_first_whatever_the_order(self) -> None:
        fields = [(name, f"https://zoom.us/j/{123456700 + n}") for n, name in enumerate(FIELDS)]
        assert [c.field for c in candidates(reversed(fields))] == list(FIELDS)

    def test_unknown_fields_are_ignored_and_case_does_not_matter(self) -> None:
        fields = [("X-OTHER", MEET), ("SUMMARY", MEET), ("location", MEET)]
        assert candidates(fields) == (Candidate("LOCATION", Link("google_meet", MEET, room=True)),)

    def test_the_same_link_of_the_same_field_stands_once(self) -> None:
        fields = [("LOCATION", f"{MEET} {MEET}?hs=1"), ("LOCATION", MEET), ("URL", MEET)]
        assert [(c.field, c.link.url) for c in candidates(fields)] == [("LOCATION", MEET), ("URL", MEET)]

    def test_order_of_appearance(self) -> None:
        assert found(f"{ZOOM}\n{MEET}\nhttps://whereby.com/room") == [ZOOM, MEET, "https://whereby.com/room"]

    def test_a_zoom_link_of_a_google_add_on(self) -> None:
        assert candidates([("X-GOOGLE-CONFERENCE", ZOOM)])[0].link.platform == "zoom"

    def test_the_block_of_google_beats_a_pasted_meet_link(self) -> None:
        text = f"old: {OTHER_MEET}\n{ZOOM}\n{BLOCK}\nMit Google Meet teilnehmen: {MEET}\n\nhttps://tel.meet/x\n{BLOCK}"
        assert found(text) == [MEET, ZOOM, OTHER_MEET]
        assert found(text.replace("\n", "<br>")) == [MEET, ZOOM, OTHER_MEET]

    def test_a_link_inside_and_outside_the_block_is_inside(self) -> None:
        text = f"{OTHER_MEET} {MEET}\n{BLOCK}\n{MEET}\n{BLOCK}"
        assert found(text) == [MEET, OTHER_MEET]

    def test_half_a_block_is_none(self) -> None:
        assert found(f"{OTHER_MEET}\n{BLOCK}\n{MEET}") == [OTHER_MEET, MEET]

    def test_of_two_teams_ids_the_canonical_one_which_stands_last(self) -> None:
        reference = f"Need help? | System reference<{FOUND_JOIN}{FOUND_CONTEXT}>"
        text = f"Join: {SHORT}\nMeeting ID: 234 567 890 123 4\n{reference}"
        assert found(text) == [JOIN + CONTEXT, SHORT]

    @pytest.mark.parametrize(
        ("field", "text"),
        [
            ("X-MICROSOFT-SKYPETEAMSMEETINGURL", FOUND_JOIN),
            ("X-MICROSOFT-ONLINEMEETINGEXTERNALLINK", FOUND_JOIN),
            (
                "X-MICROSOFT-ONLINEMEETINGCONFLINK",
                f"conf:sip:ada@acme.example;gruu;opaque=app:conf:focus:id:teams:2:0!19:meeting_Y2I0ODFk-thread.v2!{OID}!{TID}",
            ),
            (
                "X-MICROSOFT-SKYPETEAMSPROPERTIES",
                f'{{"cid":"{THREAD}","private":true,"type":0,"mid":0,"rid":0,"uid":null}}',
            ),
            ("X-MICROSOFT-SKYPETEAMSPROPERTIES", f'{{"cid":"{THREAD}"\\,"rid":0\\,"mid":0}}'),
        ],
    )
    def test_the_fields_of_outlook(self, field: str, text: str) -> None:
        assert candidates([(field, text), ("LOCATION", "Microsoft Teams Meeting")]) == (
            Candidate(field, Link("teams", JOIN, room=True)),
        )

    @pytest.mark.parametrize(
        "text", ["", "{}", '{"cid":"x"}', "conf:sip:ada@acme.example;gruu;opaque=app:conf:focus:id:A"]
    )
    def test_outlook_fields_without_a_thread(self, text: str) -> None:
        assert candidates([("X-MICROSOFT-SKYPETEAMSPROPERTIES", text)]) == ()

    def test_two_urls_of_a_channel_meeting(self) -> None:
        text = '{"cid":"19:abc@thread.tacv2","mid":1600000000000}'
        assert found(text, "X-MICROSOFT-SKYPETEAMSPROPERTIES") == [
            "https://teams.microsoft.com/l/meetup-join/19%3Aabc%40thread.tacv2/1600000000000"
        ]
        assert found(text, "DESCRIPTION") == []


class TestChoose:
    JOINABLE = frozenset({"google_meet"})

    def test_a_joinable_one_beats_a_recognised_one_wherever_it_stands(self) -> None:
        chosen = choose(candidates([("LOCATION", ZOOM), ("DESCRIPTION", MEET)]), self.JOINABLE)
        assert chosen == Candidate("DESCRIPTION", Link("google_meet", MEET, room=True))

    def test_among_joinable_ones_the_better_field(self) -> None:
        chosen = choose(candidates([("DESCRIPTION", OTHER_MEET), ("X-GOOGLE-CONFERENCE", MEET)]), self.JOINABLE)
        assert chosen is not None
        assert chosen.link.url == MEET

    def test_a_form_without_a_room_is_not_joinable(self) -> None:
        fields = [("LOCATION", "https://meet.google.com/lookup/abc")]
        chosen = choose(candidates(fields, cut(MEET)), self.JOINABLE)
        assert chosen is not None
        assert chosen.field == "BODY"

    def test_none_joinable_gives_the_first(self) -> None:
        chosen = choose(candidates([("DESCRIPTION", JOIN), ("LOCATION", ZOOM)]), self.JOINABLE)
        assert chosen is not None
        assert chosen.link.url == ZOOM

    def test_nothing_found(self) -> None:
        assert choose((), self.JOINABLE) is None


PIECES = st.sampled_from(
    [
        *SAMPLES, SHORT, LIGHT, BLOCK, "https://", "http://", "zoommtg://", "msteams:", "meet.google.com",
        "zoom.us", "evil.example", "teams.microsoft.com", "/abc-defg-hij", "/j/123456789", "@", ":", ":443",
        ":8443", "/", "\\", ".", "?url=", "#", "%", "%2F", "&amp;", "&#", ";", "<a href=", '"', "'", ">",
        "</script>", "<script>", "<!--", "-->", " ", "\n", "\u200b", "\u0435", "\ud800", "xn--", "**", "__;",
        "!!", "https://www.google.com/url?q=", "https://urldefense.com/v3/__", "https://meet.jit.si/",
        "https://urldefense.proofpoint.com/v2/url?u=", "https://acme.webex.com/meet/",
    ]
)  # fmt: skip
SOUP = st.lists(PIECES | st.text(max_size=6), max_size=12).map("".join)


def is_own_host(link: Link) -> bool:
    host = urlsplit(link.url).hostname or ""
    rows = [platform for platform in PLATFORMS if platform.name == link.platform]
    return any(host in row.hosts or host.endswith(row.suffixes) for row in rows)


class TestAlways:
    @given(SOUP)
    def test_a_link_is_of_its_platform_and_reads_as_itself(self, text: str) -> None:
        link = classify(text)
        if link is not None:
            assert is_own_host(link)
            assert link.url.startswith("https://")
            assert classify(link.url) == link

    @given(st.sampled_from(["https://meet.jit.si/", "https://zoom.us/j/123456789?pwd=", SHORT, "https://acme.webex.com/meet/"]),
           st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=300))  # fmt: skip
    def test_what_a_link_keeps_is_stable(self, start: str, rest: str) -> None:
        link = classify(start + rest)
        assert link is None or classify(link.url) == link

    @given(st.lists(st.tuples(st.sampled_from(FIELDS), SOUP), max_size=4))
    def test_texts_never_raise_and_give_only_own_hosts(self, fields: list[tuple[str, str]]) -> None:
        for candidate in candidates(fields):
            assert is_own_host(candidate.link)
            assert classify(candidate.link.url) == candidate.link

    @given(st.text(max_size=200))
    def test_any_text_at_all(self, text: str) -> None:
        classify(text)
        candidates([(name, text) for name in FIELDS])

    @given(st.text(st.characters(blacklist_characters="?#/\\"), max_size=20), st.text(max_size=20))
    def test_meet_only_on_its_true_host(self, before: str, between: str) -> None:
        url = f"https://{before}meet.google.com{between}/abc-defg-hij"
        link = classify(url)
        if link is not None and link.platform == "google_meet":
            assert before == ""
            assert (between + "/")[0] in "/:?#"
            assert urlsplit(url).hostname == "meet.google.com"

    @given(
        st.sampled_from(["evil.example/", "evil.example?u=", "evil.example#", "x@", "meet.google.com@x.example/"]),
        st.sampled_from(["", "https://", "//"]),
    )
    def test_meet_embedded_in_another_url_is_nothing(self, start: str, scheme: str) -> None:
        url = f"https://{start}{scheme}meet.google.com/abc-defg-hij"
        assert classify(url) is None
        assert candidates([("DESCRIPTION", url)]) == ()


ADVERSARIAL = {
    "tags": "<a " * 33_000,
    "open quotes": '<a href="' * 11_000,
    "attributes": "<a " + "href " * 20_000 + ">",
    "comments": "<!--" * 25_000,
    "entities": "&amp;" * 20_000,
    "schemes": "https://" * 12_500,
    "hosts": "".join(f"a.bc/{n} " for n in range(11_000)),
    "one host": "a." * 50_000,
    "one path": MEET + "a" * 100_000,
    "blocks": ("-::~" + ":~" * 99) * 500,
    "wrappers": "".join(safelink(f"https://zoom.us/j/{n}") + " " for n in range(100_000_000, 100_000_900)),
    "proofpoint": "https://urldefense.com/v3/__" + "*" * 100_000 + "__;AAAA!!",
    "lists": "https://a.b/" + ",https://a.b/c" * 7_000,
    "threads": ("19:" + "a" * 97) * 1_000,
    "spaces": " \n" * 50_000,
}


class TestTime:
    @pytest.mark.parametrize("text", ADVERSARIAL.values(), ids=list(ADVERSARIAL))
    def test_the_worst_texts_are_read_at_once(self, text: str) -> None:
        start = time.process_time()
        candidates([("DESCRIPTION", text), ("X-MICROSOFT-SKYPETEAMSPROPERTIES", text)])
        assert time.process_time() - start < 0.5
