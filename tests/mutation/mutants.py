"""Seeded samples of cosmic-ray's mutants of a module, without those that cannot change behaviour."""

import ast
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

# Decorators and keywords that change speed, the look of a file, or what happens to our own mistakes.
SPEED = {'cache', 'lru_cache', 'cached_property', 'no_grad', 'inference_mode'}
GUARDS = {'frozen', 'strict', 'kw_only', 'slots', 'stacklevel', 'indent'}
SPEAKERS = {'warn', 'info', 'warning', 'debug', 'print_log', 'print'}


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Attributes:
        module: path in the tree.
        line: number of the changed line.
        operator: cosmic-ray's name of the change.
        text: the whole changed module.
    """

    module: str
    line: int
    operator: str
    text: str


class _Behaviour(ast.NodeTransformer):
    """A module without annotations, wording of messages, guards and what only saves time.

    What is one object and what is equal is not told apart: Python holds small numbers and names once.
    """

    def visit(self, node: ast.AST) -> ast.AST:
        for name in ('annotation', 'returns'):
            if getattr(node, name, None) is not None:
                setattr(node, name, ast.Constant(None))
        if hasattr(node, 'decorator_list'):
            node.decorator_list = [d for d in node.decorator_list if _name(d) not in SPEED]
        return super().visit(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        equal = {ast.Is: ast.Eq, ast.IsNot: ast.NotEq}
        node.ops = [equal.get(type(op), type(op))() for op in node.ops]
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _name(node) in SPEAKERS or _name(node).endswith('Error'):
            return ast.Call(node.func, [], [])
        if _name(node) in ('TypeVar', 'NewType'):
            return ast.Constant(None)
        node.keywords = [k for k in node.keywords if k.arg not in GUARDS]
        return self.generic_visit(node)


def _name(node: ast.AST) -> str:
    """The last name of what is called or decorates."""
    if isinstance(node, ast.Call):
        node = node.func
    return getattr(node, 'attr', getattr(node, 'id', ''))


def _behaviour(text: str) -> str | None:
    """What is compared; None if the text is no Python."""
    try:
        return ast.dump(_Behaviour().visit(ast.parse(text)))
    except SyntaxError:
        return None


def _places(text: str) -> dict[tuple, list[tuple[str, int]]]:
    """Position -> operators and their occurrences that change something there."""
    nodes = list(ast_nodes(get_ast(text)))
    places = defaultdict(list)
    for name in operator_names():
        if get_operator(name).arguments():
            continue
        operator, occurrence = get_operator(name)(), 0
        for node in nodes:
            for start, _ in operator.mutation_positions(node):
                places[start].append((name, occurrence))
                occurrence += 1
    return places


def sample(root: Path, module: str, count: int, seed: int) -> Iterator[Mutant]:
    """Up to ``count`` mutants of a module, each at another place; the same for the same seed."""
    text = (root / module).read_text()
    before = _behaviour(text)
    rng = random.Random(f'{seed} {module}')
    places = sorted(_places(text).items())
    rng.shuffle(places)
    for (line, _), changes in places:
        if count == 0:
            return
        name, occurrence = rng.choice(changes)
        changed = mutate_code(text, get_operator(name)(), occurrence)
        if changed is None or _behaviour(changed) in (None, before):
            continue
        count -= 1
        yield Mutant(module, line, name.partition('/')[2], changed)
