"""``medguard policy``: the schema of policy files, a check of one, and the presets to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medguard.bundle import Bundle, default_bundle_path
from medguard.cli.shared import BundleOption, ExitStatus, fail, one_line_errors
from medguard.decision import resolve_operating_point
from medguard.language import require_detector
from medguard.policy import Policy, preset_names
from medguard.presets import preset_source

__all__ = ["policy_app"]

policy_app = typer.Typer(
    name="policy", add_completion=False, pretty_exceptions_enable=False, invoke_without_command=True
)


@policy_app.callback()
def policy(context: typer.Context) -> None:
    """Check policy files, print their schema for editors, and show the presets."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitStatus.ERROR)


@policy_app.command()
def schema() -> None:
    """Print the JSON schema of policy files.

    Written to a file, it makes editors complete and check a policy that begins with the line
    ``# yaml-language-server: $schema=FILE``.

    Exit status: 0.
    """
    with one_line_errors():
        typer.echo(json.dumps(Policy.json_schema(), indent=2))


@policy_app.command()
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Policy in YAML.", show_default=False)],
    bundle: BundleOption = None,
    full: Annotated[bool, typer.Option("--full", help="Print every field as it will hold.")] = False,
) -> None:
    """Check a policy file, its operating point and its need of a language detector included.

    Exit status: 0 valid, 2 not valid or not readable.
    """
    with one_line_errors():
        rules = Policy.from_yaml(file)
        known = Bundle(default_bundle_path() if bundle is None else bundle).config.operating_points
        resolve_operating_point(rules, known)
        if rules.languages is not None:
            require_detector()
        typer.echo(rules.to_yaml().rstrip("\n") if full else f"{file}: valid policy")


@policy_app.command()
def show(
    preset: Annotated[str, typer.Argument(metavar="PRESET", help=f"{', '.join(preset_names())}.")],
) -> None:
    """Print a preset, to be named under ``extends`` or copied and changed.

    Exit status: 0 shown, 2 no such preset.
    """
    with one_line_errors():
        try:
            source = preset_source(preset)
        except ValueError as error:
            fail(str(error))
        typer.echo(source.rstrip("\n"))
