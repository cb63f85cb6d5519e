"""Where in a file a model's weights lie, under whatever containers and prefixes.

A checkpoint is a tree of names: timm, mmengine, Lightning, TAO, torch.compile, DDP and custom trainers
each store the same network below different prefixes. It is therefore located by its parameter names.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Size, Tensor

from fan_mm.errors import InputError

KINDS = ('ema', 'model')
# Prefixes that do not identify a network: those of DDP, torch.compile, FSDP and activation
# checkpointing.
WRAPPERS = ('module', '_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module')
CONTAINERS = ('state_dict', 'model', 'model_state_dict', 'module', 'network', 'net', 'weights')
_AVERAGE = re.compile(r'(.*_)?ema(_.*)?')
# Keys of optimizer and scheduler states.
_NO_WEIGHTS = ('param_groups', '_last_lr')


SAVE_ALONE = 'save the weights below one of them in a separate file'


class WeightTree:
    """All tensors of a checkpoint by their paths, such as ``state_dict.module.head.weight``.

    Args:
        content: the loaded content of the file.
        prefix: search only below this name, which may itself be nested; None searches everywhere.

    Attributes:
        tensors: path to tensor.

    Raises:
        InputError: there are no weights, they are encrypted, or nothing lies below ``prefix``.
    """

    def __init__(self, content: object, prefix: str | None = None) -> None:
        if not isinstance(content, Mapping):
            kind = type(content).__name__
            raise InputError(
                f'it contains no weights: a checkpoint must be a dict of weights, not a {kind}'
            )
        if content.get('state_dict_encrypted') or isinstance(content.get('state_dict'), bytes):
            raise InputError(
                'its weights are encrypted: export them without encryption (with TAO and its key)'
            )
        self.tensors: dict[str, Tensor] = {}
        self._dicts: dict[str, str] = {}
        self._collect(content, '')
        if not self.tensors:
            found = ', '.join(map(str, list(content)[:5])) or 'nothing'
            raise InputError(f'the checkpoint contains no weights, only: {found}')
        average = content.get('ema_state_dict')
        # mmengine's EMAHook saves the average as state_dict and the plain weights as ema_state_dict.
        self._swapped = (
            'state_dict' in content and isinstance(average, Mapping) and 'steps' in average
        )
        if prefix:
            self._narrow(prefix.removesuffix('.') + '.')
            if not self.tensors:
                raise InputError(f'the checkpoint has nothing below {prefix!r}')

    def _collect(self, node: Mapping, place: str) -> None:
        if any(name in node for name in _NO_WEIGHTS):
            return
        for key, value in node.items():
            if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':  # as of Detectron
                value = torch.from_numpy(value)
            if isinstance(value, Tensor):
                self.tensors[f'{place}{key}'] = value
                self._dicts[f'{place}{key}'] = place
            elif isinstance(value, Mapping):
                self._collect(value, f'{place}{key}.')

    def _narrow(self, part: str) -> None:
        """Forget what does not lie below ``part``, directly or below names that say nothing."""
        self._dicts = {
            path: path[:start] + part
            for path in self.tensors
            for start in _starts(path)
            if path.startswith(part, start) and all(map(_idle, path[:start].split('.')[:-1]))
        }
        self.tensors = {path: self.tensors[path] for path in self._dicts}

    def unwrap_parts(self, own: Iterable[str] = ()) -> None:
        """Drop wrappers from within names, as of ``backbone._orig_mod.stem.weight``.

        Also if only some names of a model have them, such as ``module.backbone.stem.weight``.

        Args:
            own: names of the tensors to find; wrapper prefixes in these names are kept.
        """
        own = set(own)
        wrappers = set(WRAPPERS).difference(*(name.split('.') for name in own))
        wrappers &= {name for path in self.tensors for name in path.split('.')}
        if wrappers:
            self._join(own, re.compile(rf'^(({"|".join(sorted(wrappers))})\.)+'))
        paths = {path: _unwrapped(path, wrappers) for path in self.tensors}
        times = Counter(paths.values())
        paths = {path: new if times[new] == 1 else path for path, new in paths.items()}
        self._dicts = {
            new: _unwrapped(self._dicts[path], wrappers) if new != path else self._dicts[path]
            for path, new in paths.items()
        }
        self.tensors = {new: self.tensors[path] for path, new in paths.items()}

    def _join(self, own: Collection[str], wrapped: re.Pattern) -> None:
        """Bring a model's tensors to one place where some have wrappers before their names and others none."""
        places = {path[:at] for path in self.tensors for at in _starts(path) if path[at:] in own}
        for place in places:
            paths = {
                path: place + wrapped.sub('', path[len(place) :])
                for path in self.tensors
                if path.startswith(place)
            }
            if len(set(paths.values())) < len(paths):  # two models, or two states of one model
                continue
            self._dicts = {
                paths.get(path, path): d if paths.get(path, path).startswith(d) else place
                for path, d in self._dicts.items()
            }
            self.tensors = {paths.get(path, path): value for path, value in self.tensors.items()}

    def below(self, place: str) -> dict[str, Tensor]:
        """The tensors below a place, by the rest of their paths."""
        return below(place, self.tensors)

    def scores(self, wanted: Mapping[str, Size]) -> dict[str, tuple[int, int]]:
        """How many of the wanted tensors lie at each place: with their shape, and by name alone.

        Args:
            wanted: name to shape.
        """
        shaped: Counter[str] = Counter()
        named: Counter[str] = Counter()
        for path, value in self.tensors.items():
            for start in _starts(path):
                shape = wanted.get(path[start:])
                if shape is not None:
                    named[path[:start]] += 1
                    shaped[path[:start]] += shape == value.shape
        return {place: (shaped[place], named[place]) for place in named}

    def kind(self, place: str) -> str:
        """'ema' for averaged weights, else 'model'."""
        average = any(map(_AVERAGE.fullmatch, place.split('.')))
        if self._swapped and place.startswith(('state_dict.', 'ema_state_dict.')):
            average = not average
        return 'ema' if average else 'model'

    def averages(self, place: str) -> list[str]:
        """Where averages (EMA) of the weights at a place lie, unless it holds averages itself."""
        names = self.below(place)
        if not names or self.kind(place) == 'ema':
            return []
        end = '.' + next(iter(names))
        others = [path.removesuffix(end[1:]) for path in self.tensors if path.endswith(end)]
        return [other for other in others if self.kind(other) == 'ema']

    def choose(
        self,
        scores: Mapping[str, int | tuple[int, int]],
        weights: str | None = None,
        prefer: Sequence[str] = (),
        ask: str = SAVE_ALONE,
    ) -> str:
        """The one place that is meant, of those where weights fit best.

        Args:
            scores: score of each place; higher is better.
            weights: 'ema' or 'model' to require one kind.
            prefer: kinds in order of preference, if both fit equally well.
            ask: advice for the error about several candidates; ``{place}`` stands for a place's name.

        Raises:
            InputError: unknown kind, no weights of that kind in the file, or several candidates fit
                equally well.
        """
        if weights not in (None, *KINDS):
            raise InputError(f"weights must be 'ema' or 'model', not {weights!r}")
        if weights is not None:
            scores = {place: scores[place] for place in scores if self.kind(place) == weights}
            if not scores and weights == 'ema':
                raise InputError("the checkpoint has no EMA weights (state_dict_ema): use 'model'")
            if not scores:
                raise InputError("the checkpoint has only EMA weights: use 'ema'")
        best = [place for place in scores if scores[place] == max(scores.values())]
        for kind in prefer:
            of_kind = [place for place in best if self.kind(place) == kind]
            if of_kind:
                best = of_kind
                break
        usual = min(map(_unusual, best))
        best = sorted(place for place in best if _unusual(place) == usual)
        if len(best) > 1 and not all(self._same(best[0], place) for place in best[1:]):
            names = [place.removeprefix('state_dict.').removesuffix('.') for place in best]
            raise InputError(
                f'the checkpoint contains several matching models, below {", ".join(names)}: '
                f'{ask.format(place=names[0])}'
            )
        return best[0]

    def _same(self, a: str, b: str) -> bool:
        one, other = self.below(a), self.below(b)
        return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)

    def largest(self) -> dict[str, int]:
        """The dicts with most of the tensors, with the wrappers in front of their names.

        Returns:
            Place to its score for `choose`: the larger the network, the higher; all are different.
        """
        places = Counter(
            place + wrapped[0]
            for path, place in self._dicts.items()
            if (wrapped := re.match(rf'(({"|".join(WRAPPERS)})\.)*', path[len(place) :]))
        )
        return {place: -i for i, (place, _) in enumerate(places.most_common())}


def below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of ``state`` whose keys start with ``prefix``, without it."""
    return {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }


def _starts(path: str) -> Iterable[int]:
    """Where the names in a path begin."""
    return (0, *(match.end() for match in re.finditer(r'\.', path)))


def _unwrapped(path: str, wrappers: set[str]) -> str:
    """A path without the wrappers that stand behind a name that says something."""
    *names, last = path.split('.')
    kept = [
        name for i, name in enumerate(names) if name not in wrappers or all(map(_idle, names[:i]))
    ]
    return '.'.join([*kept, last])


def _idle(name: str) -> bool:
    return name in WRAPPERS or name in CONTAINERS or _AVERAGE.fullmatch(name) is not None


def _unusual(place: str) -> int:
    """0 where OpenMMLab puts weights, 1 below containers only, 2 elsewhere."""
    names = [name for name in place.split('.')[:-1] if name not in WRAPPERS]
    if names in ([], ['state_dict'], ['backbone'], ['state_dict', 'backbone']):
        return 0
    return 1 if [name for name in names if not _idle(name)] in ([], ['backbone']) else 2
