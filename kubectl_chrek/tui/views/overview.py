"""The first tab of a checkpoint: what it is, how it is, what was captured."""

from collections.abc import Iterable
from datetime import datetime

from textual.content import Content

from kubectl_chrek.api.checkpoint import Condition
from kubectl_chrek.ops.formatting import NONE, human_age, human_bytes, human_seconds
from kubectl_chrek.tui.plain import MUTED, hang, span
from kubectl_chrek.tui.views.phases import fraction, phase_text, phase_tone, rate, remaining, result_of, shown_phase
from kubectl_chrek.tui.views.rows import Row
from kubectl_chrek.tui.views.status import TONE_STYLES
from kubectl_chrek.tui.widgets.cells import Tone

Piece = tuple[str, str]
Fact = tuple[str, list[Piece]]

_LABEL_WIDTH = 14
_GOOD = {"True": ("✓", Tone.GOOD), "False": ("✗", Tone.WARNING)}


def identity_view(row: Row, width: int) -> Content:
    """Identity, hash, and what the name has to do with it, in lines of `width` cells, as all views here."""
    identity = row.identity
    if identity is None:
        return section("Identity", [("Error", [span("spec.identity cannot be read", "$text-error")])], width)
    extra = ", ".join(f"{key}={value}" for key, value in sorted(identity.extra_parameters.items()))
    return section(
        "Identity",
        [
            ("Model", [span(identity.model, "bold")]),
            (
                "Backend",
                [span(identity.framework), span(f"  Dynamo {identity.dynamo_version or 'any version'}", MUTED)],
            ),
            ("Parallelism", [span(f"TP {identity.tensor_parallel_size}, PP {identity.pipeline_parallel_size}")]),
            ("Data type", [span(identity.dtype or NONE)]),
            ("Max length", [span(f"{identity.max_model_len} tokens" if identity.max_model_len else NONE)]),
            ("Extra", [span(extra or NONE)]),
            ("Hash", [span(identity.hash, "bold $text-accent")]),
            ("Name", _name_note(row, identity.hash)),
            ("Hashed JSON", [span(identity.canonical(), MUTED)]),
        ],
        width,
    )


def _name_note(row: Row, real: str) -> list[Piece]:
    status = row.checkpoint.status
    if status.identity_hash and status.identity_hash != real:
        told = f"  status.identityHash says {status.identity_hash}: it was written by another version of the operator"
        return [span(row.name), span(told, "$text-error")]
    if row.name == real:
        return [span(row.name), span("  is the hash", MUTED)]
    note = "  is not the hash: checkpointRef takes this name, a lookup by identity finds the hash"
    return [span(row.name), span(note, "$text-warning")]


def state_view(row: Row, now: datetime, width: int) -> Content:
    """Phase, progress, message, and how often it was of use."""
    checkpoint, status = row.checkpoint, row.checkpoint.status
    phase = shown_phase(checkpoint)
    facts: list[Fact] = [("Phase", [span(phase_text(phase), f"bold {TONE_STYLES[phase_tone(phase)]}")])]
    if status.progress and status.artifact is None:
        facts.append(("Progress", [span(progress_text(row))]))
    if status.message:
        facts.append(("Message", [span(status.message)]))
    if status.failure:
        facts.append(("Failure", [span(status.failure, "$text-error")]))
    if checkpoint.pinned:
        facts.append(("Pinned", [span("never collected", "$text-accent")]))
    facts += [
        ("Job", [span(status.job_name or NONE)]),
        ("Created", _when(checkpoint.metadata.creation_timestamp, now)),
        ("Starts", [span(f"{status.restores} restored, {status.cold_starts} cold")]),
    ]
    last = status.last_restore
    if last:
        result = result_of(last.result)
        where = f"  {last.pod} on {last.node or '?'}, {human_age(last.at, now)} ago"
        facts.append(
            ("Last start", [span(result.text, TONE_STYLES[result.tone]), span(f" in {human_seconds(last.seconds)}"), span(where)])
        )
        if last.reason:
            facts.append(("Because", [span(last.reason)]))
    return section("State", facts, width)


def progress_text(row: Row) -> str:
    """Step, bytes, speed and time left of the capture under way; empty when there is none."""
    progress = row.checkpoint.status.progress
    if progress is None:
        return ""
    part = fraction(progress)
    done = f"{human_bytes(progress.bytes_done)} of {human_bytes(progress.bytes_total)} ({part:.0%})" if part is not None else ""
    pieces = (progress.step, done, rate(progress.bytes_per_second), remaining(progress))
    return ", ".join(piece for piece in pieces if piece)


def artifact_view(row: Row, now: datetime, width: int) -> Content:
    """Where the capture lies and how large it is."""
    status, artifact = row.checkpoint.status, row.checkpoint.status.artifact
    facts: list[Fact] = [
        ("Location", [span(status.location or NONE)]),
        ("Storage", [span(status.storage_type or NONE)]),
    ]
    if artifact is None:
        facts.append(("Artifact", [span("none yet" if status.phase != "Failed" else NONE, MUTED)]))
    else:
        facts += [
            ("Size", [span(human_bytes(artifact.bytes), "bold"), span(f"  in {artifact.files} files")]),
            ("Node", [span(artifact.node or NONE)]),
            ("Captured", [*_when(artifact.captured_at, now), span(f", in {human_seconds(artifact.capture_seconds)}")]),
            ("Generation", [span(artifact.generation)]),
            ("Digest", [span(artifact.digest or NONE, MUTED)]),
        ]
    return section("Artifact", facts, width)


def conditions_view(conditions: Iterable[Condition], now: datetime, width: int) -> Content:
    """The conditions, one a line, with reason and message."""
    lines: list[Content] = []
    for condition in conditions:
        glyph, tone = _GOOD.get(condition.status, ("?", Tone.MUTED))
        age = human_age(condition.last_transition_time, now)
        told = ": ".join(text for text in (condition.reason, condition.message) if text)
        head = Content.styled(f"{glyph} ", TONE_STYLES[tone])
        state = f"  {condition.status} for {age}  "
        body = Content.assemble(span(condition.type, TONE_STYLES[tone]), span(state, MUTED), span(told))
        lines.append(hang(head, body, width))
    return Content("\n").join([heading("Conditions"), *(lines or [Content.styled("none yet", MUTED)])])


def heading(title: str) -> Content:
    """A section's title."""
    return Content.assemble(span(title, "bold $text-primary"))


def section(title: str, facts: Iterable[Fact], width: int) -> Content:
    """A title and, under it, labelled facts."""
    lines = [
        hang(Content.assemble(span(label.ljust(_LABEL_WIDTH), MUTED)), Content.assemble(*pieces), width) for label, pieces in facts
    ]
    return Content("\n").join([heading(title), *lines])


def _when(then: datetime | None, now: datetime) -> list[Piece]:
    if then is None:
        return [span(NONE)]
    return [span(f"{then:%Y-%m-%d %H:%M:%S} UTC"), span(f"  {human_age(then, now)} ago", MUTED)]
