"""What `gc` does with its flags: plan, show, ask, mark or delete, wait."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kubectl_chrek.api.errors import ChrekError, ConflictError, UsageError
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.formats import Format, dry_run_suffix, object_name
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops import clock
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.formatting import NONE, UNKNOWN, human_age, human_bytes, human_duration, human_seconds, plural
from kubectl_chrek.ops.gc import delete_candidate, make_plan, mark_candidate, wait_until_gone
from kubectl_chrek.ops.retention import Candidate, Plan, Policy

_HEADERS = ("NAME", "REASON", "SIZE", "LAST-USED", "REFERENCED-BY", "COLD-START", "AGE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """One call of `gc`. `grace` is how long a marked checkpoint can be had back, 0 deletes at once; both are in seconds."""

    connection: ConnectionOptions
    policy: Policy
    plan_id: str
    grace: float
    yes: bool
    dry_run: str
    wait: bool
    seconds: float
    form: Format

    async def run(self, cluster: Cluster) -> ExitCode:
        """Does it all."""
        plan = await self._plan(cluster)
        if self.plan_id and plan.id != self.plan_id:
            message = f"the plan is {plan.id or 'empty'} by now, not {self.plan_id}: nothing was deleted"
            raise ConflictError(message, hint="look at it again with --dry-run=client")
        self._show(plan, cluster)
        kept = ExitCode.PARTIAL if self.policy.names and plan.keep else ExitCode.OK
        if plan.evict and self.dry_run == "none" and not (self.yes or self.plan_id):
            if not diagnostics.interactive():
                raise UsageError("nobody is there to ask, so nothing was deleted", hint=f"give --plan {plan.id} or --yes")
            if not diagnostics.confirm(self._question(plan)):
                diagnostics.note("Nothing was deleted.")
                return kept
            plan = await self._planned_again(cluster, plan)
        due = clock.now() + timedelta(seconds=self.grace)
        gone, failures = await self._evict(cluster, plan.evict, due)
        if self.form.kind in ("json", "yaml"):
            self._write_plan(plan, gone, due)
        if gone and self.dry_run == "none":
            await self._end(cluster, gone)
        return ExitCode.PARTIAL if failures else kept

    async def _plan(self, cluster: Cluster) -> Plan:
        return await make_plan(cluster, self.connection, self.policy, clock.now())

    async def _planned_again(self, cluster: Cluster, asked: Plan) -> Plan:
        """What was agreed to and still may go: a pod may have been started while the question stood."""
        still = {each.uid for each in (await self._plan(cluster)).evict}
        for each in asked.evict:
            if each.uid not in still:
                diagnostics.warn(f"{each.name} is kept: it has changed since the question was asked")
        return replace(asked, evict=tuple(each for each in asked.evict if each.uid in still))

    async def _evict(self, cluster: Cluster, candidates: Sequence[Candidate], due: datetime) -> tuple[list[Candidate], int]:
        """Marks or deletes one after the other; returns those that were, and the number of those that could not be."""
        gone: list[Candidate] = []
        failures = 0
        for candidate in candidates:
            try:
                if self.dry_run != "client":
                    await self._evict_one(cluster, candidate, due)
            except ChrekError as error:
                diagnostics.report(error)
                failures += 1
                continue
            gone.append(candidate)
            self._write_evicted(candidate)
        return gone, failures

    async def _evict_one(self, cluster: Cluster, candidate: Candidate, due: datetime) -> None:
        dry_run = self.dry_run == "server"
        if self.grace:
            await mark_candidate(cluster, candidate, due, dry_run=dry_run)
        else:
            await delete_candidate(cluster, candidate, dry_run=dry_run)

    async def _end(self, cluster: Cluster, gone: Sequence[Candidate]) -> None:
        """Says how to have them back, or waits until they are gone."""
        if self.grace:
            names = " ".join(each.name for each in gone[:3]) + (" ..." if len(gone) > 3 else "")
            them, their = ("it", "its") if len(gone) == 1 else ("them", "their")
            spaces = {each.checkpoint.metadata.namespace for each in gone}
            elsewhere = self.connection.all_namespaces or self.connection.namespace
            where = f" -n {spaces.pop() if len(spaces) == 1 else 'NAMESPACE'}" if elsewhere else ""
            until = f"Until then `kubectl chrek undelete {names}{where}` keeps {them}"
            diagnostics.note(f"{until}; {their} bytes return at the store's next sweep.")
        elif self.wait:
            await wait_until_gone(cluster, gone, self.connection.scope(cluster), seconds=self.seconds)

    def _question(self, plan: Plan) -> str:
        when = f" in {human_duration(self.grace)}" if self.grace else ""
        return f"Delete {plural(len(plan.evict), 'checkpoint')}{when} and free {human_bytes(plan.bytes)}?"

    def _show(self, plan: Plan, cluster: Cluster) -> None:
        if plan.evict and not self.form.kind:
            headers = ["NAMESPACE"] * self.connection.all_namespaces + list(_HEADERS)
            output.write_table(headers, [self._row(candidate) for candidate in plan.evict])
        for candidate in plan.keep:
            if self.policy.names or diagnostics.verbosity():
                diagnostics.note(f"{self._named(candidate)} is kept: {_why(candidate)}")
        if plan.evict:
            cost = f", {human_seconds(plan.cold_start_seconds)} of cold starts to pay again" if plan.cold_start_seconds else ""
            diagnostics.note(f"Plan {plan.id}: {plural(len(plan.evict), 'checkpoint')}, {human_bytes(plan.bytes)}{cost}.")
        else:
            where = "any namespace" if self.connection.all_namespaces else f"{cluster.namespace} namespace"
            # Who was told of each one already need not be told how many there are.
            silent = plan.keep and not (self.policy.names or diagnostics.verbosity())
            kept = f"; {plural(len(plan.keep), 'checkpoint')} must stay, -v says why" if silent else ""
            diagnostics.note(f"Nothing to delete in {where}{kept}.")

    def _row(self, candidate: Candidate) -> list[str]:
        metadata, artifact, now = candidate.checkpoint.metadata, candidate.checkpoint.status.artifact, clock.now()
        cells = [
            candidate.name,
            candidate.reason,
            human_bytes(candidate.bytes) if artifact else UNKNOWN,
            human_age(candidate.last_used, now),
            ",".join(candidate.referenced_by) or NONE,
            human_seconds(candidate.cold_start_seconds) if candidate.cold_start_seconds else UNKNOWN,
            human_age(metadata.creation_timestamp, now),
        ]
        return [metadata.namespace] * self.connection.all_namespaces + cells

    def _named(self, candidate: Candidate) -> str:
        where = f" -n {candidate.checkpoint.metadata.namespace}" if self.connection.all_namespaces else ""
        return object_name(CHECKPOINTS, candidate.name) + where

    def _write_evicted(self, candidate: Candidate) -> None:
        if self.form.kind == "name":
            output.write_lines([object_name(CHECKPOINTS, candidate.name)])
        elif not self.form.kind:
            verb = f"deletes in {human_duration(self.grace)}" if self.grace else "deleted"
            output.write_lines([f"{self._named(candidate)} {verb}{dry_run_suffix(self.dry_run)}"])

    def _write_plan(self, plan: Plan, gone: Sequence[Candidate], due: datetime) -> None:
        done = {each.uid for each in gone} if self.dry_run == "none" else set()
        result = {
            "id": plan.id,
            "dryRun": self.dry_run,
            "deleteAfter": f"{due:%Y-%m-%dT%H:%M:%SZ}",
            "bytes": plan.bytes,
            "coldStartSeconds": plan.cold_start_seconds,
            "evict": [candidate.to_dict() | {"evicted": candidate.uid in done} for candidate in plan.evict],
            "keep": [candidate.to_dict() for candidate in plan.keep],
        }
        output.write_structured(self.form.kind, result)


def _why(kept: Candidate) -> str:
    """The reason, and who refers to it whatever the reason is."""
    users = f"referenced by {', '.join(kept.referenced_by)}" if kept.referenced_by else ""
    return ", ".join(filter(None, ("" if kept.reason == "referenced" else kept.reason, users)))
