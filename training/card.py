"""Write a bundle's model card from its configuration and recorded figures: ``python -m training.card``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import jinja2
import typer

from medguard.bundle import Bundle, default_bundle_path
from medguard.evaluation.metrics import as_number, as_percent
from medguard.evaluation.sources import Use, manifest
from training.answer_sources import ANSWERS

__all__ = ["main", "recorded_card", "render"]

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks" / "results"
CARD = "MODEL_CARD.md"


def render(
    bundle: Bundle,
    result: dict[str, Any],
    ablation: dict[str, Any] | None = None,
    robustness: dict[str, Any] | None = None,
    latency: dict[str, Any] | None = None,
) -> str:
    """Return the model card as Markdown, after ``model_card.md.jinja``.

    Args:
        bundle: The bundle.
        result: What ``benchmarks.quality`` recorded for exactly its files.
        ablation: What ``training.ablation`` recorded; None leaves the section out.
        robustness: What ``benchmarks.robustness`` recorded; None leaves the section out.
        latency: What ``benchmarks.latency`` recorded; None leaves the table out.

    Raises:
        ValueError: A result was measured on other files.
    """
    config = bundle.config
    for measured in (result, robustness, latency):
        if measured is not None and measured["comparison"]["files"] != config.digests:
            raise ValueError(f"the recorded figures are not of these files of {config.id}")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown of our own
    )
    environment.filters.update(percent=as_percent, number=as_number)
    return environment.get_template("model_card.md.jinja").render(
        config=config,
        record=config.training["record"],
        labelled_requests=sum(
            count
            for name, count in config.training["record"]["labelled_examples"].items()
            if name not in ANSWERS
        ),
        cascade=config.training.get("cascade"),
        latency=latency,
        result=result,
        ablation=ablation and ablation["ablation"],
        ablation_settings=ablation and ablation["settings"],
        robustness=robustness,
        sources=[item for item in manifest().values() if item.use is not Use.EVALUATE],
    )


def _recorded(name: str) -> dict[str, Any] | None:
    """Read a recorded result such as ``ablation.json``; None where there is none."""
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def recorded_card(bundle: Bundle, result: Path | None = None) -> str:
    """Render the card of `bundle` from what is recorded.

    Args:
        bundle: The bundle.
        result: What ``benchmarks.quality`` wrote; None takes the recorded one.

    Raises:
        ValueError: A result was measured on other files.
    """
    name = bundle.config.id
    quality = json.loads((result or RESULTS / f"{name}.quality.json").read_text(encoding="utf-8"))
    return render(
        bundle,
        quality,
        _recorded("ablation.json"),
        _recorded(f"{name}.robustness.json"),
        _recorded(f"{name}.latency.json"),
    )


app = typer.Typer(add_completion=False)


@app.command()
def main(
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle.")] = None,
    result: Annotated[Path | None, typer.Option(help="Recorded figures.")] = None,
) -> None:
    """Write the model card into the bundle's folder."""
    opened = Bundle(bundle or default_bundle_path())
    (opened.path / CARD).write_text(recorded_card(opened, result), encoding="utf-8")
    print(f"wrote {CARD} of {opened.config.id}")


if __name__ == "__main__":
    app()
