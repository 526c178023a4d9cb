"""The project as a whole: what a newcomer reads and runs holds together."""

import ast
import os
import re
import shlex
import tomllib
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from holdfast import cli
from holdfast.node import runner
from holdfast.proxy.admin import operator
from holdfast.proxy.config import examine

ROOT = Path(__file__).parents[1]
PACKAGES = ("proxy", "balancer", "protocols", "chaos", "holdfast")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("examples/*/*.md"), *(ROOT / "docs").rglob("*.md")]
)
MAX_LINES = 400


def name(path):
    return path.relative_to(ROOT).as_posix()


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def blocks(page, language):
    """The fenced blocks of a page that say they are of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", read(page), re.DOTALL | re.MULTILINE)


# --- modules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_what_it_is(path):
    text = read(path)
    if text:  # a package whose only content is other modules need not have a map
        assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py" and read(path)], ids=name)
def test_a_package_s_map_has_all_of_it(path):
    words = set(re.findall(r"\w+", ast.get_docstring(ast.parse(read(path)))))
    modules = {each.stem for each in path.parent.glob("*.py")} - {"__init__", "__main__"}
    packages = {each.parent.name for each in path.parent.glob("*/__init__.py")}
    assert (modules | packages) - words == set()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_short(path):
    assert len(read(path).splitlines()) <= MAX_LINES


# --- pages ----------------------------------------------------------------------------------------------------


def anchors(page):
    """Of a page's headings, as GitHub makes them."""
    for heading in re.findall(r"^#+ (.*)$", read(page), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        if anchor:
            assert anchor in set(anchors(file)), target


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "docs" in page.parts and page.name != "README.md"], ids=name
)
def test_a_page_can_be_found_from_the_index(page):
    index = page.parent / "README.md" if page.parent.name == "adr" else ROOT / "docs" / "README.md"
    assert f"({page.relative_to(index.parent).as_posix()})" in read(index)


def test_every_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    [phony] = re.findall(r"^\.PHONY: (.*)$", read("Makefile"), re.MULTILINE)
    assert targets == set(phony.split())
    pages = [*PAGES, ROOT / ".ci" / "run"]
    told = {
        target for page in pages for target in re.findall(r"(?:^|`)(?:exec )?make ([a-z]+)", read(page), re.MULTILINE)
    }
    assert {"demo", "test"} <= told <= targets


def test_the_code_on_the_pages_is_that_of_the_example():
    _, example = read("examples/chat_node.py").split('"""\n\n')
    assert blocks("README.md", "python")[0] == example
    assert blocks("docs/tutorial/first-node.md", "python")[0] == example


def commands(page):
    """The `holdfast` command lines in a page's blocks, without prompts, variables in front and what is left out."""
    for block in re.findall(r"^```\n(.*?)^```$", read(page), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", "").splitlines():
            line = re.sub(r"^(\$ )?(\w+=\S+ )*", "", line)
            if re.match(r"(\.venv/bin/)?holdfast [a-z-]", line) and " ... " not in line:
                yield pytest.param(shlex.split(line, comments=True)[1:], id=f"{name(page)}-{line[:60]}")


def parse(arguments):
    return cli._parser(arguments).parse_args(arguments)


@pytest.mark.parametrize("arguments", [command for page in PAGES for command in commands(page)])
def test_commands_on_the_pages_are_right(arguments, capsys):
    if arguments == ["--version"]:
        with pytest.raises(SystemExit, match="0"):
            parse(arguments)
        assert capsys.readouterr().out.startswith("holdfast ")
    else:
        assert callable(parse(arguments).run)


def test_what_the_pages_have_installed_is_ours():
    """`holdfast` on PyPI is somebody else's."""
    lines = [
        line for page in PAGES for line in re.findall(r"\bpip install\b([^`\n]*)", read(page)) if "holdfast" in line
    ]
    assert lines
    for line in lines:
        named = [word for word in line.split() if re.match(r"[\w./]*holdfast", word)]
        assert all(re.match(r"(dist/)?holdfast[-_]proxy\b", word) for word in named), line


def test_every_dependency_has_its_line_of_why():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    requirements = [*project["dependencies"], *chain(*project.get("optional-dependencies", {}).values())]
    needed = {re.match(r"[a-z0-9-]+", requirement).group() for requirement in requirements}
    told = set(re.findall(r"^\| ([a-z0-9-]+) \|", read("docs/adr/0009-dependencies.md"), re.MULTILINE))
    assert told == needed


def test_every_dependency_is_pinned():
    tables = tomllib.loads(read("pyproject.toml"))
    wanted = [
        *tables["project"]["dependencies"],
        *(each for group in tables["dependency-groups"].values() for each in group),
        *tables["build-system"]["requires"],
    ]
    pinned = {normal(name) for name in re.findall(r"^([\w.-]+)==[\w.]+$", read("constraints.txt"), re.MULTILINE)}
    assert {normal(re.match(r"[\w.-]+", requirement).group()) for requirement in wanted} <= pinned


def normal(package):
    return re.sub(r"[-_.]+", "-", package).lower()


# --- containers -----------------------------------------------------------------------------------------------

COMPOSE = yaml.safe_load(read("docker-compose.yml"))
OURS = {name: service for name, service in COMPOSE["services"].items() if "build" in service}


@pytest.mark.parametrize("service", OURS.values(), ids=OURS.keys())
def test_a_service_runs_a_command_that_is_right(service):
    arguments = shlex.split(service["command"])
    parsed = parse(arguments)
    assert callable(parsed.run)
    assert {"init", "restart", "stop_grace_period", "environment"} <= service.keys()
    assert all("HOLDFAST_NODE_TOKEN:?" in value for value in service["environment"].values())


def test_the_services_fit_each_other(monkeypatch):
    proxy, node, balancer = (COMPOSE["services"][name] for name in ("proxy", "node", "balancer"))
    environ = dict.fromkeys(proxy["environment"], "a secret")
    loaded, problems = examine(None, environ, parse(shlex.split(proxy["command"])).sets)
    assert problems == []
    config = loaded.config
    assert config.node.token == "a secret"
    assert config.store.kind == "redis"
    [url] = config.store.urls
    assert urlsplit(url).hostname in COMPOSE["services"]
    for variable in node["environment"]:
        monkeypatch.setenv(variable, "a secret")
    parsed = parse(shlex.split(node["command"]))
    runner._take_environment(parsed)
    assert parsed.join == [f"tcp://proxy:{config.node.bind[0].rpartition(':')[2]}"]
    assert parsed.token == "a secret"
    assert config.drain.timeout < float(proxy["stop_grace_period"].removesuffix("s"))
    assert {name for service in COMPOSE["services"].values() for name in service.get("depends_on", ())} <= set(
        COMPOSE["services"]
    )
    # only the balancer is reached from outside, and it reaches the proxies where they are
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["balancer"]
    rules = read("docker/haproxy.cfg")
    [port] = re.findall(r"^    bind :([0-9]+)$", rules, re.MULTILINE)
    assert balancer["ports"] == [f"{port}:{port}"]
    client = config.client.bind[0].rpartition(":")[2]
    assert re.search(rf"^    server-template proxy [0-9]+ proxy:{client} ", rules, re.MULTILINE)
    [path] = re.findall(r"^    option httpchk GET (\S+)$", rules, re.MULTILINE)
    assert path in operator.PATHS
    [volume] = balancer["volumes"]
    assert (ROOT / volume.split(":")[0]).is_file()


def test_the_image_runs_a_command_that_exists():
    dockerfile = read("Dockerfile")
    [entry] = yaml.safe_load(re.search(r"^ENTRYPOINT (.*)$", dockerfile, re.MULTILINE)[1])
    assert entry in {script.name for script in entry_points(group="console_scripts", value="holdfast.__main__:main")}
    assert callable(parse(yaml.safe_load(re.search(r"^CMD (.*)$", dockerfile, re.MULTILINE)[1])).run)


def test_the_image_gets_what_it_copies():
    ignored = read(".dockerignore").splitlines()
    assert ignored[0] == "*"
    needed = set(PACKAGES) | {"examples", "hatch_build.py", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == needed


@pytest.mark.parametrize("script", [".ci/run", ".ci/venv"])
def test_scripts_can_be_run(script):
    assert os.access(ROOT / script, os.X_OK)
    assert read(script).startswith("#!/bin/sh\n")
