"""An identity as a form: what is typed into each field, and what it comes to. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from textual.content import Content

from kubectl_chrek.api.errors import IdentityError, UsageError
from kubectl_chrek.api.identity import FIELDS, Identity, parse_identity
from kubectl_chrek.ops.explaining import Contribution, contributions, differences, digest
from kubectl_chrek.tui.plain import MUTED, span
from kubectl_chrek.tui.views.overview import Fact, section
from kubectl_chrek.tui.views.phases import phase_text, phase_tone, shown_phase
from kubectl_chrek.tui.views.rows import Row
from kubectl_chrek.tui.views.status import TONE_STYLES


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `hint` is what stands in it while it is empty."""

    name: str
    label: str
    hint: str = ""


IDENTITY_FIELDS: Final = (
    Field("model", "Model", "as the framework takes it"),
    Field("backendFramework", "Backend", "vllm, sglang or trtllm"),
    Field("dynamoVersion", "Dynamo", "any version"),
    Field("tensorParallelSize", "TP", "1"),
    Field("pipelineParallelSize", "PP", "1"),
    Field("dtype", "Data type", "the model's"),
    Field("maxModelLen", "Max length", "the model's, in tokens"),
    Field("extraParameters", "Extra", "key=value,key=value"),
)
WORKER_FIELDS: Final = (
    Field("image", "Image", "what the worker runs in"),
    Field("command", "Command", "python -m vllm.entrypoints ..."),
    Field("gpus", "GPUs", "0"),
)
_LABELS: Final = {field.name: field.label for field in IDENTITY_FIELDS}
_NUMBERS: Final = ("tensorParallelSize", "pipelineParallelSize", "maxModelLen")
_EXTRA: Final = FIELDS[-1]


def values_of(identity: Identity) -> dict[str, str]:
    """What the fields of a form hold for an identity."""
    spec = identity.to_spec()
    extra = ",".join(f"{key}={value}" for key, value in sorted(identity.extra_parameters.items()))
    return {field.name: extra if field.name == _EXTRA else str(spec.get(field.name, "")) for field in IDENTITY_FIELDS}


def read_values(values: Mapping[str, str]) -> Identity:
    """The identity that a form holds.

    Raises:
        UsageError: A field is off; the message names it.
    """
    spec: dict[str, Any] = {}
    for field in IDENTITY_FIELDS:
        text = values.get(field.name, "").strip()
        if text:
            spec[field.name] = _value(field, text)
    try:
        return parse_identity(spec)
    except IdentityError as error:
        field_name = error.field.removeprefix("identity.").partition(".")[0]
        label = next((field.label for field in IDENTITY_FIELDS if field.name == field_name), field_name)
        raise UsageError(f"{label}: {str(error).removeprefix(f'{error.field}: ')}", hint=error.hint) from error


def _value(field: Field, text: str) -> object:
    if field.name in _NUMBERS:
        if not (text.isascii() and text.isdigit()):
            raise UsageError(f"{field.label}: expected a whole number, got {text!r}")
        return int(text)
    if field.name == _EXTRA:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        bad = [key for key, equals, _ in pairs if not equals or not key.strip()]
        if bad:
            raise UsageError(f"{field.label}: expected key=value, got {bad[0]!r}")
        return {key.strip(): value.strip() for key, _, value in pairs}
    return text


def verdict_view(values: Mapping[str, str], before: Identity | None, rows: Iterable[Row], width: int) -> Content:
    """What a form comes to: its hash, what differs from `before`, and the checkpoints there are of it; or what is off."""
    try:
        identity = read_values(values)
    except UsageError as error:
        told = f"{error}{f': {error.hint}' if error.hint else ''}"
        return section("Not an identity yet", [("Error", [span(told, "$text-error")])], width)
    found = [row for row in rows if row.identity is not None and row.identity.hash == identity.hash]
    facts: list[Fact] = [("Hash", [span(identity.hash, "bold $text-accent")])]
    if before is not None:
        changed = differences(before, identity)
        facts.append(("Was", [span(before.hash), span("" if changed else "  the same")]))
        changes = [f"{each.field}  {_shown(each.left)} → {_shown(each.right)}" for each in changed]
        facts += [("Changed", [span(change, "$text-warning")]) for change in changes]
    if not found:
        facts.append(("Exists", [span("no, there is no such checkpoint", "$text-warning")]))
    for row in found:
        phase = shown_phase(row.checkpoint)
        facts.append(("Exists", [span(phase_text(phase), TONE_STYLES[phase_tone(phase)]), span(f"  {row.namespace}/{row.name}")]))
    facts.append(("Hashed JSON", [span(identity.canonical())]))
    shown = section("This identity", facts, width)
    return shown if before is None else Content("\n\n").join([shown, _explained(identity, width)])


def _explained(identity: Identity, width: int) -> Content:
    """What each field does to the hash."""
    rest = digest(identity)[len(identity.hash) :]
    facts: list[Fact] = [("SHA-256", [span(identity.hash, "bold $text-accent"), span(rest, MUTED)])]
    for each in contributions(identity):
        value = span(_shown(each.value), "bold" if each.hashed else MUTED)
        facts.append((_LABELS.get(each.field, each.field), [value, span(f"  {_effect(each, identity.hash)}", MUTED)]))
    return section("What makes the hash", facts, width)


def _effect(part: Contribution, whole: str) -> str:
    if not part.hashed:
        return "is not hashed"
    if not part.without:
        return "is always given"
    return "is what it is anyway" if part.without == whole else f"without it {part.without}"


def _shown(value: object) -> str:
    return "not given" if value is None else str(value)
