"""kubectl's ways of writing flags and of failing, on top of the command line framework: `-o=json`, `--wait=false`, `error: ...`."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Final

from typer.core import TyperCommand, TyperGroup
from typer.exceptions import Abort, TyperException

from kubectl_chrek.api.errors import ChrekError, UsageError
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.coercion import use_plain_coercion
from kubectl_chrek.cli.diagnostics import ExitCode

PROGRAM: Final = "kubectl chrek"
_SHORT_VALUE: Final = re.compile(r"-[A-Za-z]=.*", re.DOTALL)


class KubectlCommand(TyperCommand):
    """A command whose flags may be written as kubectl's, and whose epilog holds examples, shown as they are."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments of this command."""
        use_plain_coercion(self.get_params(ctx))
        try:
            return super().parse_args(ctx, normalized(args, self.params))
        except TyperException as error:
            lacking = getattr(error, "option_name", None) if getattr(error, "ctx", ctx) is None else None
            for param in self.params:
                if lacking in param.opts and not getattr(param, "is_flag", False):
                    raise UsageError(": ".join(filter(None, (f"{lacking} needs a value", param.metavar)))) from error
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What follows the name in the usage line: our names of arguments say themselves what may be left out and repeated."""
        return ["[OPTIONS]", *(str(param.metavar) for param in self.params if param.param_type_name == "argument")]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes the examples."""
        if self.epilog:
            formatter.write("\nExamples:\n" + "".join(f"  {line}".rstrip() + "\n" for line in self.epilog.strip().split("\n")))


class LazyCommands(Mapping[str, KubectlCommand]):
    """Commands by name, imported when they are asked for: building them all would double the time that `hash` takes."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules

    def __getitem__(self, name: str) -> KubectlCommand:
        command: KubectlCommand = import_module(self._modules[name]).command
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


class KubectlGroup(TyperGroup):
    """The root command: no arguments mean help, and every failure is a line on stderr and an exit code."""

    modules: ClassVar[Mapping[str, str]] = {}
    """Modules of the commands, by the commands' names."""
    summaries: ClassVar[Mapping[str, str]] = {}
    """What help says of each in a line."""
    aliases: ClassVar[Mapping[str, str]] = {}
    """Other names of commands, which help does not show."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = LazyCommands({**self.modules, **{alias: self.modules[name] for alias, name in self.aliases.items()}})

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, in the order of help."""
        return list(self.modules)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the names of all commands with what they do."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses what stands before the subcommand."""
        use_plain_coercion(self.get_params(ctx))
        return super().parse_args(ctx, normalized(args, self.params))

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> Any:
        """Runs the command line and leaves the process with its exit code."""
        output.prepare_streams()
        given = sys.argv[1:] if args is None else args
        # A locale that is not UTF-8 has made surrogates of what was UTF-8.
        words = [word.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") for word in given]
        sys.exit(self._run(words or ["--help"]))

    def _run(self, args: list[str]) -> int:
        try:
            return int(super().main(args, prog_name=PROGRAM, standalone_mode=False) or ExitCode.OK)
        except ChrekError as error:
            return diagnostics.report(error)
        except TyperException as error:
            diagnostics.note(f"error: {error.format_message()}")
            context = getattr(error, "ctx", None)
            diagnostics.note(f"See '{context.command_path if context else PROGRAM} --help' for usage.")
            return ExitCode.USAGE
        except Abort:
            return ExitCode.INTERRUPTED
        except OSError as error:
            # A full disk or a directory that cannot be made is not an error of ours.
            return diagnostics.report(ChrekError(": ".join(filter(None, (error.filename, error.strerror))) or str(error)))
        except Exception as error:
            return diagnostics.report_unexpected(error)


def normalized(args: Sequence[str], parameters: Sequence[Any]) -> list[str]:
    """`-o=json` as `-o json`, `--wait=false` as `--no-wait`; values and what follows `--` are left alone."""
    options = {name: parameter for parameter in parameters for name in parameter.opts if name.startswith("-")}
    found: list[str] = []
    value_due = False
    for index, arg in enumerate(args):
        if arg == "--" and not value_due:
            return found + list(args[index:])
        name, equals, value = arg.partition("=")
        option = None if value_due else options.get(name)
        flag = getattr(option, "is_flag", False)
        value_due = option is not None and not flag and not equals
        if arg == "-v" and value_due and not "".join(args[index + 1 : index + 2]).isdigit():
            # kubectl wants a level; a bare -v is what fingers type.
            found += [name, "1"]
            value_due = False
        elif option is not None and flag and value in ("true", "false"):
            found += [name] if value == "true" else option.secondary_opts[:1]
        elif option is not None and not flag and _SHORT_VALUE.fullmatch(arg):
            found += [name, value]
        else:
            found.append(arg)
    return found
