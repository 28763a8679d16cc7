"""PALs as HTTP clients describe them: a JSON document in, its faults or a checked document out. Pure.

Rules of this file (specification, "Create PAL" and "Patch PAL"):
- Every fault is named at once, by the path of the field.
- A document is bounded in size and depth, and can be written as UTF-8, before anything else looks at it.
- There is one document. The older names (persona, replica) are translated on the way in and out, by one table.
- `layers.conferencing` is ours; the other layers are kept as they are given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated, Any, Final, Literal, NoReturn

import jsonpatch
import jsonpointer
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from gateway.pals import MAX_ENTRIES, Pal, allowlist_fault, username_fault
from scheduler.targets import option_faults
from scheduler.zones import iana_names

MAX_DOCUMENT_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 64
MAX_FAULTS: Final = 100  # that are named at once
MAX_OPERATIONS: Final = 100
MAX_COPIES: Final = 5  # `copy` of a growing part doubles it each time

SECONDS: Final = ("max_call_duration", "participant_absent_timeout", "participant_left_timeout")

# Today's name -> the name of the older API.
LEGACY_NAMES: Final = {
    "pal_id": "persona_id",
    "pal_name": "persona_name",
    "default_face_id": "default_replica_id",
    "face_id": "replica_id",
}
_TODAYS_NAMES: Final = {old: new for new, old in LEGACY_NAMES.items()}


def _printable(text: str) -> str:
    if not text.isprintable():
        raise PydanticCustomError("unprintable", "Only printable characters can stand here")
    return text


Text = Annotated[str, StringConstraints(max_length=100_000)]
Name = Annotated[str, StringConstraints(max_length=200), AfterValidator(_printable)]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a document: where, and a sentence."""

    field: str
    message: str


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Conferencing(_Section):
    """The PAL's meeting identity."""

    username: Name | None = Field(default=None, description="The local part of its meeting address.")
    allowlist: list[str] | None = Field(default=None, description="Who may invite it: addresses or RE2 regexes.")
    time_zone: Name | None = Field(default=None, description="IANA zone for events that name none.")
    context: Literal["none", "title", "full"] = Field(
        default="title", description="What of the event the conversation is told about."
    )
    properties: dict[str, Any] = Field(default_factory=dict, description="Properties of its conversations.")
    target: dict[str, Any] | None = Field(default=None, description="Another join target than a conversation.")


class Layers(BaseModel):
    """The layers of a PAL; only `conferencing` is read here."""

    model_config = ConfigDict(extra="forbid")

    perception: dict[str, Any] | None = None
    stt: dict[str, Any] | None = None
    conversational_flow: dict[str, Any] | None = None
    llm: dict[str, Any] | None = None
    tts: dict[str, Any] | None = None
    conferencing: Conferencing | None = None


class PalDocument(_Section):
    """A PAL as it is created."""

    pal_name: Name | None = None
    system_prompt: Text | None = None
    pipeline_mode: Literal["full", "echo"] = "full"
    default_face_id: Name | None = None
    context: Text | None = None
    document_ids: list[Name] | None = None
    document_tags: list[Name] | None = None
    objectives_id: Name | None = None
    guardrail_ids: Annotated[list[Name], Field(max_length=50)] | None = None
    guardrail_tags: Annotated[list[Name], Field(max_length=50)] | None = None
    guardrails_id: Name | None = None
    layers: Layers | None = None


def faults_of(document: Any, *, legacy: bool = False) -> list[Fault]:
    """All that is wrong with a document in today's names; [] when it can be created.

    `legacy`: the older API did not ask for a face unless there is a conferencing layer.
    """
    if not isinstance(document, dict):
        return [Fault("", "The body must be a JSON object.")]
    fault = _unwritable(document)
    if fault is not None:
        return [fault]
    found = (fault for part in (_shape(document), _needs(document, legacy), _conferencing(document)) for fault in part)
    return list(islice(found, MAX_FAULTS))


def read_json(raw: bytes) -> Any | Fault:
    """What a body says, or why it is no JSON that can be kept."""
    try:
        said = json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        return Fault("", f"The body is not JSON: {str(error)[:200].encode('ascii', 'replace').decode()}.")
    fault = _unwritable(said)
    return said if fault is None else fault


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _unwritable(value: Any) -> Fault | None:
    """Why a value cannot be kept: too deep, too large, or not to be written as UTF-8 JSON."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return Fault("", f"JSON is nested at most {MAX_DEPTH} deep here.")
        nested = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [inner for container in nested for inner in container]
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except ValueError:  # a number beyond all bounds, half of a surrogate pair
        return Fault("", "The body has a number or a character that cannot be written.")
    return Fault("", f"A body is at most {MAX_DOCUMENT_BYTES // 1024} kB.") if size > MAX_DOCUMENT_BYTES else None


def _shape(document: dict[str, Any]) -> Iterator[Fault]:
    try:
        PalDocument.model_validate(document, strict=True)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False):
            field = ".".join(str(part) for part in one["loc"])
            message = "There is no such field." if one["type"] == "extra_forbidden" else one["msg"] + "."
            yield Fault(field, message)


def _needs(document: dict[str, Any], legacy: bool) -> Iterator[Fault]:
    if document.get("pipeline_mode", "full") != "echo" and not document.get("system_prompt"):
        yield Fault("system_prompt", "A system_prompt is required unless pipeline_mode is echo.")
    if document.get("default_face_id"):
        return
    if conferencing_of(document) is not None:
        yield Fault("default_face_id", "A default_face_id is required when layers.conferencing is set.")
    elif not legacy:
        yield Fault("default_face_id", "A default_face_id is required.")


def conferencing_of(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The conferencing layer of a document, None when there is none."""
    layers = document.get("layers")
    found = layers.get("conferencing") if isinstance(layers, dict) else None
    return found if isinstance(found, dict) else None


def _conferencing(document: dict[str, Any]) -> Iterator[Fault]:
    layer = conferencing_of(document)
    if layer is None:
        return
    where = "layers.conferencing."
    username, allowlist, zone = layer.get("username"), layer.get("allowlist"), layer.get("time_zone")
    if username is None:
        yield Fault(where + "username", "A username is required.")
    elif isinstance(username, str) and (fault := username_fault(username)):
        yield Fault(where + "username", fault)
    if isinstance(allowlist, list) and all(isinstance(one, str) for one in allowlist):
        yield from (Fault(where + name, fault) for name, fault in _allowlist_faults(allowlist))
    yield from property_faults(layer.get("properties"), where)
    if isinstance(layer.get("target"), dict):
        yield from (Fault(where + "target", fault) for fault in option_faults(layer["target"]))
    if isinstance(zone, str) and zone not in iana_names():
        yield Fault(where + "time_zone", "That is not an IANA time zone; write one like Europe/Berlin.")


def _allowlist_faults(entries: list[str]) -> Iterator[tuple[str, str]]:
    if len(entries) > MAX_ENTRIES:
        yield "allowlist", f"An allowlist has at most {MAX_ENTRIES} entries."
        return
    for number, entry in enumerate(entries):
        fault = allowlist_fault((entry,))
        if fault is not None:
            yield f"allowlist.{number}", fault


def property_faults(properties: Any, where: str) -> Iterator[Fault]:
    """What the platform would refuse when the meeting begins, after the invitation was accepted."""
    for name in SECONDS:
        value = properties.get(name, 1) if isinstance(properties, dict) else 1
        if type(value) is not int or value < 1:
            yield Fault(f"{where}properties.{name}", "It is a number of seconds, 1 or more.")


def patched(
    document: dict[str, Any], operations: Any, fixed: Mapping[str, Any] | None = None
) -> dict[str, Any] | list[Fault]:
    """The document after a JSON Patch (RFC 6902), or what is wrong with the patch. The document is not changed.

    What is added to a layer that is not there makes it, so that a username can be given to a PAL without conferencing.
    `fixed`: members that are shown beside the document; they can be tested, and not changed.
    """
    faults = _patch_faults(operations)
    if faults:
        return faults
    fixed = fixed or {}
    result: Any = deepcopy({**document, **fixed})
    for number, operation in enumerate(operations):
        result = _after(result, operation)
        if isinstance(result, str):
            return [Fault(str(number), f"The operation {number} (counted from 0) cannot be applied: {result}")]
    if not isinstance(result, dict):
        return [Fault("", "The patch leaves no JSON object.")]
    changed = [name for name, value in fixed.items() if result.pop(name, value) != value]
    return [Fault(name, "It cannot be changed.") for name in changed] or result


def _after(document: Any, operation: dict[str, Any]) -> Any | str:
    """The document after one operation, or a sentence; the document is used up."""
    if operation.get("op") in ("add", "copy", "move"):
        _make_room(document, operation.get("path"))
    try:
        return jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
    except jsonpatch.JsonPatchTestFailed:
        return "what it tests is not so."
    except jsonpatch.InvalidJsonPatch:
        return "it is no operation of RFC 6902."
    except _NOT_APPLICABLE:
        return "there is nothing at its path."


def _make_room(document: Any, path: Any) -> None:
    tokens = path.split("/")[1:] if isinstance(path, str) else []
    if len(tokens) < 2 or tokens[0] != "layers" or not isinstance(document, dict):
        return
    layers = document.setdefault("layers", {})
    if len(tokens) > 2 and tokens[1] in Layers.model_fields and isinstance(layers, dict) and not layers.get(tokens[1]):
        layers[tokens[1]] = {}


# jsonpatch raises what it meets; RecursionError: a copy of what the patch itself nested too deeply.
_NOT_APPLICABLE: Final = (
    jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, ValueError, LookupError, AttributeError,
    RecursionError,
)  # fmt: skip


def _patch_faults(operations: Any) -> list[Fault]:
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        return [Fault("", "The body must be a list of JSON Patch operations.")]
    if len(operations) > MAX_OPERATIONS or sum(one.get("op") == "copy" for one in operations) > MAX_COPIES:
        return [Fault("", f"A patch has at most {MAX_OPERATIONS} operations, {MAX_COPIES} of them copy.")]
    fault = _unwritable(operations)
    return [fault] if fault is not None else []


def completed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document without faults as it is kept: its name and mode said, its username in lower case, no null layers."""
    layer = conferencing_of(document)
    named = str(layer["username"]).lower() if layer else ""
    layers = {name: one for name, one in (document.get("layers") or {}).items() if one is not None}
    if layer:
        layers["conferencing"] = {**layer, "username": named, "allowlist": layer.get("allowlist") or []}
    return {
        **{name: value for name, value in document.items() if name != "layers"},
        "pal_name": document.get("pal_name") or named.capitalize() or "PAL",
        "pipeline_mode": document.get("pipeline_mode", "full"),
        **({"layers": layers} if layers else {}),
    }


def without_conferencing(document: Mapping[str, Any]) -> dict[str, Any]:
    """A complete document as the conversation platform has it: the conferencing layer is ours."""
    layers = {name: layer for name, layer in (document.get("layers") or {}).items() if name != "conferencing"}
    rest = {name: value for name, value in document.items() if name != "layers"}
    return {**rest, "layers": layers} if layers else rest


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The JSON Patch that makes one complete document the other at the platform; [] when they are the same there."""
    found = jsonpatch.make_patch(without_conferencing(before), without_conferencing(after)).patch
    return [dict(operation) for operation in found]


def pal_of(pal_id: str, account: str, document: Mapping[str, Any], domain: str) -> Pal:
    """The PAL that a complete document describes."""
    layer = conferencing_of(document)
    return Pal(
        id=pal_id,
        name=document["pal_name"],
        address=f"{layer['username']}@{domain}" if layer else "",
        face_id=document.get("default_face_id") or "",
        allowlist=tuple(layer["allowlist"]) if layer else (),
        zone=layer.get("time_zone") if layer else None,
        context=layer.get("context") or "title" if layer else "title",
        properties=dict(layer.get("properties") or {}) if layer else {},
        target=dict(layer.get("target") or {}) if layer else {},
        account=account,
    )


def document_of(pal: Pal) -> dict[str, Any]:
    """A complete document for a PAL that was described by a command."""
    conferencing = {"username": pal.address.partition("@")[0], "allowlist": list(pal.allowlist)}
    return {
        "pal_name": pal.name,
        "system_prompt": f"You are {pal.name}, a helpful meeting assistant.",
        "pipeline_mode": "full",
        "default_face_id": pal.face_id,
        "layers": {"conferencing": {**conferencing, **({"time_zone": pal.zone} if pal.zone else {})}},
    }


def to_legacy(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document under the older names."""
    return {LEGACY_NAMES.get(name, name): value for name, value in document.items()}


def from_legacy(document: Any) -> Any:
    """A document that may use the older names, under today's; where both stand, today's counts."""
    if not isinstance(document, dict):
        return document
    translated = {_TODAYS_NAMES[name]: value for name, value in document.items() if name in _TODAYS_NAMES}
    return {**translated, **{name: value for name, value in document.items() if name not in _TODAYS_NAMES}}


def operations_from_legacy(operations: Any) -> Any:
    """A patch whose paths may use the older names, under today's."""
    if not isinstance(operations, list):
        return operations
    return [_operation(one) if isinstance(one, dict) else one for one in operations]


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    paths = {name: _path(operation[name]) for name in ("path", "from") if isinstance(operation.get(name), str)}
    whole = {"value": from_legacy(operation["value"])} if operation.get("path") == "" and "value" in operation else {}
    return {**operation, **paths, **whole}


def _path(pointer: str) -> str:
    name = pointer[1:].partition("/")[0]
    if not pointer.startswith("/") or name not in _TODAYS_NAMES:
        return pointer
    return "/" + _TODAYS_NAMES[name] + pointer[1 + len(name) :]


def faults_to_legacy(faults: Sequence[Fault]) -> list[Fault]:
    """Faults that name the older fields."""
    return [replace(one, field=_older(one.field), message=_older(one.message)) for one in faults]


def _older(text: str) -> str:
    for new, old in sorted(LEGACY_NAMES.items(), key=lambda names: -len(names[0])):
        text = text.replace(new, old)
    return text
