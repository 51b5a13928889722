"""What all pages share: one HTML file that opens from disk, loads nothing else, and switches between light and dark."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

ASSETS = Path(__file__).parent / "assets"


def framed(
    title: str,
    links: Sequence[tuple[str, str]],
    main: str,
    data: str,
    parts: Mapping[str, str],
    styles: Sequence[str],
    scripts: Sequence[str],
    without_script: str,
) -> str:
    """A whole page.

    Args:
        title: of the page, as text.
        links: (id, title) of the sections that the navigation names.
        main: the file among the assets that holds the content, a template.
        data: what the scripts read, as JSON that may stand in HTML.
        parts: what the template of the content asks for, as HTML.
        styles: files among the assets.
        scripts: files among the assets, in the order in which they run.
        without_script: what a reader without JavaScript must know, as text.
    """
    return Template(asset("frame.html")).substitute(
        title=html.escape(title),
        navigation=" ".join(f'<a href="#{anchor}">{html.escape(words)}</a>' for anchor, words in links),
        main=Template(asset(main)).substitute(parts),
        style="\n".join(map(asset, styles)),
        script="\n".join(map(asset, scripts)),
        without_script=html.escape(without_script),
        data=data,
    )


def asset(name: str) -> str:
    """The text of a file that belongs to the pages."""
    return (ASSETS / name).read_text(encoding="utf-8")
