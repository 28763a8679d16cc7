"""The settings: what is wrong with them is said, all at once without secrets; what is made from them is true."""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from pathlib import Path

import pytest

from gateway.advice import doubts, refusals
from gateway.config import BadConfig, Read, load, read
from gateway.in_force import as_toml, in_force
from gateway.kinds import Secret
from gateway.outline import Setting, settings, without_password
from gateway.settings import Settings
from gateway.toml_text import literal
from tools import reference

SECRET = "hunter2"  # noqa: S105 - it is none


def reading(tmp_path: Path, text: str = "", **variables: str) -> Read:
    """What is read of a file and of an environment; GATEWAY_ stands before each variable."""
    path = tmp_path / "gateway.toml"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return read(path, None, {f"GATEWAY_{name}": value for name, value in variables.items()})


def kept(tmp_path: Path, content: str = SECRET, mode: int = 0o600) -> str:
    path = tmp_path / "secret"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    path.chmod(mode)
    return str(path)


# What is made from the model.


def test_every_setting_has_a_description_of_one_sentence() -> None:
    fields = [(one.name, one.field.description) for one in settings().values()]
    fields += [(f"{one.name}.{n}", f.description) for one in settings().values() for n, f in one.entries.items()]
    assert [name for name, told in fields if not (told or "").endswith(".") or re.search(r"\. [A-Z]", told or "")] == []


def test_what_is_made_from_the_code_is_what_it_makes() -> None:
    assert reference.differing() == [], "run make generated"


def test_the_example_as_it_stands_changes_nothing(tmp_path: Path) -> None:
    found = reading(tmp_path, reference.example())
    assert (found.faults, found.settings, dict(found.origins)) == ((), Settings(), {})


def uncommented(line: str) -> str:
    return re.sub(r"^#(?=[a-z_]+ = )", "", line)


def test_the_example_without_its_marks_is_the_defaults_and_the_examples_of_what_has_none(tmp_path: Path) -> None:
    lines = reference.example().splitlines()
    found = reading(tmp_path, "\n".join(map(uncommented, lines)))
    assert found.faults == ()
    assert {one.path for one in settings().values() if not one.is_table} <= found.origins.keys()
    values, defaults = found.settings.model_dump(mode="json"), Settings().model_dump(mode="json")
    for one in settings().values():
        value, default = values, defaults
        for name in one.path:
            value, default = value[name], default[name]
        expected = default if default not in (None, {}) else (one.field.examples or [None])[0]
        assert value == expected, one.name


@pytest.mark.parametrize(
    "number", [n for n, one in enumerate(reference.example().splitlines()) if uncommented(one) != one]
)
def test_each_line_of_the_example_can_be_used_by_itself(tmp_path: Path, number: int) -> None:
    lines = reference.example().splitlines()
    lines[number] = uncommented(lines[number])
    found = reading(tmp_path, "\n".join(lines))
    assert len(found.origins) in (1, 2)  # an entry of targets has two
    assert [one for one in found.faults if "smtp.tls_" not in one] == []  # these three go together


@pytest.mark.parametrize("one", settings().values(), ids=lambda one: one.name)
def test_an_example_of_a_setting_is_a_value_of_it(tmp_path: Path, one: Setting) -> None:
    for example in one.field.examples or ():
        text = f"[{one.path[0]}]\n" * (len(one.path) > 1) + f"{one.path[-1]} = {literal(example)}"
        found = reading(tmp_path, text)
        assert [fault for fault in found.faults if "smtp.tls_" not in fault and "needs senders" not in fault] == []


# What is secret.


def test_what_looks_like_a_secret_is_marked() -> None:
    looks = re.compile(r"password|secret|token|(?<!tls_)key$")
    some = {one.name: one.field for one in settings().values()}
    some |= {f"{one.name}.{inner}": field for one in settings().values() for inner, field in one.entries.items()}
    marked = {name for name, field in some.items() if Secret.ALL in field.metadata}
    assert marked == {name for name in some if looks.search(name)}
    assert marked == {"metrics.token", "platform.api_key", "relay.password", "targets.api_key"}
    within = {name for name, field in some.items() if Secret.WITHIN in field.metadata}
    assert within == {name for name in some if name.endswith("url")}
    assert {name for name in marked | {"store.url"} if some[name].repr} == set()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://gateway@db/x", "postgresql://gateway@db/x"),
        ("postgresql://gateway:hunter2@db/x", "postgresql://gateway:…@db/x"),
        ("postgresql://gateway:hun@ter2/hunter2@db/x", "postgresql://gateway:…@db/x"),
        (
            "postgresql://db/x?user=a&password=hunter2&sslmode=require",
            "postgresql://db/x?user=a&password=…&sslmode=require",
        ),
        ("https://u:hunter2@platform.example/?token=hunter2", "https://u:…@platform.example/?token=…"),
        ("sqlite:////var/lib/a.db", "sqlite:////var/lib/a.db"),
    ],
)
def test_the_password_within_an_address(address: str, told: str) -> None:
    assert without_password(address) == told


SECRETS_THAT_ARE_WRONG = [
    ("[platform]\napi_key = ' hunter2 '", {}),
    ("[platform]\napi_key = ['hunter2']", {}),
    ("[platform]\nbase_url = 'ftp://u:hunter2@x.example'", {}),
    ("[metrics]\ntoken = 'hunter2 é'", {}),
    ("relay = 'hunter2'", {}),
    ("[[relay]]\npassword = 'hunter2'", {}),
    ("[relay]\npasword = 'hunter2'", {}),
    ("[targets.scenario_meeting]\napi_key = 'hunter2'", {}),
    ("[targets]\nscenario_meeting = 'hunter2'", {}),
    ("[targets.scenario_meeting]\nbase_url = 'https://x.example'\napi_key = \"\\thunter2\"", {}),
    ("[store]\nurl = ['postgresql://u:hunter2@db/x']", {}),
    ("[store]\nurl = 'hunter2:hunter2'", {}),
    ("[store]\nurl = 'postgresql://u:hunter2'", {}),
    ("[store]\nurl = 'postgresql://u:hunter2@[db/x'", {}),
    ("[store]\nurl = 'postgresql://u:a@hunter2/b@db:1/x'", {}),
    ("", {"STORE__URL": "postgresql://u:@hunter2:x@db:y/x"}),
    ("", {"RELAY": "hunter2"}),
    ("", {"RELAY": '{"password": ["hunter2"]}'}),
    ("", {"TARGETS": "{hunter2"}),
    ("", {"TARGETS__SCENARIO_MEETING": '{"api_key": "hunter2"}'}),
    ("", {"PLATFORM__API_KEY": "hunter2 "}),
    ("", {"RELAY__PASSWROD": "hunter2"}),
]


@pytest.mark.parametrize(("text", "variables"), SECRETS_THAT_ARE_WRONG)
def test_no_sentence_has_a_secret(tmp_path: Path, text: str, variables: dict[str, str]) -> None:
    found = reading(tmp_path, text, **variables)
    told = [*found.faults, *refusals(found.settings)]
    assert told
    assert SECRET not in " ".join(told)


def test_the_repr_of_settings_has_no_secret(tmp_path: Path) -> None:
    found = reading(
        tmp_path,
        STORE__URL="postgresql://u:hunter2@db/x",
        RELAY__PASSWORD=SECRET,
        PLATFORM__API_KEY=SECRET,
        METRICS__TOKEN=SECRET,
        TARGETS__SCENARIO_MEETING='{"base_url": "https://x.example", "api_key": "hunter2"}',
    )
    assert (found.faults, SECRET in repr(found.settings)) == ((), False)


# Secrets from files.


@pytest.mark.parametrize(
    ("content", "value"),
    [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2"), (" hunter2 é \n", " hunter2 é ")],
)
def test_a_secret_is_read_from_its_file(tmp_path: Path, content: str, value: str) -> None:
    found = reading(tmp_path, "[relay]\npassword = 'another'", RELAY__PASSWORD_FILE=kept(tmp_path, content))
    assert (found.faults, found.settings.relay.password) == ((), value)


@pytest.mark.parametrize("one", settings().values(), ids=lambda one: one.name)
def test_any_setting_can_be_in_a_file_of_its_own(tmp_path: Path, one: Setting) -> None:
    value = (one.field.examples or [Settings().model_dump(mode="json")])[0]
    for name in one.path if not one.field.examples else ():
        value = value[name]
    path = kept(tmp_path, value if isinstance(value, str) else json.dumps(value))
    found = reading(tmp_path, **{f"{one.variable.removeprefix('GATEWAY_')}_FILE": path})
    assert [fault for fault in found.faults if "smtp.tls_" not in fault and "needs senders" not in fault] == []
    assert {place[: len(one.path)] for place in found.origins} == {one.path}
    assert {origin.path for origin in found.origins.values()} == {path}


@pytest.mark.parametrize("name", ["TARGETS__SCENARIO_MEETING__API_KEY_FILE", "targets__Scenario_Meeting__api_key_file"])
def test_a_tables_entry_can_be_in_a_file(tmp_path: Path, name: str) -> None:
    found = reading(tmp_path, TARGETS__SCENARIO_MEETING__BASE_URL="https://x.example", **{name: kept(tmp_path)})
    assert (found.faults, found.settings.targets["scenario_meeting"].api_key) == ((), SECRET)


def test_an_account_may_be_called_file(tmp_path: Path) -> None:
    found = reading(tmp_path, DOMAINS__A_FILE="a.example")
    assert (found.faults, found.settings.domains) == ((), {"a_file": "a.example"})


def test_a_file_that_cannot_be_read_or_is_one_too_many_is_a_sentence(tmp_path: Path) -> None:
    nowhere = reading(tmp_path, RELAY__PASSWORD_FILE=f"{tmp_path}/none")
    assert nowhere.faults == (
        f"GATEWAY_RELAY__PASSWORD_FILE: {tmp_path}/none cannot be read: No such file or directory.",
    )
    folder = reading(tmp_path, RELAY__PASSWORD_FILE=str(tmp_path))
    assert folder.faults == (f"GATEWAY_RELAY__PASSWORD_FILE: {tmp_path} cannot be read: Is a directory.",)
    binary = reading(tmp_path, RELAY__PASSWORD_FILE=kept(tmp_path, "\udcff"))
    assert binary.faults == (f"GATEWAY_RELAY__PASSWORD_FILE: {tmp_path}/secret is not text in UTF-8.",)
    both = reading(tmp_path, RELAY__PASSWORD=SECRET, RELAY__PASSWORD_FILE=kept(tmp_path))
    assert both.faults == (
        "GATEWAY_RELAY__PASSWORD and GATEWAY_RELAY__PASSWORD_FILE both give relay.password; keep one of them.",
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("hunter2\nhunter2\n", "has more than one line."),
        ("hunter2\n\n", "has more than one line."),
        ("hunter2\rhunter2", "has more than one line."),
        ("hunter2\0", "is not text: there are control characters in it."),
        ("hunter2\t", "is not text: there are control characters in it."),
        ("hunter2\x85", "is not text: there are control characters in it."),
        ("\ufeffhunter2", "begins with a byte order mark; save it without."),
        ("hunter2" * 10_000, "is larger than 64 kB."),
    ],
)
def test_a_file_that_is_no_one_line_of_text_is_a_sentence_without_what_is_in_it(
    tmp_path: Path, content: str, says: str
) -> None:
    found = reading(tmp_path, RELAY__PASSWORD_FILE=kept(tmp_path, content))
    assert found.faults == (f"GATEWAY_RELAY__PASSWORD_FILE: {tmp_path}/secret {says}",)


def test_only_a_regular_file_is_read_also_by_a_link(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("/dev/zero", "/dev/null", str(tmp_path / "fifo")):
        found = reading(tmp_path, RELAY__PASSWORD_FILE=name)
        assert found.faults == (f"GATEWAY_RELAY__PASSWORD_FILE: {name} is not a regular file.",)
    assert reading(tmp_path, RELAY__PASSWORD_FILE="").faults == ("GATEWAY_RELAY__PASSWORD_FILE names no file.",)
    (tmp_path / "link").symlink_to(kept(tmp_path))
    linked = reading(tmp_path, RELAY__PASSWORD_FILE=f"{tmp_path}/link")
    assert (linked.faults, linked.settings.relay.password) == ((), SECRET)


def test_a_table_in_a_file_may_have_lines(tmp_path: Path) -> None:
    found = reading(tmp_path, DOMAINS_FILE=kept(tmp_path, '{\n\t"acme": "a.example"\r\n}\n\n'))
    assert (found.faults, found.settings.domains) == ((), {"acme": "a.example"})


# The environment.


@pytest.mark.parametrize("text", ["smtp,http", " http , smtp", '["smtp", "http"]', ' ["http", "smtp"]'])
def test_roles_as_words_or_as_json(tmp_path: Path, text: str) -> None:
    found = reading(tmp_path, ROLES=text)
    assert (found.faults, found.settings.roles) == ((), ("smtp", "http"))


@pytest.mark.parametrize("text", ["zoom,teams", " zoom , teams ", '["zoom", "teams"]', ' [\n"zoom",\n"teams"]'])
def test_a_list_as_words_or_as_json(tmp_path: Path, text: str) -> None:
    for variables in ({"PLATFORM__JOINABLE": text}, {"PLATFORM__JOINABLE_FILE": kept(tmp_path, text + "\n")}):
        found = reading(tmp_path, **variables)
        assert (found.faults, found.settings.platform.joinable) == ((), ("zoom", "teams"))


def test_networks_as_words(tmp_path: Path) -> None:
    found = reading(tmp_path, METRICS__NETWORKS="10.0.0.0/8,2001:db8::/32", SMTP__PROXY_FROM="10.0.0.5")
    networks = [*found.settings.metrics.networks, *found.settings.smtp.proxy_from]
    assert (found.faults, list(map(str, networks))) == ((), ["10.0.0.0/8", "2001:db8::/32", "10.0.0.5/32"])


@pytest.mark.parametrize("text", ["", "a.example,", ",", "a.example\nb.example", '["a.example"', '"a.example'])
def test_a_list_with_a_word_that_is_none(tmp_path: Path, text: str) -> None:
    (fault,) = reading(tmp_path, PLATFORM__JITSI_HOSTS=text).faults
    assert fault == (
        f'GATEWAY_PLATFORM__JITSI_HOSTS is written as a,b or as JSON, for example ["a", "b"], not {text!r}.'
    )


def test_the_deeper_name_wins_and_the_environment_over_the_file(tmp_path: Path) -> None:
    found = reading(
        tmp_path, "[smtp]\nport = 1\nmax_refused = 3", SMTP__PORT="26", SMTP='{"port": 25, "max_commands": 10}'
    )
    smtp = found.settings.smtp
    assert (found.faults, smtp.port, smtp.max_commands, smtp.max_refused) == ((), 26, 10, 3)


# What is wrong.

AS_PERCENT = "write @ as %40 and / as %2F within the password."
NO_HOST = "the host is a name, an IPv4 address, or an IPv6 address in [ ]."
IN_MEMORY = (
    "sqlite://",
    "sqlite:///",
    "sqlite:///:memory:",
    "sqlite+pysqlite://",
    "sqlite+pysqlite:///:memory:",
    "sqlite:///file:x?mode=memory&cache=shared&uri=true",
    "sqlite:///file::memory:?cache=shared&uri=true",
    "sqlite:///file:%3Amemory%3A?uri=true",
    "sqlite:///file:/x?vfs=memdb&uri=true",
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[smtp]\nprot = 25", "smtp.prot is not a setting; the nearest is smtp.port."),
        ("[smtp]\npublc_url = ''", "smtp.publc_url is not a setting; the nearest is http.public_url."),
        ("[platfrom]\nbase_url = ''", "platfrom is not a setting; the nearest is platform."),
        ("public_url = ''", "public_url is not a setting; the nearest is http.public_url."),
        ("api_key = ''", "api_key is not a setting; the nearest is platform.api_key."),
        (
            "[quotas]\njoins_per_inviters = 5",
            "quotas.joins_per_inviters is not a setting; the nearest is quotas.joins_per_inviter.",
        ),
        ("'smtp.port' = 3", '"smtp.port" is not a setting; write port beneath [smtp].'),
        ("'domains.acme' = 'a.example'", '"domains.acme" is not a setting; write acme beneath [domains].'),
        (
            "'targets.scenario_meeting.api_key' = 'x'",
            '"targets.scenario_meeting.api_key" is not a setting; write api_key beneath [targets.scenario_meeting].',
        ),
        ("'smtp.prot' = 3", "smtp.prot is not a setting; the nearest is smtp.port."),
        ("[SMTP]\nport = 3", "SMTP is not a setting; the nearest is smtp."),
        ("SMTP.port = 3", "SMTP is not a setting; the nearest is smtp."),
        ("[smtp]\nPORT = 3", "smtp.PORT is not a setting; the nearest is smtp.port."),
        ("zzzzzz = 1", "zzzzzz is not a setting."),
        (
            "[targets.scenario_meeting]\nbase_url = 'https://x.example'\napi_kye = 'x'",
            "targets.scenario_meeting.api_kye is not a setting; the nearest is targets.scenario_meeting.api_key.",
        ),
        (
            "[targets.scenario_meting]\nbase_url = 'https://x.example'\napi_key = 'x'",
            "targets: 'scenario_meting' is not a further target; the nearest is scenario_meeting.",
        ),
        *((f"[store]\nurl = '{url}'", f"store.url: {url} keeps nothing; write sqlite:///PATH.") for url in IN_MEMORY),
        ("[store]\nurl = 'postgresql://u:SEC@RET/P@127.0.0.1:1/x'", f"store.url: {AS_PERCENT}"),
        ("[store]\nurl = 'postgresql://u:hun@ter2@db/x?sslmode=require'", f"store.url: {AS_PERCENT}"),
        ("[store]\nurl = 'postgresql://hun/ter2@db/x'", f"store.url: {AS_PERCENT}"),
        ("[store]\nurl = 'postgresql://u:hunter2@db:notaport/x'", "store.url: the port is a number from 1 to 65535."),
        ("[store]\nurl = 'postgresql://u:hunter2'", "store.url: the port is a number from 1 to 65535."),
        ("[store]\nurl = 'postgresql://db:/x'", "store.url: the port is a number from 1 to 65535."),
        ("[store]\nurl = 'postgresql://db:65536/x'", "store.url: the port is a number from 1 to 65535."),
        ("[store]\nurl = 'postgresql://u:hunter2@[db/x'", f"store.url: {NO_HOST}"),
        ("[store]\nurl = 'postgresql://u:hunter2@[::1/x'", f"store.url: {NO_HOST}"),
        ("[http]\nport = true", "http.port: write a number, not true."),
        ("[retention]\ndays = true", "retention.days: write a number, not true."),
        ("[metrics]\nport = false", "metrics.port: write a number, not false."),
        ("[smtp]\ndata_seconds = true", "smtp.data_seconds: write a number, not true."),
        ("stop_seconds = true", "stop_seconds: write a number, not true."),
        (
            f"[smtp]\nlmtp_socket = '/{'é' * 53}a'",
            f"smtp.lmtp_socket: the path of a socket has at most 107 bytes, not '/{'é' * 53}a'.",
        ),
        ("log = 'jsn'", "log: input should be 'people' or 'json', not 'jsn'."),
        ("smtp = 25", "smtp: it is a table; write [smtp] and its settings beneath it."),
        ("[targets.scenario_meeting]\napi_key = 'x'", "targets.scenario_meeting.base_url is missing."),
        ("[smtp]\nport = 70000", "smtp.port: input should be less than or equal to 65535, not 70000."),
    ],
)
def test_what_is_wrong_in_a_file_gets_its_mend(tmp_path: Path, text: str, says: str) -> None:
    assert reading(tmp_path, text).faults == (says,)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///var/a@b.db",
        "sqlite:////var/lib/memory/:a:.db",
        "postgresql:///x",
        "postgresql://u@/x?host=/run/postgresql",
        "postgresql://u:hun%40ter%2F2@db.example.com:5432/x?options=-c%20a@b",
        "postgresql+psycopg://u:hun/ter?#2@[2001:db8::1]:5432/x",
        "postgresql://db",
    ],
)
def test_a_store_that_keeps_and_can_be_found(tmp_path: Path, url: str) -> None:
    found = reading(tmp_path, STORE__URL=url)
    assert (found.faults, list(refusals(found.settings)), found.settings.store.url) == ((), [], url)


def test_no_command_begins_with_a_store_that_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_STORE__URL", "sqlite://")
    with pytest.raises(BadConfig, match=r"^store\.url: sqlite:// keeps nothing; write sqlite:///PATH\.$"):
        load(None)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("SMTP__PROT", "the nearest is GATEWAY_SMTP__PORT."),
        ("SMTP_PORT", "the nearest is GATEWAY_SMTP__PORT."),
        ("SMTP__PUBLC_URL", "the nearest is GATEWAY_HTTP__PUBLIC_URL."),
        ("PLATFROM__BASE_URL", "the nearest is GATEWAY_PLATFORM__BASE_URL."),
        ("RELAY__PASWORD_FILE", "the nearest is GATEWAY_RELAY__PASSWORD_FILE."),
        ("TARGETS__SCENARIO_MEETING__API_KYE", "the nearest is GATEWAY_TARGETS__SCENARIO_MEETING__API_KEY."),
        ("DOMAIN__ACME", "the nearest is GATEWAY_DOMAIN."),
        ("CONFIG_FILE", "the nearest is GATEWAY_CONFIG."),
        ("CONFG", "the nearest is GATEWAY_CONFIG."),
        ("TARGETS__", "the nearest is GATEWAY_TARGETS."),
        ("SMTP__", "the nearest is GATEWAY_SMTP__HOST."),
        ("PLATFROM", "the nearest is GATEWAY_PLATFORM."),
    ],
)
def test_a_misspelt_variable_gets_the_nearest(tmp_path: Path, name: str, says: str) -> None:
    assert reading(tmp_path, **{name: "x"}).faults == (f"GATEWAY_{name} is not a setting; {says}",)


@pytest.mark.parametrize("one", settings().values(), ids=lambda one: one.name)
def test_only_what_is_true_or_false_may_be_a_boolean(tmp_path: Path, one: Setting) -> None:
    for text in ("true", "false"):
        found = reading(tmp_path, "\n".join([*(f"[{name}]" for name in one.path[:-1]), f"{one.path[-1]} = {text}"]))
        wrong = [fault for fault in found.faults if "nothing to mirror" not in fault]
        assert len(wrong) == (one.field.annotation is not bool), wrong


def test_a_boolean_is_no_number_in_the_environment_either(tmp_path: Path) -> None:
    (fault,) = reading(tmp_path, RETENTION__DAYS="true").faults
    assert fault.startswith("retention.days: input should be a valid integer")
    assert fault.endswith("(from GATEWAY_RETENTION__DAYS).")
    in_json = reading(tmp_path, RETENTION='{"days": true}')
    assert in_json.faults == ("retention.days: write a number, not true (from GATEWAY_RETENTION).",)


@pytest.mark.parametrize("name", ["CONFIG_FILE", "CONFIGS_FILE", "JOININ_FILE", "SMTP___FILE"])
def test_what_is_proposed_for_a_variable_is_one(tmp_path: Path, name: str) -> None:
    (fault,) = reading(tmp_path, **{name: "x"}).faults
    proposed = fault.removesuffix(".").rpartition("the nearest is GATEWAY_")[2]
    assert [one for one in reading(tmp_path, **{proposed: "x"}).faults if "is not a setting" in one] == []


def test_all_that_is_wrong_is_said_at_once_and_nothing_that_follows_from_it(tmp_path: Path) -> None:
    found = reading(
        tmp_path,
        "[smtp]\ntls_certificate = 'c.pem'\ntls_kye = 'k.pem'\nport = 'many'\n"
        "[platform]\njoinable = ['zom']\nmirror_pals = true",
        PLATFORM__BASE_URL="ftp://x",
        RETENTION__DAY="3",
    )
    assert found.faults == (
        "GATEWAY_RETENTION__DAY is not a setting; the nearest is GATEWAY_RETENTION__DAYS.",
        "smtp.port: input should be a valid integer, unable to parse string as an integer, not 'many'.",
        "smtp.tls_kye is not a setting; the nearest is smtp.tls_key.",
        "platform.base_url: write an http or https address, not 'ftp://x' (from GATEWAY_PLATFORM__BASE_URL).",
        "platform.joinable: 'zom' is not a platform; the nearest is zoom.",
    )


def test_a_start_says_the_first_and_how_many_more(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("a1 = 1\nb2 = 2\nc3 = 3")
    with pytest.raises(BadConfig, match=r"^a1 is not a setting\. 2 more: see pal-gateway config check\.$"):
        load(path)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert reading(tmp_path, "\N{ZERO WIDTH NO-BREAK SPACE}[smtp]\nport = 26").settings.smtp.port == 26


def test_the_longest_path_of_a_socket(tmp_path: Path) -> None:
    found = reading(tmp_path, SMTP__LMTP_SOCKET="/" + "é" * 53)
    assert (found.faults, str(found.settings.smtp.lmtp_socket)) == ((), "/" + "é" * 53)


# What a start would refuse, and what is likely a mistake.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[store]\nurl = 'here'", "store.url is not a store"),
        ("[store]\nurl = 'nosuch://x/y'", "store.url is not a store"),
        ("[store]\nurl = 'mysql://u:s@h/db'", "store.url is not a store"),
        ("[store]\nurl = 'sqlite+aiosqlite:///x'", "store.url is not a store"),
        ("[smtp]\ntls_certificate = '/no/c.pem'\ntls_key = '/no/k.pem'", "/no/c.pem cannot be read"),
        ("[http]\nport = 2525", "smtp.port and http.port are both 2525 at 127.0.0.1"),
        ("[metrics]\nport = 8080", "http.port and metrics.port are both 8080 at 127.0.0.1"),
    ],
)
def test_what_a_start_would_refuse(tmp_path: Path, text: str, says: str) -> None:
    (told,) = refusals(reading(tmp_path, text).settings)
    assert told.startswith(says)


def test_a_certificate_is_the_matter_of_a_process_that_takes_mail(tmp_path: Path) -> None:
    text = "roles = ['http', 'scheduler']\n[smtp]\ntls_certificate = '/no/c.pem'\ntls_key = '/no/k.pem'"
    found = reading(tmp_path, text)
    assert (found.faults, list(refusals(found.settings))) == ((), [])


RELAY = "domain = 'pals.example'\n[relay]\nhost = 'smtp.example.com'\n"
PLATFORM = "domain = 'pals.example'\n[platform]\nbase_url = 'https://platform.example.com"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (RELAY + "username = 'a'", "relay.username is set without relay.password"),
        (RELAY + "password = 'a'", "relay.password is set without relay.username"),
        ("[relay]\nusername = 'a'\npassword = 'b'", "relay.host is not set"),
        ("[relay]\nhost = 'smtp.example.com'", "domain is the example's"),
        (PLATFORM + "'", "platform.api_key is still 'sandbox'"),
        (PLATFORM + "/v2/'\napi_key = 'x'", "platform.base_url ends in /v2"),
        ("[platform]\napi_key = 'x'", "platform.api_key is set without platform.base_url"),
        ("[http]\nhost = '0.0.0.0'", "http.host is 0.0.0.0, but http.public_url is not set"),
        ("[http]\nhost = '::'", "http.host is ::, but http.public_url is not set"),
        ("[senders]\nsender_auth = 'off'", "senders.sender_auth is off"),
        (
            "[senders]\npinned_peers = ['10.0.0.0/8', '0.0.0.0/0']",
            "senders.pinned_peers has 0.0.0.0/0, where everybody",
        ),
        ("[smtp]\nproxy_from = ['::/0', '0.0.0.0/0']", "smtp.proxy_from has ::/0, where everybody"),
        ("[smtp]\nxclient_from = ['0.0.0.0/0']", "smtp.xclient_from has 0.0.0.0/0, where everybody"),
    ],
)
def test_what_is_likely_a_mistake(tmp_path: Path, text: str, says: str) -> None:
    found = reading(tmp_path, text)
    (told,) = doubts(found.settings, found.origins)
    assert (found.faults, told.startswith(says)) == ((), True), told


@pytest.mark.parametrize(
    "text",
    [
        "",
        RELAY + "username = 'a'\npassword = 'b'",
        PLATFORM + "'\napi_key = 'x'",
        "roles = ['smtp', 'scheduler']\n[http]\nhost = '0.0.0.0'",
        "[http]\nhost = '0.0.0.0'\npublic_url = 'https://gateway.example.com'",
        "[http]\nhost = 'localhost'",
    ],
)
def test_what_is_none(tmp_path: Path, text: str) -> None:
    found = reading(tmp_path, text)
    assert (found.faults, list(doubts(found.settings, found.origins))) == ((), [])


def test_a_secret_that_every_user_can_read() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        variables = {"RELAY__USERNAME": "a", "RELAY__HOST": "r.example", "DOMAIN": "pals.example"}
        found = reading(folder, **variables, RELAY__PASSWORD_FILE=kept(folder, mode=0o644))
        (told,) = doubts(found.settings, found.origins)
        assert told.startswith(f"{name}/secret can be read by every user of this machine, and relay.password is in it")
        folder.chmod(0o700)
        assert list(doubts(found.settings, found.origins)) == []


# The settings in force.


def test_what_is_shown_can_be_read_back_and_says_where_it_is_from(tmp_path: Path) -> None:
    text = (
        "log = 'json'\n[smtp]\nproxy_from = ['10.0.0.5/32']\nlmtp_socket = \"/run/a\\u0007b\"\n"
        "[domains]\n'Beta Ltd' = 'b.example'"
    )
    variables = {
        "HTTP__PORT": "0",
        "RELAY__PASSWORD_FILE": kept(tmp_path),
        "STORE__URL": "postgresql://u:hunter2@db/x",
        "TARGETS__SCENARIO_MEETING__BASE_URL": "https://x.example",
        "TARGETS__SCENARIO_MEETING__API_KEY": SECRET,
    }
    found = reading(tmp_path, text, **variables)
    shown = "\n".join(as_toml(in_force(found)))
    assert SECRET not in shown
    for line in (
        f'log = "json"  # {tmp_path}/gateway.toml',
        "port = 0  # GATEWAY_HTTP__PORT",
        "port = 2525  # default",
        f'# password = "…"  # hidden; GATEWAY_RELAY__PASSWORD_FILE={tmp_path}/secret',
        '# url = "postgresql://u:…@db/x"  # hidden; GATEWAY_STORE__URL',
        'api_key = "sandbox"  # default',
        '# api_key = "…"  # hidden; GATEWAY_TARGETS__SCENARIO_MEETING__API_KEY',
        "# tls_port is not set",
    ):
        assert line in shown.splitlines()
    plain = ("HTTP__PORT", "TARGETS__SCENARIO_MEETING__BASE_URL")
    hidden = {name: value for name, value in variables.items() if name not in plain}
    again = reading(tmp_path, shown, **hidden)
    assert (again.faults, again.settings) == ((), found.settings)


def test_what_is_shown_of_defaults_is_the_defaults(tmp_path: Path) -> None:
    shown = "\n".join(as_toml(in_force(reading(tmp_path))))
    assert Settings.model_validate(tomllib.loads(shown)) == Settings()
