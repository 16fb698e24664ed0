"""A cluster that can fall silent or fail, whatever it is asked, and be emptied or crowded."""

import asyncio

from tui_samples import make_checkpoint, make_event, make_node, make_pod

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.ops.findings import warn
from kubectl_chrek.ops.logs import Line, Source

MANY = 1_000
LOST = ChrekError("Unable to connect to the server https://cluster.example:6443: [Errno 111] Connection refused")


class Moods:
    """Goes before FakeSource among a class's bases."""

    mood = "well"

    def feel(self, mood):
        self.mood, self.silent = mood, mood == "silent"

    def lose_all(self):
        """Breaks all connections."""
        self.feel("broken")
        for queue in self.queues:
            queue.put_nowait(LOST)

    def empty(self):
        """Returns the checkpoints that there were."""
        checkpoints = self.checkpoints
        self.checkpoints, self.log = [], ""
        for kept in (self.pods, self.nodes, self.graphs, self.workers, self.event_list, self.found):
            kept.clear()
        return checkpoints

    def crowd(self):
        """Ten thousand checkpoints, and of all else a thousand."""
        self.checkpoints += [make_checkpoint(f"z-{number:05}", phase="Failed") for number in range(10 * MANY)]
        self.nodes += [make_node(f"node-{number:05}") for number in range(MANY)]
        self.workers += [make_pod(f"worker-{number:05}") for number in range(MANY)]
        self.pods += [make_pod(f"pod-{number:05}") for number in range(MANY)]
        self.found += [warn(f"check-{number}", "is slow", "mend it") for number in range(MANY)]
        self.event_list += [make_event(f"e-{number}", "Scheduled", "on n") for number in range(MANY)]
        self.log += "\n".join(f"line {number}" for number in range(MANY))

    async def answer(self):
        if self.mood == "silent":
            await asyncio.Event().wait()
        if self.mood == "broken":
            raise LOST

    async def _follow(self, present, kind):
        await self.answer()
        async for event in super()._follow(present, kind):
            yield event

    async def follow_logs(self, namespace, checkpoint):
        await self.answer()
        for line in self.log.splitlines():
            yield Line(None, Source("job", namespace, "p", "main"), line)
        async for _ in super()._follow(list, "log"):
            await self.answer()

    async def events(self, namespace, about):
        await self.answer()
        return await super().events(namespace, about)

    async def usage(self, namespace):
        await self.answer()
        return await super().usage(namespace)

    async def findings(self, namespace, now):
        await self.answer()
        return await super().findings(namespace, now)

    async def plan(self, namespace, policy, now):
        await self.answer()
        return await super().plan(namespace, policy, now)
