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
    for part in re.split(r"^\*\*", (docs / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, links = part.partition("**")
        pages = [target for target in _pages(links) if not target.startswith("..")]
        nav.append({title: pages} if len(pages) > 1 else {title: pages[0]})
    decisions = [f"adr/{target}" for target in _pages((docs / "adr/README.md").read_text(encoding="utf-8"))]
    nav.append({"Decisions": ["adr/README.md", *(page for page in decisions if page.startswith("adr/0"))]})
    for section in nav:
        for pages in section.values():
            if isinstance(pages, list) and pages[0] != "adr/README.md" and "adr/README.md" in pages:
                pages.remove("adr/README.md")
    config.nav = nav
    return config


def _pages(text: str) -> list[str]:
    """What is linked to, once each."""
    return list(dict.fromkeys(target for _, target in LINK.findall(text) if target.endswith(".md")))


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:  # noqa: ANN401
    here = posixpath.dirname(page.file.src_uri)

    def name(link: re.Match[str]) -> str:
        text, target = link[1], posixpath.normpath(posixpath.join(here, link[2]))
        if "://" in link[2] or not target.startswith("../"):
            return link[0]
        path = target.removeprefix("../")
        return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"

    return LINK.sub(name, markdown)
