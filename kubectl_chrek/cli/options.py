"""Flags that commands share, and how a command that talks to a cluster is registered."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

import typer

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cli import diagnostics
from kubectl_chrek.cli.parsing import KubectlCommand
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.durations import parse_duration

FRAMEWORK: Final[dict[str, Any]] = {"rich_markup_mode": None, "pretty_exceptions_enable": False, "add_completion": False}

WITH_ARGUMENT: Final = ("jsonpath", "custom-columns")
"""Formats that need a template behind them."""

DryRun = Annotated[
    str, typer.Option("--dry-run", metavar="none|client|server", help="Only show it (client), or let the server only check it")
]
Files = Annotated[
    list[str], typer.Option("--filename", "-f", metavar="FILE", help="YAML or JSON, any number of documents; - is stdin")
]
Timeout = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long --wait waits; 0 is for ever")]

OBJECTS: Final = ("name", "json", "yaml")
"""Formats of commands that change objects."""

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of checkpoints")]
NoHeaders = Annotated[bool, typer.Option("--no-headers", help="Leave out the headers")]
Selector = Annotated[str, typer.Option("--selector", "-l", help="Label selector", show_default=False)]

_Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace", show_default=False)]
_AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces", show_default=False)]
_Context = Annotated[str, typer.Option("--context", help="Context of the kubeconfig", show_default=False)]
_Kubeconfig = Annotated[str, typer.Option("--kubeconfig", help="Path of the kubeconfig", show_default=False)]
_Cluster = Annotated[str, typer.Option("--cluster", help="Cluster of the kubeconfig", show_default=False)]
_User = Annotated[str, typer.Option("--user", help="User of the kubeconfig", show_default=False)]
_Server = Annotated[str, typer.Option("--server", "-s", metavar="URL", help="Address of the API server", show_default=False)]
_Token = Annotated[str, typer.Option("--token", help="Bearer token", show_default=False)]
_As = Annotated[str, typer.Option("--as", metavar="USER", help="Act as this user", show_default=False)]
_AsGroup = Annotated[list[str], typer.Option("--as-group", metavar="GROUP", help="Act as of this group; may be repeated")]
_RequestTimeout = Annotated[
    str, typer.Option("--request-timeout", metavar="DURATION", help="Limit of a single request", show_default=False)
]
_Verbosity = Annotated[int, typer.Option("-v", "--v", metavar="LEVEL", help="1 tells more, 6 adds tracebacks", show_default=False)]


@dataclass(frozen=True, slots=True)
class FlagGroup:
    """Flags that commands share. Commands see one parameter, of any name, annotated with the type that `collect` makes.

    `flags` holds name of the parameter, its flag and its value when the flag is not given; `collect` gets the values by name.
    """

    flags: tuple[tuple[str, Any, Any], ...]
    collect: Callable[[typer.Context, dict[str, Any]], Any]


def command(
    name: str, *, examples: str = "", hidden: bool = False, groups: Mapping[str, FlagGroup] | None = None
) -> Callable[[Callable[..., Any]], KubectlCommand]:
    """Turns a function into a command; its docstring, a full stop at the end aside, is the help.

    The function's parameter `connection` stands for kubectl's connection flags, which may also be given before the command's
    name; `groups` says what other parameters stand for.
    """
    known = {"connection": CONNECTION} | dict(groups or {})

    def decorate(function: Callable[..., Any]) -> KubectlCommand:
        app = typer.Typer(**FRAMEWORK)
        help_text = inspect.cleandoc(function.__doc__ or "").removesuffix(".")
        app.command(name, cls=KubectlCommand, help=help_text, epilog=examples, hidden=hidden)(_expanded(function, known))
        return cast("KubectlCommand", typer.main.get_command(app))

    return decorate


def register_root(app: typer.Typer) -> None:
    """Registers the connection flags in front of the command's name."""

    def root(ctx: typer.Context, **values: Any) -> None:
        ctx.obj = values

    help_text = "Capture a started inference worker once, start every later pod from the capture"
    app.callback(help=help_text)(_signed(root, _parameters(CONNECTION)))


def formats(kinds: tuple[str, ...]) -> Any:
    """`-o` with these formats; completion reads them from the metavar."""
    shown = "|".join(f"{kind}=" if kind in WITH_ARGUMENT else kind for kind in kinds)
    return typer.Option("--output", "-o", metavar=shown, help="Output format", show_default=False)


def choice(flag: str, value: str, allowed: tuple[str, ...]) -> str:
    """The value if it is allowed.

    Raises:
        UsageError: It is not.
    """
    if value not in allowed:
        raise UsageError(f"{flag}: invalid value {value!r}", hint=f"one of {', '.join(filter(None, allowed))}")
    return value


def dry_run_strategy(value: str) -> str:
    """`none`, `client` or `server`, checked."""
    return choice("--dry-run", value, ("none", "client", "server"))


def one_namespace(connection: ConnectionOptions) -> None:
    """Raises UsageError when names are to be looked up in all namespaces at once."""
    if connection.all_namespaces:
        raise UsageError("a checkpoint cannot be named across all namespaces", hint="give -n NAMESPACE instead of -A")


def _expanded(function: Callable[..., Any], known: Mapping[str, FlagGroup]) -> Callable[..., Any]:
    own = inspect.signature(function, eval_str=True).parameters
    used = {name: group for name, group in known.items() if name in own}

    def command(ctx: typer.Context, **values: Any) -> Any:
        for name, group in used.items():
            # A flag of the command's own that is called as one of the group's takes its place, as `version --server` does.
            given = {flag: unset if flag in own else values.pop(flag) for flag, _, unset in group.flags}
            values[name] = group.collect(ctx, given)
        return function(**values)

    parameters: list[inspect.Parameter] = []
    for name, parameter in own.items():
        shared = [each for each in _parameters(used[name]) if each.name not in own] if name in used else [parameter]
        parameters += shared
    return _signed(command, parameters)


def _parameters(group: FlagGroup) -> list[inspect.Parameter]:
    kind = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(name, kind, default=unset, annotation=flag) for name, flag, unset in group.flags]


def _signed(function: Any, parameters: list[inspect.Parameter]) -> Callable[..., Any]:
    """The function with the signature that the framework shall read flags from."""
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    function.__signature__ = inspect.Signature([context, *parameters])
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in (context, *parameters)}
    signed: Callable[..., Any] = function
    return signed


def _connection(ctx: typer.Context, values: dict[str, Any]) -> ConnectionOptions:
    before: Mapping[str, Any] = ctx.parent.obj if ctx.parent and isinstance(ctx.parent.obj, dict) else {}
    chosen = {name: value or before.get(name, value) for name, value in values.items()}
    diagnostics.set_verbosity(chosen.pop("verbosity"))
    chosen["groups"] = tuple(chosen["groups"])
    timeout = chosen.pop("request_timeout")
    if timeout:
        chosen["request_seconds"] = parse_duration(timeout)
    return ConnectionOptions(**chosen)


CONNECTION: Final = FlagGroup(
    (
        ("namespace", _Namespace, ""),
        ("all_namespaces", _AllNamespaces, False),
        ("context", _Context, ""),
        ("kubeconfig", _Kubeconfig, ""),
        ("cluster", _Cluster, ""),
        ("user", _User, ""),
        ("server", _Server, ""),
        ("token", _Token, ""),
        ("impersonate", _As, ""),
        ("groups", _AsGroup, []),
        ("request_timeout", _RequestTimeout, ""),
        ("verbosity", _Verbosity, 0),
    ),
    _connection,
)
