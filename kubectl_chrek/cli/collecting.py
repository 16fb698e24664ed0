"""What `gc` does with its flags: plan, ask, delete, wait."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kubectl_chrek.api.errors import ChrekError, UsageError
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.formats import Format, object_name
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops import clock
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.formatting import NONE, UNKNOWN, human_age, human_bytes
from kubectl_chrek.ops.gc import Candidate, Criteria, Plan, delete_candidate, make_plan, wait_until_gone

_HEADERS = ("NAME", "REASON", "SIZE", "LAST-USED", "REFERENCED-BY", "AGE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """One call of `gc`."""

    connection: ConnectionOptions
    criteria: Criteria
    yes: bool
    dry_run: str
    wait: bool
    seconds: float
    form: Format

    async def run(self, cluster: Cluster) -> ExitCode:
        """Does it all."""
        plan = await self._plan(cluster)
        self._show(plan, cluster)
        kept = ExitCode.PARTIAL if self.criteria.names and plan.keep else ExitCode.OK
        if plan.delete and self.dry_run == "none" and not self.yes:
            if not diagnostics.interactive():
                raise UsageError("nobody is there to ask, so nothing was deleted", hint="give --yes, or --dry-run=client")
            if not diagnostics.confirm(f"Delete {_count(plan.delete)} and free {human_bytes(plan.bytes)}?"):
                diagnostics.note("Nothing was deleted.")
                return kept
            plan = await self._planned_again(cluster, plan)
        deleted, failures = await self._delete(cluster, plan.delete)
        if self.form.kind in ("json", "yaml"):
            self._write_plan(plan, deleted)
        if self.wait and self.dry_run == "none" and deleted:
            await wait_until_gone(cluster, deleted, self.connection.scope(cluster), seconds=self.seconds)
        return ExitCode.PARTIAL if failures else kept

    async def _plan(self, cluster: Cluster) -> Plan:
        return await make_plan(cluster, self.connection, self.criteria, clock.now())

    async def _planned_again(self, cluster: Cluster, asked: Plan) -> Plan:
        """What was agreed to and still may go: a pod may have been started while the question stood."""
        still = {each.checkpoint.metadata.uid for each in (await self._plan(cluster)).delete}
        agreed = [each for each in asked.delete if each.checkpoint.metadata.uid in still]
        for each in asked.delete:
            if each not in agreed:
                diagnostics.warn(f"{each.name} is kept: it has changed since the question was asked")
        return replace(asked, delete=tuple(agreed))

    async def _delete(self, cluster: Cluster, candidates: Sequence[Candidate]) -> tuple[list[Candidate], int]:
        """Deletes one after the other; returns those that were, and the number of those that could not be."""
        deleted: list[Candidate] = []
        failures = 0
        for candidate in candidates:
            try:
                if self.dry_run != "client":
                    await delete_candidate(cluster, candidate, dry_run=self.dry_run == "server")
            except ChrekError as error:
                diagnostics.report(error)
                failures += 1
                continue
            deleted.append(candidate)
            self._write_deleted(candidate)
        return deleted, failures

    def _show(self, plan: Plan, cluster: Cluster) -> None:
        if plan.delete and not self.form.kind:
            headers = ["NAMESPACE"] * self.connection.all_namespaces + list(_HEADERS)
            output.write_table(headers, [self._row(candidate) for candidate in plan.delete])
        for candidate in plan.keep:
            if self.criteria.names or diagnostics.verbosity():
                diagnostics.note(f"{object_name(CHECKPOINTS, candidate.name)} is kept: {_why(candidate)}")
        if not plan.delete:
            where = "any namespace" if self.connection.all_namespaces else f"{cluster.namespace} namespace"
            diagnostics.note(f"Nothing to delete in {where}.")

    def _row(self, candidate: Candidate) -> list[str]:
        metadata, artifact, now = candidate.checkpoint.metadata, candidate.checkpoint.status.artifact, clock.now()
        cells = [
            candidate.name,
            candidate.reason,
            human_bytes(artifact.bytes) if artifact else UNKNOWN,
            human_age(candidate.last_used, now),
            ",".join(candidate.referenced_by) or NONE,
            human_age(metadata.creation_timestamp, now),
        ]
        return [metadata.namespace] * self.connection.all_namespaces + cells

    def _write_deleted(self, candidate: Candidate) -> None:
        name = object_name(CHECKPOINTS, candidate.name)
        if self.form.kind == "name":
            output.write_lines([name])
        elif not self.form.kind:
            suffix = {"none": "", "client": " (dry run)", "server": " (server dry run)"}[self.dry_run]
            output.write_lines([f"{name} deleted{suffix}"])

    def _write_plan(self, plan: Plan, deleted: Sequence[Candidate]) -> None:
        result = {
            "dryRun": self.dry_run,
            "bytes": plan.bytes,
            "delete": [
                candidate.to_dict() | {"deleted": self.dry_run == "none" and candidate in deleted} for candidate in plan.delete
            ],
            "keep": [candidate.to_dict() for candidate in plan.keep],
        }
        output.write_structured(self.form.kind, result)


def _count(candidates: Sequence[Candidate]) -> str:
    return f"{len(candidates)} checkpoint{'s' if len(candidates) != 1 else ''}"


def _why(kept: Candidate) -> str:
    """The reason, and who refers to it whatever the reason is."""
    users = f"referenced by {', '.join(kept.referenced_by)}" if kept.referenced_by else ""
    return ", ".join(filter(None, ("" if kept.reason == "referenced" else kept.reason, users)))
