"""A cluster in which every string is the same hostile text between brackets of its own, and all that the views make of it."""

import json

from tui_samples import make_checkpoint, make_event, make_pod, ready_status

from kubectl_chrek.api import names
from kubectl_chrek.api.node import read_node
from kubectl_chrek.ops import retention, usage
from kubectl_chrek.ops.findings import Finding
from kubectl_chrek.tui.session import Note
from kubectl_chrek.tui.views.artifact import contents_view
from kubectl_chrek.tui.views.compat import compat_view
from kubectl_chrek.tui.views.diff import diff_view
from kubectl_chrek.tui.views.document import document_view
from kubectl_chrek.tui.views.events import events_view
from kubectl_chrek.tui.views.findings import finding_entries, note_entries
from kubectl_chrek.tui.views.form import values_of, verdict_view
from kubectl_chrek.tui.views.graphs import graph_entries, read_worker
from kubectl_chrek.tui.views.nodes import node_entries
from kubectl_chrek.tui.views.overview import artifact_view, conditions_view, identity_view, state_view
from kubectl_chrek.tui.views.plan import plan_entries
from kubectl_chrek.tui.views.pods import pod_cells, read_pod
from kubectl_chrek.tui.views.reading import read_row
from kubectl_chrek.tui.views.rows import cells_at
from kubectl_chrek.tui.views.storage import storage_entries
from kubectl_chrek.tui.views.timeline import timeline_view


class Poison:
    """`texts` are all that it has made, by field."""

    CUT = frozenset({"capture phase", "restore phase", "process"})
    """Labels of bars."""

    def __init__(self, fake_source, text):
        self.fake_source, self.text = fake_source, text
        self.texts = {}
        self.checkpoint, self.capturing = self._ready(), self._capturing()
        self.node, self.graph, self.pod, self.worker = self._node(), self._graph(), self._pod("pod"), self._pod("worker")
        self.event = make_event("e", self("reason"), self("event"), kind=self("kind"), about=self("about"))
        self.found = Finding(self("finding"), "fail", self("found"), self("fix"))

    def __call__(self, field):
        return self.texts.setdefault(field, f"[{len(self.texts)}]{self.text}[/]")

    def source(self):
        made = self.fake_source([self.checkpoint, self.capturing], pods=[self.pod], events=[self.event], log=self("log"))
        made.nodes, made.graphs, made.workers, made.found = [self.node], [self.graph], [self.worker], [self.found]
        made.server, made.context = self("server"), self("context")
        return made

    def _ready(self):
        status = ready_status(phase=self("phase"), message=self("message"), failure=self("failure"), location=self("location"))
        status |= {"jobName": self("job"), "storageType": self("storage"), "identityHash": self("hash")}
        status["artifact"] |= {
            "node": self("capture node"),
            "digest": self("digest"),
            "generation": self("generation"),
            "phases": {self("capture phase"): 1.5},
            "processes": [{"pid": 1, "name": self("process"), "bytes": 9}],
            "compatibility": self._facts("") | {"argv": [self("command")]},
            "uniqueBytes": 1,
        }
        status["caches"] = [{"node": self("cache node"), "bytes": 1}]
        status["verification"] = {"result": self("result"), "message": self("found corrupt"), "node": self("verifier")}
        last = {"pod": self("restored pod"), "node": self("restore node"), "reason": self("cold reason")}
        status["lastRestore"] |= {**last, "result": self("outcome"), "phases": {self("restore phase"): 2.5}}
        condition = {"type": self("type"), "status": self("state"), "reason": self("why"), "message": self("told")}
        status["conditions"] = [condition]
        identity = {"model": self("model"), "dynamoVersion": self("version"), "dtype": self("dtype")}
        identity |= {"extraParameters": {self("key"): self("value")}}
        return make_checkpoint(self("name"), namespace=self("namespace"), uid="u", status=status, identity=identity)

    def _capturing(self):
        progress = {"step": self("step"), "bytesDone": 1, "bytesTotal": 9}
        return make_checkpoint("capturing", namespace=self("namespace"), status={"phase": "Creating", "progress": progress})

    def _facts(self, here):
        facts = {name: self(f"{here}{name}") for name in ("architecture", "kernel", "criu", "driver", "cuda")}
        return facts | {"gpus": [{"model": self(f"{here}gpu"), "mig": self(f"{here}mig")}]}

    def _node(self):
        work = {"kind": self("work"), "namespace": self("work namespace"), "checkpoint": self("work on"), "pod": self("work in")}
        work |= {"step": self("work step"), "bytesDone": 1, "bytesTotal": 9}
        status = {
            "agent": {"version": self("agent version"), "pod": self("agent pod")},
            "platform": self._facts("node "),
            "store": {"type": self("store"), "location": self("store location")},
            "cache": {"hashes": [self("cached")]},
            "operations": [work],
            "checks": [{"name": self("check"), "verdict": self("verdict"), "message": self("checked"), "fix": self("check fix")}],
        }
        return {"metadata": {"name": self("node"), "uid": "n"}, "status": status}

    def _graph(self):
        services = {self("service"): {"checkpoint": {"enabled": True, "checkpointRef": self("ref")}}}
        services[self("wrong service")] = {"checkpoint": {"enabled": True, "checkpointRef": "x", "mode": self("mode")}}
        return {
            "metadata": {"name": self("graph"), "namespace": self("graph namespace"), "uid": "g"},
            "spec": {"services": services},
        }

    def _pod(self, kind):
        startup = {"result": self(f"{kind} result"), "reason": self(f"{kind} reason"), "checkpoint": self("ref")}
        startup |= {"seconds": 1} | ({"phases": {self("worker phase"): self("worker seconds")}} if kind == "worker" else {})
        waiting = {"waiting": {"reason": self(f"{kind} waits")}}
        pod = make_pod(self(kind), node=self(f"{kind} node"), startup=json.dumps(startup))
        pod["metadata"]["labels"] |= {names.LABEL_GRAPH: self("graph"), names.LABEL_COMPONENT: self("service")}
        pod["metadata"]["namespace"] = self("graph namespace")
        pod["status"] = {"phase": "Pending", "containerStatuses": [{"name": "main", "state": waiting}]}
        return pod

    def entries(self, now):
        """The rows of the smaller tables."""
        row, node = read_row(self.checkpoint), read_node(self.node)
        candidate = retention.Candidate(row.checkpoint, self("because"), 1, (self("used by"),))
        return [
            *node_entries([node], now),
            *graph_entries([self.graph], [read_worker(self.worker)], now),
            *storage_entries(usage.report([row.checkpoint], {}, [node])),
            *plan_entries(retention.Plan((candidate,), (candidate,)), (), now),
            *finding_entries([self.found]),
            *note_entries([Note(now, self("severity"), self("note"))], now),
        ]

    def views(self, now, width=250):
        """All texts that are not tables."""
        row, other, node = read_row(self.checkpoint), read_row(self.capturing), read_node(self.node)
        checkpoint = row.checkpoint
        # What UTF-8 cannot hold has no hash.
        typed = values_of(row.identity) if row.identity else {"model": self.text}
        return [
            *(entry.about(width) for entry in self.entries(now)),
            identity_view(row, width),
            state_view(row, now, width),
            artifact_view(row, now, width),
            conditions_view(checkpoint.status.conditions, now, width),
            *(timeline_view(each.checkpoint, {}, width) for each in (row, other)),
            events_view([self.event], now, width),
            contents_view(checkpoint, now, width),
            compat_view(checkpoint, [node], width),
            diff_view(checkpoint, other.checkpoint, width),
            verdict_view(typed, row.identity, [row], width),
            verdict_view(typed | {"maxModelLen": self.text}, row.identity, [row], width),
        ]

    def cells(self, now):
        """All cells of all tables."""
        rows = [cells_at(read_row(body), now) for body in (self.checkpoint, self.capturing)]
        return [*(cell for row in rows for cell in row), *pod_cells(read_pod(self.pod), now)] + [
            cell for entry in self.entries(now) for cell in entry.cells
        ]

    def document(self):
        """The YAML."""
        return document_view(self.checkpoint)
