"""What the documentation prints: every command is one that its tool takes, every link leads somewhere."""

import argparse
import os
import re
import runpy
import shlex
import subprocess
import sys

import pytest

from fan_mm import cli, console

SHELL = re.compile(r'^```(?:shell|bash|sh)\n(.*?)^```', re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(([^)#\s]*)(?:#([^)\s]+))?\)')
OPTIONAL = re.compile(r'\[(--[^\]]*)\]')


def pages(root):
    return sorted([root / 'README.md', root / 'CONTRIBUTING.md', *(root / 'docs').rglob('*.md')])


def _parts(words):
    part = []
    for word in [*words, ';']:
        if word in ('&&', '||', '|', ';'):
            yield part
            part = []
        else:
            part.append(word)


def commands(text):
    """The commands of tools in the shell blocks of a page, each as its words."""
    for block in SHELL.findall(text):
        for line in block.replace('\\\n', ' ').splitlines():
            line = re.sub(r'(^|\s)#.*', '', OPTIONAL.sub(r'\1', line))
            for words in _parts(shlex.split(line)):
                while words and re.fullmatch(r'\w+=.*', words[0]):  # of the environment
                    del words[0]
                match words:
                    case ['python', tool, *rest] if tool.startswith('tools/'):
                        yield tool.removeprefix('tools/'), rest
                    case ['fan-mm', command, *rest] if not command.startswith('-'):
                        yield console.COMMANDS[command], rest


def all_commands(root):
    return [
        (page, tool, words) for page in pages(root) for tool, words in commands(page.read_text())
    ]


class Parsed(Exception):
    pass


def test_every_printed_command_is_taken(repo_root, monkeypatch):
    def parse_args(self, *arguments):
        argparse.ArgumentParser.parse_args(self, *arguments)
        raise Parsed

    def error(self, message):
        raise AssertionError(message)

    monkeypatch.setattr(cli._Parser, 'parse_args', parse_args)
    monkeypatch.setattr(cli._Parser, 'error', error)
    found, mistakes = all_commands(repo_root), []
    for page, tool, words in found:
        monkeypatch.setattr(sys, 'argv', [tool, *words])
        main = runpy.run_path(str(repo_root / 'tools' / tool))['main']
        try:
            main()
        except Parsed:
            continue
        except AssertionError as error:
            mistakes.append(f'{page.name}: {tool} {shlex.join(words)}: {error}')
    assert mistakes == []
    assert len(found) > 60


def test_every_named_config_is_there(repo_root):
    for page in [*pages(repo_root), *(repo_root / 'tools').iterdir()]:
        for name in re.findall(r'configs/[\w/]+\.py', page.read_text()):
            assert (repo_root / name).is_file(), f'{page.name}: {name}'


def anchors(path):
    text = re.sub(r'^```.*?^```', '', path.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r'^#+ (.*)', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def test_anchors_and_links(tmp_path):
    (tmp_path / 'a.md').write_text(
        '# The `x`, again\n```\n# no title\n```\n[x](#y) [](b.md) [z](c.md#d)'
    )
    assert anchors(tmp_path / 'a.md') == {'the-x-again'}
    links = LINK.findall((tmp_path / 'a.md').read_text())
    assert links == [('', 'y'), ('b.md', ''), ('c.md', 'd')]


@pytest.mark.parametrize('kind', ['files', 'anchors'])
def test_links_lead_somewhere(repo_root, kind):
    checked = 0
    for page in pages(repo_root):
        for target, anchor in LINK.findall(page.read_text()):
            if re.match(r'https?:', target):
                continue
            path = page.parent / target if target else page  # of a section of its own
            if kind == 'files':
                assert path.exists(), f'{page.name}: {target}'
            elif anchor and path.suffix == '.md':
                assert anchor in anchors(path), f'{page.name}: {target}#{anchor}'
            checked += 1
    assert checked > 20


def sections_cited(text):
    """The numbers in "spec 3.3", "spec sections 6 and 7.5" and, in the oracles, "Section 3.1"."""
    number = r'\d+(?:\.\d+)*'
    found = re.findall(
        rf'(?:\b[Ss]pec(?: sections?)?|"""Section) ({number}(?:(?:,| and) {number})*)',
        re.sub(r'\s+(?:# )?', ' ', text),
    )
    return {section for numbers in found for section in re.findall(number, numbers)}


def test_every_cited_section_of_the_specification_is_there(repo_root):
    page = (repo_root / 'docs/specification.md').read_text()
    titles = re.findall(r'^#+ (\d[\d.]*) \w', page, re.MULTILINE)
    assert len(set(titles)) == len(titles)
    cited = set()
    for folder in ('fan_mm', 'configs', 'tools', 'benchmarks', 'tests'):
        for path in (repo_root / folder).rglob('*.py'):
            sections = sections_cited(path.read_text())
            assert sections <= set(titles), path.relative_to(repo_root)
            cited |= sections
    assert {'3.3', '3.6', '7.5', '8', '12.2', '13.0', '13.2', '15', '17'} <= cited


def test_the_site_is_built_without_a_warning(repo_root, tmp_path):
    pytest.importorskip('mkdocs')
    pytest.importorskip('mkdocstrings')
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', tmp_path],
        cwd=repo_root,
        env=os.environ | dict(NO_MKDOCS_2_WARNING='1'),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    in_nav = set(
        re.findall(r': ([\w/]+\.md)$', (repo_root / 'mkdocs.yml').read_text(), re.MULTILINE)
    )
    written = {str(p.relative_to(repo_root / 'docs')) for p in (repo_root / 'docs').rglob('*.md')}
    assert written == in_nav
    page = (tmp_path / 'reference/backbones/index.html').read_text()
    assert 'FANHybrid' in page and 'Parameters' in page
