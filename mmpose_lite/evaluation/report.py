"""Tables that metrics write into the log and into their errors."""

from collections.abc import Iterable, Sequence

from terminaltables import AsciiTable

from mmpose_lite.errors import MetricError

_MAX_EXAMPLES = 5


def text_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = '') -> str:
    """Return a table as text that starts on a line of its own."""
    table = AsciiTable([list(header), *([str(cell) for cell in row] for row in rows)], title or None)
    return '\n' + table.table


def examples(values: Iterable[object]) -> str:
    """Return the first few of `values`, as Python writes them (the string '7' and the number 7 look different)."""
    values = list(values)
    more = f', ... ({len(values)} in all)' if len(values) > _MAX_EXAMPLES else ''
    return ', '.join(repr(v) for v in values[:_MAX_EXAMPLES]) + more


def mismatch(message: str, rows: Iterable[Sequence[object]], *, reference: str, advice: str) -> MetricError:
    """Return the error of a metric that cannot compare predictions with the ground truth.

    Args:
        message: one sentence that begins with the name of the metric.
        rows: of (what is compared, in predictions, in the reference, examples).
        reference: what the predictions are compared with, e.g. 'ann_file'.
        advice: what the user can do.
    """
    table = text_table(('what', 'in predictions', f'in {reference}', 'examples'), rows)
    return MetricError(f'{message}{table}\nWhat to do: {advice}')
