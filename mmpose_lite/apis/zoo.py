"""The zoo as text, for people."""

from collections.abc import Sequence

from mmpose_lite.errors import ConfigError
from mmpose_lite.evaluation.report import text_table
from mmpose_lite.zoo.index import KEYS, Entry, entries
from mmpose_lite.zoo.names import configs_folder


def table(words: Sequence[str] = ()) -> str:
    """Return a table of the published weights whose names contain every one of `words`.

    Raises:
        ConfigError: there are none.
    """
    found = [entry for name, entry in sorted(entries().items()) if all(word.lower() in name for word in words)]
    if not found:
        raise ConfigError(f'no name of the zoo contains {" and ".join(repr(word) for word in words)}.')
    rows = []
    for entry in found:
        metric, value = next(iter(entry.metrics.items()))
        rows.append((entry.name, metric, f'{value:g}', entry.keys, 'yes' if entry.path.is_file() else ''))
    return text_table(('name', 'metric', 'published', 'tensors checked', 'downloaded'), rows).lstrip() + f'\n{len(found)} names'


def describe(entry: Entry) -> str:
    """Return all that is known of some weights, one fact in a line."""
    facts = {
        'name': entry.name,
        'published as': entry.published_as,
        'config': str(configs_folder() / entry.config),
        'figures': ', '.join(f'{name} {value:g}' for name, value in entry.metrics.items()),
        'licence': entry.licence,
        'tensors': f'{entry.keys}: {KEYS[entry.keys]}',
        'addresses': '\n              '.join(entry.urls),
        'sha256': f'{entry.sha256}...',
        'file': f'{entry.path} ({"there" if entry.path.is_file() else "not there yet"})',
    }
    if entry.note:
        facts['note'] = entry.note
    return '\n'.join(f'{key + ":":13} {value}' for key, value in facts.items())
