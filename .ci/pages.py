"""Hooks of mkdocs (mkdocs.yml).

Owns what the navigation is: the sections and links of docs/README.md, below it the decisions of docs/adr/README.md.
Links to files of the repository that are no pages are named instead: they are for who reads on GitHub or in an editor.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+\.[a-z]+)(?:#[^)\s]*)?\)")


def on_config(config: Any) -> Any:  # noqa: ANN401 - mkdocs is not there for mypy
    docs = Path(config.docs_dir)
    nav: list[Any] = [{"Contents": "README.md"}]
    for part in re.split(r"^\*\*", _read(docs / "README.md"), flags=re.MULTILINE)[1:]:
        title, _, links = part.partition("**")
        pages = [page for page in _pages(links) if not page.startswith(("../", "adr/"))]
        if pages:  # else it is of what is beside docs/
            nav.append({title: [_titled(docs, page) for page in pages] if len(pages) > 1 else pages[0]})
    decisions = [f"adr/{page}" for page in _pages(_read(docs / "adr/README.md")) if page.startswith("0")]
    nav.append({"Decisions": ["adr/README.md", *(_titled(docs, page) for page in decisions)]})
    config.nav = nav
    return config


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _pages(text: str) -> list[str]:
    """What is linked to, once each."""
    return list(dict.fromkeys(target for _, target in LINK.findall(text) if target.endswith(".md")))


def _titled(docs: Path, page: str) -> dict[str, str]:
    """By its heading: mkdocs takes the name of the file where something stands before that."""
    [title, *_] = re.findall(r"^# (.*)$", _read(docs / page), re.MULTILINE)
    return {title.replace("`", ""): page}


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:  # noqa: ANN401
    here = posixpath.dirname(page.file.src_uri)

    def name(link: re.Match[str]) -> str:
        text, target = link[1], posixpath.normpath(posixpath.join(here, link[2]))
        if "://" in link[2] or not target.startswith("../"):
            return link[0]
        path = target.removeprefix("../")
        return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"

    return LINK.sub(name, markdown)
