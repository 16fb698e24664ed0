"""One request, once its path and query have been read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kubectl_chrek.local.apiserver.failures import bad_request
from kubectl_chrek.local.apiserver.kinds import Kind
from kubectl_chrek.local.apiserver.objects import Body

_TRUE: Final = ("true", "1", "")


@dataclass(frozen=True, slots=True)
class Call:
    """What a request is about, and how it wants it done."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    accept: str = "application/json"
    warnings: list[str] = field(default_factory=list)
    """Texts that go back as Warning headers."""
    amend: Callable[[Body], Body] | None = None
    """What mutating webhooks make of the body, once its defaults are filled in."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing must be written."""
        return bool(self.query.get("dryRun"))

    @property
    def validation(self) -> str:
        """What becomes of unknown fields: Strict, Warn or Ignore."""
        return self.query.get("fieldValidation", "") or "Warn"

    @property
    def manager(self) -> str:
        """Who writes."""
        return self.query.get("fieldManager", "") or "unknown"

    def flag(self, name: str) -> bool:
        """A boolean of the query."""
        return name in self.query and self.query[name] in _TRUE

    def number(self, name: str) -> int | None:
        """A whole number of the query. Raises ApiError (400)."""
        text = self.query.get(name, "")
        if not text:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error
