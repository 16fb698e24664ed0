"""What an artifact's inspect.json says, as text for people."""

from collections import Counter
from collections.abc import Mapping

from chrek_agent.container.inventory import Inventory, OpenFile, ProcessRecord
from chrek_agent.standalone import output


def inventory_text(inventory: Inventory) -> list[str]:
    """One paragraph for each process."""
    return [_process(process) for process in inventory.processes]


def _process(process: ProcessRecord) -> str:
    kinds = Counter(file.kind for file in process.files)
    named = sorted({_file(file) for file in process.files if file.target and file.kind != "pipe"})
    lines = [
        f"PROCESS {process.pid}: {' '.join(process.command) or process.name}",
        f"  resident   {_sizes(process.resident)}",
        f"  mapped     {_sizes(process.mapped)} in {process.mappings} mappings",
        f"  open       {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items())) or 'nothing'}",
        *(f"    {line}" for line in named),
        f"  variables  {' '.join(_variable(name, process.values) for name in process.variables) or 'none'}",
    ]
    return "\n".join(lines)


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{output.size(size)} {kind}" for kind, size in sizes.items()) or "not known"


def _file(file: OpenFile) -> str:
    return f"{file.kind} {file.target} {file.state}".rstrip()


def _variable(name: str, values: Mapping[str, str]) -> str:
    return f"{name}={values[name]}" if name in values else name
