"""The places of what ranks write for each other."""

import ast
import inspect
from collections import Counter

from dcomp.kernels import words


def test_no_word_has_two_places():
    """A name that was bound again would mean another place to whoever had it from before."""
    names = Counter(
        node.id
        for node in ast.walk(ast.parse(inspect.getsource(words)))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id.isupper()
    )
    assert len(names) > 80
    assert [name for name, times in names.items() if times > 1] == []


def test_words_fit_their_records():
    assert words.VECTORS + 4 <= words.STATE
    assert words.SLOTS + 2 * words.SLOT <= words.LINES
    assert words.IN_LINE + 40 <= words.PAIR // 2
