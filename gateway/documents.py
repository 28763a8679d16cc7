"""PALs as HTTP clients describe them: a JSON document in, its faults or a checked document out. Pure.

Rules of this file (specification, "Create PAL" and "Patch PAL"):
- Every fault is named at once, by the path of the field.
- There is one document. The older names (persona, replica) are translated on the way in and out, by one table.
- `layers.conferencing` is ours; the other layers are kept as they are given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import jsonpatch
import jsonpointer
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gateway.pals import allowlist_fault, username_fault
from scheduler.zones import iana_names

MAX_DOCUMENT_BYTES: Final = 256 * 1024
MAX_OPERATIONS: Final = 100
MAX_COPIES: Final = 5  # `copy` of a growing part doubles it each time

# Today's name -> the name of the older API.
LEGACY_NAMES: Final = {
    "pal_id": "persona_id",
    "pal_name": "persona_name",
    "default_face_id": "default_replica_id",
    "face_id": "replica_id",
}
_TODAYS_NAMES: Final = {old: new for new, old in LEGACY_NAMES.items()}

Text = Annotated[str, StringConstraints(max_length=100_000)]
Name = Annotated[str, StringConstraints(max_length=200)]


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
    allowlist: list[Name] | None = Field(default=None, description="Who may invite it: addresses or RE2 regexes.")
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
    if len(json.dumps(document)) > MAX_DOCUMENT_BYTES:
        return [Fault("", f"A PAL is at most {MAX_DOCUMENT_BYTES // 1024} kB.")]
    return [*_shape(document), *_needs(document, legacy), *_conferencing(document)]


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
        fault = allowlist_fault(tuple(allowlist))
        if fault is not None:
            yield Fault(where + "allowlist", fault)
    if isinstance(zone, str) and zone not in iana_names():
        yield Fault(where + "time_zone", "That is not an IANA time zone; write one like Europe/Berlin.")


def patched(document: dict[str, Any], operations: Any) -> dict[str, Any] | list[Fault]:
    """The document after a JSON Patch (RFC 6902), or what is wrong with the patch. The document is not changed.

    `layers` and `layers.conferencing` count as there, so that a username can be added to a PAL that has neither.
    """
    faults = _patch_faults(operations)
    if faults:
        return faults
    layers = document.get("layers") or {}
    start = {**document, "layers": {**layers, "conferencing": layers.get("conferencing") or {}}}
    try:
        result = jsonpatch.apply_patch(start, operations)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, ValueError, KeyError) as error:
        return [Fault("", f"The patch cannot be applied: {str(error)[:200]}.")]
    if not isinstance(result, dict):
        return [Fault("", "The patch leaves no JSON object.")]
    return _pruned(result)


def _patch_faults(operations: Any) -> list[Fault]:
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        return [Fault("", "The body must be a list of JSON Patch operations.")]
    if len(operations) > MAX_OPERATIONS or sum(one.get("op") == "copy" for one in operations) > MAX_COPIES:
        return [Fault("", f"A patch has at most {MAX_OPERATIONS} operations, {MAX_COPIES} of them copy.")]
    if len(json.dumps(operations)) > MAX_DOCUMENT_BYTES:
        return [Fault("", f"A patch is at most {MAX_DOCUMENT_BYTES // 1024} kB.")]
    return []


def _pruned(document: dict[str, Any]) -> dict[str, Any]:
    """Without the empty layers that were only there to be added to."""
    layers = document.get("layers")
    if not isinstance(layers, dict):
        return document
    layers = {name: layer for name, layer in layers.items() if name != "conferencing" or layer not in ({}, None)}
    rest = {name: value for name, value in document.items() if name != "layers"}
    return {**rest, "layers": layers} if layers else rest


def to_legacy(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document under the older names."""
    return {LEGACY_NAMES.get(name, name): value for name, value in document.items()}


def from_legacy(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document that may use the older names, under today's; where both stand, today's counts."""
    translated = {_TODAYS_NAMES[name]: value for name, value in document.items() if name in _TODAYS_NAMES}
    return {**translated, **{name: value for name, value in document.items() if name not in _TODAYS_NAMES}}
