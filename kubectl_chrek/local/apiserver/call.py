"""One request, once its path and query have been read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kubectl_chrek.local.apiserver.failures import bad_request
from kubectl_chrek.local.apiserver.kinds import Kind

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

    @property
    def dry_run(self) -> bool:
        """Whether nothing must be written. Raises ApiError (400) for a value other than All."""
        found = self.query.get("dryRun", "")
        if found not in ("", "All"):
            raise bad_request(f'dryRun: Unsupported value: "{found}": supported values: "All"')
        return bool(found)

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
