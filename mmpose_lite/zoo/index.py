"""Published weights by name: which config they fit, where they are, and what they reached. The names are in index.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from mmpose_lite.checkpoints.download import cached_path, download

INDEX = Path(__file__).with_name('index.json')
# How it is known that the weights fit the config; the files themselves are not needed for it.
KEYS = {
    'shapes': 'names and shapes of all tensors are those of the published network',
    'names': 'the names are those of a published network of the same kind, of other depth, width or number of keypoints',
    'construction': 'the network is built as the published one is described; no list of its tensors was at hand',
}


@dataclass(frozen=True)
class Entry:
    """Published weights.

    Attributes:
        name: by which they are asked for.
        config: file of the config that they fit, under `configs/`.
        published_as: their name where they come from.
        urls: addresses, tried in turn.
        sha256: first digits of the file's hash.
        metrics: what their publisher reports, under the names that the metrics of the config use.
        licence: of the file, as its publisher states it.
        keys: how it is known that they fit; one of `KEYS`.
        note: what else to know, or ''.
    """

    name: str
    config: str
    published_as: str
    urls: tuple[str, ...]
    sha256: str
    metrics: Mapping[str, float]
    licence: str
    keys: str
    note: str = ''

    @property
    def path(self) -> Path:
        """Where the file is in the cache folder, once it is there."""
        return cached_path(self.urls[0], sha256=self.sha256)

    def fetch(self, *, offline: bool | None = None) -> Path:
        """Return the file, downloaded if it is not in the cache folder; see `download`."""
        return download(self.urls, sha256=self.sha256, offline=offline)


@cache
def entries() -> Mapping[str, Entry]:
    """Return every entry by its name."""
    content = json.loads(INDEX.read_text(encoding='utf-8'))
    return MappingProxyType({name: Entry(name, **{**fields, 'urls': tuple(fields['urls'])}) for name, fields in content.items()})
