"""The plan of `gc` before it is run: rows can be taken out of it, and what is confirmed is what happens."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.ops.formatting import human_bytes, human_duration, plural
from kubectl_chrek.ops.retention import Candidate, Plan, Policy
from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.feed import Outage, Poll
from kubectl_chrek.tui.plain import tell
from kubectl_chrek.tui.policies import policy_text, toggled
from kubectl_chrek.tui.screens.changing import GRACE
from kubectl_chrek.tui.screens.entries import EntryScreen
from kubectl_chrek.tui.screens.modals import Answer, ConfirmDelete
from kubectl_chrek.tui.session import Session
from kubectl_chrek.tui.views.entries import Entry
from kubectl_chrek.tui.views.plan import PLAN_COLUMNS, plan_entries, plan_facts

POLL_SECONDS: Final = 10.0


class PlanScreen(EntryScreen):
    """A table of what goes and what stays under a policy."""

    WHERES = (Where.VIEW, Where.PLAN)
    BINDINGS = [*bindings(Where.PLAN)]
    COLUMNS = PLAN_COLUMNS
    CRUMB = "gc"
    EMPTY = "Nothing to delete under this policy."
    _plan: Poll[Plan]

    def __init__(self, session: Session, policy: Policy) -> None:
        super().__init__(session)
        self._policy = policy
        self._out: set[str] = set()

    def read_anew(self) -> None:
        """One question."""
        self._plan = self.session.poll(self._ask, POLL_SECONDS)

    async def _ask(self) -> Plan:
        if not self._policy.rules and not self._policy.names and not self._policy.keeps and self._policy.older_than is None:
            return Plan((), ())
        return await self.session.source.plan(self.session.namespace, self._policy, self.session.now())

    def readers(self) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """One question."""
        return {"plan": self._plan.run}

    def health(self) -> tuple[bool, Outage | None]:
        """The answer's."""
        return self._plan.synced, self._plan.outage

    def entries(self) -> list[Entry]:
        """What goes, then what stays."""
        return plan_entries(self._plan.value, self._out, self.session.now()) if self._plan.value else []

    def facts(self) -> list[tuple[str, str]]:
        """The policy and the sum."""
        return plan_facts(self._plan.value, self._out, policy_text(self._policy)) if self._plan.value else []

    def _going(self) -> list[Candidate]:
        return [each for each in self._plan.value.evict if each.uid not in self._out] if self._plan.value else []

    def action_take_out(self) -> None:
        """Takes the row out of the plan, or puts it back, and goes on to the next."""
        entry, plan = self.current, self._plan.value
        if entry and plan and any(entry.key == each.uid for each in plan.evict):
            self._out ^= {entry.key}
        self.table.action_move(1)
        self.session.changed()

    def action_rule(self, rule: str) -> None:
        """Turns one of the policy's rules on or off, and plans anew."""
        self._policy = toggled(self._policy, rule)
        self.read_anew()
        self.begin()

    async def action_edit_policy(self) -> None:
        """What if: another policy, from this one on the command line."""
        await self.app.run_action(f"app.open_command_line({f'gc {policy_text(self._policy)} '!r})")

    async def action_run_plan(self) -> None:
        """Runs it, after asking."""
        asked = self._going()
        if not asked:
            return
        names = [f"{each.checkpoint.metadata.namespace}/{each.name}" for each in asked]
        size = human_bytes(sum(each.bytes for each in asked))

        def answered(answer: Answer | None) -> None:
            if answer in (Answer.NOW, Answer.LATER):
                self.work(partial(self._run_plan, asked, answer), "ask")

        await self.ask(ConfirmDelete(names, size, GRACE, str(len(asked))), answered)

    async def _run_plan(self, asked: list[Candidate], answer: Answer) -> None:
        try:
            # A pod may have been started while the question stood.
            still = {each.uid for each in (await self._ask()).evict}
        except ChrekError as error:
            tell(self, error, severity="error")
            return
        done = 0
        for each in asked:
            if each.uid not in still:
                tell(self, f"{each.name} is kept: it has changed since the question was asked", severity="warning")
                continue
            try:
                await self._evict(each, answer)
            except ChrekError as error:
                tell(self, error, severity="error")
            else:
                done += 1
        self._tell(done, answer)
        self.begin()

    async def _evict(self, candidate: Candidate, answer: Answer) -> None:
        metadata, source = candidate.checkpoint.metadata, self.session.source
        if answer is Answer.NOW:
            await source.delete(metadata.namespace, metadata.name, metadata.uid)
        else:
            await source.mark(candidate, self.session.now() + GRACE)

    def _tell(self, done: int, answer: Answer) -> None:
        if done:
            when = "now" if answer is Answer.NOW else f"in {human_duration(GRACE.total_seconds())}; u undeletes"
            tell(self, f"{plural(done, 'checkpoint')} deleted {when}")
