"""What `prewarm` does with its flags."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, UsageError
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode, ProgressLine
from kubectl_chrek.cli.formats import Format, object_name, write_objects
from kubectl_chrek.cli.identity_flags import IdentitySpec, parse_flags
from kubectl_chrek.cli.session import run
from kubectl_chrek.cli.staging import Staging
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.documents import Document, parse_documents, read_source, source_name
from kubectl_chrek.ops.prewarm import (
    Prewarmed,
    Wanted,
    no_worker,
    prewarm,
    template_from_command,
    template_from_document,
    wanted_from_document,
    wanted_from_identity,
    wanted_from_live_graph,
)
from kubectl_chrek.ops.progress import failure_of, progress_text, step_text, wait_until_settled
from kubectl_chrek.ops.staging import Chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the wanted checkpoints come from: exactly one of `names`, `files`, `graph` and `identity`."""

    names: tuple[str, ...]
    files: tuple[str, ...]
    graph: str
    service: str
    identity: IdentitySpec
    image: str
    gpus: int
    command: tuple[str, ...]
    pod_template: str

    def check(self) -> None:
        """Raises UsageError when the flags contradict each other or say too little."""
        if sum(map(bool, (self.names, self.files, self.graph, self.identity))) != 1:
            raise UsageError("give one of: an identity (--model and others), -f FILE, --graph NAME, --checkpoint NAME")
        if self.service and not self.graph:
            raise UsageError("--service needs --graph")
        if self.gpus < 0:
            raise UsageError("--gpus: must not be negative")
        worker = bool(self.image or self.command or self.gpus)
        if not self.identity and (worker or self.pod_template):
            raise UsageError("--image, --gpus, --pod-template and a command go with an identity only")
        if self.pod_template and worker:
            raise UsageError("say how the worker starts in one way: --pod-template FILE, or --image IMAGE -- COMMAND [ARG]...")
        if worker and not (self.image and self.command):
            raise UsageError("--image and a command go together", hint="give --image IMAGE -- COMMAND [ARG]...")

    def read(self) -> list[Wanted]:
        """The wanted checkpoints of files or of an identity.

        Raises:
            UsageError: A file or flag is off.
        """
        if self.names:
            return [Wanted(name, "", None) for name in dict.fromkeys(self.names)]
        if self.files:
            return [wanted for path in self.files for document in _documents(path) for wanted in wanted_from_document(document)]
        identity = parse_flags(self.identity)
        if self.image:
            return [wanted_from_identity(identity, template_from_command(self.image, self.command, gpus=self.gpus))]
        if not self.pod_template:
            return [Wanted(identity.hash, identity.hash, None)]
        documents = _documents(self.pod_template)
        if len(documents) != 1:
            raise UsageError(f"{self.pod_template}: expected one document, found {len(documents)}")
        return [wanted_from_identity(identity, template_from_document(documents[0]))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prewarming:
    """One call of `prewarm`."""

    connection: ConnectionOptions
    source: Source
    staging: Staging
    wait: bool
    seconds: float
    dry_run: str
    form: Format
    progress: ProgressLine = field(default_factory=ProgressLine)

    def run(self) -> ExitCode:
        """Does it all."""
        self.source.check()
        self.staging.check()
        if self.connection.all_namespaces:
            raise UsageError("-A makes no sense here", hint="give -n NAMESPACE")
        if self.source.graph:
            return run(self.connection, self._prewarm_graph)
        wanted = self.source.read()
        if self.dry_run == "client" and not self.staging:
            # Nothing is asked of any cluster: this also works without one.
            self._write([_pretended(each) for each in wanted])
            return ExitCode.OK
        return run(self.connection, lambda cluster: self._prewarm(cluster, wanted))

    async def _prewarm_graph(self, cluster: Cluster) -> ExitCode:
        wanted = await wanted_from_live_graph(cluster, self.source.graph, self.source.service)
        return await self._prewarm(cluster, wanted)

    async def _prewarm(self, cluster: Cluster, wanted: Sequence[Wanted]) -> ExitCode:
        """Creates or finds one after the other; one that fails does not stop the next. Nodes are chosen before anything is done."""
        chosen = await self.staging.choose(cluster) if self.staging else None
        done: dict[str, list[Prewarmed]] = {}
        code = ExitCode.OK
        for each in wanted:
            namespace = self._namespace(each, cluster)
            try:
                # What is only a name must be there, and to look is no change.
                if self.dry_run == "client" and (each.body or each.hash):
                    result = _pretended(each)
                else:
                    result = await prewarm(cluster, each, namespace, dry_run=self.dry_run != "none")
            except ChrekError as error:
                code = diagnostics.report(error)
                continue
            done.setdefault(namespace, []).append(result)
            if not self.form.kind:
                self._write([result])
        if self.wait and self.dry_run == "none":
            for namespace, results in done.items():
                done[namespace], waited = await self._wait(cluster, namespace, results)
                code = waited or code
        if chosen is not None:
            code = await self._stage(cluster, chosen, done) or code
        if self.form.kind:
            self._write([result for results in done.values() for result in results])
        return code

    def _namespace(self, wanted: Wanted, cluster: Cluster) -> str:
        given = self.connection.namespace
        if given and wanted.namespace not in ("", given):
            raise UsageError(
                f"{wanted.name} is of namespace {wanted.namespace}, not {given}", hint="leave out -n, or metadata.namespace"
            )
        return wanted.namespace or cluster.namespace

    async def _wait(self, cluster: Cluster, namespace: str, results: list[Prewarmed]) -> tuple[list[Prewarmed], ExitCode]:
        """The results as they are when all are Ready or Failed, and what to exit with."""
        wanted = {result.name for result in results}
        try:
            settled = await wait_until_settled(cluster, wanted, namespace, seconds=self.seconds, on_change=self._show)
        except ChrekError as error:
            self.progress.close()
            return results, diagnostics.report(error)
        self.progress.close()
        checkpoints = map(read_checkpoint, settled.values())
        codes = [diagnostics.report(failure_of(each)) for each in checkpoints if each.phase == names.Phase.FAILED]
        return [replace(result, body=settled[result.name]) for result in results], codes[0] if codes else ExitCode.OK

    async def _stage(self, cluster: Cluster, chosen: Chosen, done: Mapping[str, Sequence[Prewarmed]]) -> ExitCode:
        """Has the nodes' caches filled with what is there, or will be when it is Ready."""
        code = ExitCode.OK
        for namespace, results in done.items():
            there = [each for each in results if each.body and (each.verb == "unchanged" or self.dry_run == "none")]
            for each in results:
                if each not in there:
                    self.staging.pretend(each.name, chosen)
            found = [found for each in there if (found := read_checkpoint(each.body)).phase != names.Phase.FAILED]
            try:
                code = await self.staging.run(cluster, found, chosen, namespace) or code
            except ChrekError as error:
                code = diagnostics.report(error)
        return code

    def _show(self, checkpoint: Checkpoint) -> None:
        self.progress.update(f"{checkpoint.metadata.name}: {step_text(checkpoint)}", progress_text(checkpoint))

    def _write(self, results: Sequence[Prewarmed]) -> None:
        if self.form.kind in ("json", "yaml"):
            bodies = [result.body for result in results if result.body]
            write_objects(self.form, CHECKPOINTS, bodies, single=len(bodies) == 1)
        elif self.form.kind == "name":
            output.write_lines(object_name(CHECKPOINTS, result.name) for result in results)
        else:
            suffix = {"none": "", "client": " (dry run)", "server": " (server dry run)"}[self.dry_run]
            output.write_lines(f"{object_name(CHECKPOINTS, result.name)} {result.verb}{suffix}" for result in results)


def _pretended(wanted: Wanted) -> Prewarmed:
    """What becomes of it if nothing is there; what is referred to by name must be there.

    Raises:
        UsageError: It is an identity without a worker.
    """
    if wanted.hash and wanted.body is None:
        raise no_worker(wanted.hash)
    return Prewarmed(wanted.name, "created" if wanted.body else "unchanged", wanted.body or {})


def _documents(path: str) -> list[Document]:
    """All documents of a file. Raises UsageError for the first that cannot be parsed: half a file is not applied."""
    found: list[Any] = list(parse_documents(read_source(path, sys.stdin.buffer), source_name(path)))
    for document in found:
        if isinstance(document, ChrekError):
            raise document
    return found
