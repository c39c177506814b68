"""The commands and Python snippets of README.md, CONTRIBUTING.md and docs/ are run, top to bottom, one checkout per page.

A block is run as it stands. HTML comments directly above it, one per line and invisible to readers, change that:

    <!-- test: skip REASON -->      it is not run; the reason is shown
    <!-- test: add ARGUMENTS -->    its one command is run with these appended, to shrink a long run ($SMALL: see below)
    <!-- test: copy FOLDER -->      the real data, without what our converters make of it, is copied to data/FOLDER first; the
                                    block is skipped where that is absent

Blocks in the languages `text` and `json` are for reading. Others than these and `bash` and `python` are refused.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPO, copy_checkout

BLOCK = re.compile(
    r'(?P<comments>(?:^<!-- test: [^\n]+ -->\n)*)^```(?P<language>\S*)\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)
RUN = {'bash': ['bash', '-euo', 'pipefail', '-c'], 'python': [sys.executable, '-c']}
READ = ('text', 'json')
LIMIT = 300  # s
# The quickstart on a few people, for an epoch.
SMALL = '--cfg-options train_cfg.max_epochs=1 train_cfg.val_interval=1 ' + ' '.join(
    f'{split}_dataloader.dataset.{key}' for split in ('train', 'val', 'test') for key in ('num_train=8', 'num_val=4')
)


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands (page:line), its language, its text, and what the comments above it say."""

    place: str
    language: str
    text: str
    skip: str = ''
    copy: str = ''


def blocks(page: str, name: str) -> list[Block]:
    """Return the blocks of a page that are to be run.

    Raises:
        ValueError: a language, a comment or its use is not one of those above; the message names the line.
    """
    found = []
    matches = list(BLOCK.finditer(page))
    if len(re.findall(r'^\s*```', page, re.MULTILINE)) != 2 * len(matches):
        raise ValueError(f'{name}: a fence must start its line and be closed, or its block would not be seen.')
    for match in matches:
        place = f'{name}:{page.count(chr(10), 0, match.start("text"))}'
        language, text = match['language'], match['text']
        comments = dict(re.findall(r'^<!-- test: (\S+) (.+) -->$', match['comments'], re.MULTILINE))
        if len(comments) != len(match['comments'].splitlines()) or not set(comments) <= {'skip', 'add', 'copy'}:
            raise ValueError(f'{place}: a comment must be `skip REASON`, `add ARGUMENTS` or `copy FOLDER`, each once.')
        if language not in (*RUN, *READ):
            raise ValueError(f'{place}: the language must be one of {[*RUN, *READ]}, got {language!r}.')
        if language in READ:
            continue
        if 'add' in comments:
            if '\n' in text.strip().replace('\\\n', ''):
                raise ValueError(f'{place}: `add` is for a block of one command.')
            text = f'{text.strip()} {comments["add"]}\n'
        found.append(Block(place, language, text, comments.get('skip', ''), comments.get('copy', '')))
    return found


PAGES = {
    path.relative_to(REPO).as_posix(): path.read_text(encoding='utf-8')
    for path in [REPO / 'README.md', REPO / 'CONTRIBUTING.md', *REPO.glob('docs/*.md')]
}
BLOCKS = [
    pytest.param(block, id=block.place)  # the blocks of a page build on one another: tests/conftest.py keeps them in one process
    for name in sorted(PAGES)
    for block in blocks(PAGES[name], name)
]


@pytest.fixture(scope='session')
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the copy of the checkout that belongs to a page."""
    folders: dict[str, Path] = {}

    def folder(page: str) -> Path:
        if page not in folders:
            folders[page] = copy_checkout(tmp_path_factory.mktemp(Path(page).stem) / 'checkout')
        return folders[page]

    return folder


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    env = dict(
        os.environ, SMALL=SMALL, PYTHONPATH=str(folder), PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    )
    return subprocess.run(
        [*RUN[block.language], block.text],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.parametrize('block', BLOCKS)
def test_block(block: Block, folder_of: Callable[[str], Path], request: pytest.FixtureRequest) -> None:
    if block.skip:
        pytest.skip(block.skip)
    folder = folder_of(block.place.rpartition(':')[0])
    if block.copy and not (folder / 'data' / block.copy).exists():  # a copy, never a link: the commands write there
        source = request.getfixturevalue('shared') / 'data' / block.copy
        made = shutil.ignore_patterns('person_keypoints_*.json')
        shutil.copytree(source, folder / 'data' / block.copy, ignore=made, copy_function=shutil.copyfile)
    done = run(block, folder)
    assert done.returncode == 0, f'{block.place}\n{block.text}\n{done.stdout[-4000:]}'


def test_extras_named_in_the_pages_exist() -> None:
    """The installing commands themselves are skipped here: they need the network."""
    named = {
        extra for page in PAGES.values() for group in re.findall(r'install .*?\[([\w,]+)\]', page) for extra in group.split(',')
    }
    assert named
    assert named <= {'optional', 'tests', 'lint', 'all'}


def test_links_between_the_pages_lead_somewhere() -> None:
    for name, page in PAGES.items():
        for target, anchor in re.findall(r'\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)', page):
            path = (REPO / name).parent / target if target else REPO / name
            assert path.exists(), f'{name} links to {target}'
            headings = re.findall(r'^#+ (.+)$', path.read_text(), re.MULTILINE) if anchor else []
            anchors = [re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings]
            assert not anchor or anchor in anchors, f'{name} links to {target}#{anchor}'


def test_no_command_is_a_wrong_call(capsys: pytest.CaptureFixture) -> None:
    """Those of blocks that are not run, of tables and of sentences, too; configs and checkpoints need not exist."""
    commands = {
        (name, re.sub(r'"\$\([^)]*\)"', 'x.pth', command.replace('\\\n', ' ')))
        for name, page in PAGES.items()
        for command in re.findall(r'python tools/(\w+\.py (?:[^\n`|\\]|\\\n)+)', page)
    }
    parsers = {}
    for name, command in sorted(commands):
        tool, *words = shlex.split(command)
        if tool not in parsers:
            spec = importlib.util.spec_from_file_location(tool.removesuffix('.py'), REPO / 'tools' / tool)
            parsers[tool] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(parsers[tool])
        if '...' in words or '{' in command:
            continue
        try:
            parsers[tool].parse_args(words)
        except SystemExit:
            pytest.fail(f'{name}: {command}: {capsys.readouterr().err}')
    assert len(parsers) > 8


def test_a_page_is_cut_into_blocks() -> None:
    page = (
        'Text.\n```bash\nls\ncd x\n```\n\n'
        '<!-- test: copy lspet -->\n<!-- test: add k=v -->\n```bash\na \\\n  b\n```\n'
        '```text\nout\n```\n'
    )
    assert blocks(page, 'p.md') == [
        Block('p.md:2', 'bash', 'ls\ncd x\n'),
        Block('p.md:9', 'bash', 'a \\\n  b k=v\n', copy='lspet'),
    ]
    page = '<!-- test: skip slow -->\n```python\nx\n```\n' * 2
    assert blocks(page, 'p.md') == [Block(f'p.md:{line}', 'python', 'x\n', skip='slow') for line in (2, 6)]


@pytest.mark.parametrize(
    ('page', 'message'),
    [
        ('1. Do\n   ```bash\n   ls\n   ```\n', 'p.md: a fence must start its line'),
        ('```sh\nls\n```\n', 'p.md:1: the language must be one of'),
        ('```\nls\n```\n', 'p.md:1: the language must be one of'),
        ('<!-- test: ignore it -->\n```bash\nls\n```\n', 'p.md:2: a comment must be'),
        ('<!-- test: skip -->\n```bash\nls\n```\n', 'p.md:2: a comment must be'),
        ('<!-- test: add x -->\n```bash\nls\nls\n```\n', 'p.md:2: `add` is for a block of one command'),
    ],
)
def test_a_page_with_a_mistake_is_refused(page: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        blocks(page, 'p.md')


@pytest.mark.parametrize(('text', 'code'), [('true\n', 0), ('false\ntrue\n', 1), ('false | true\n', 1), ('read -r line\n', 1)])
def test_a_failing_command_fails_its_block(tmp_path: Path, text: str, code: int) -> None:
    assert run(Block('p.md:1', 'bash', text), tmp_path).returncode == code
