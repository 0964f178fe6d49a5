"""A character n-gram language model: counts that add up, so that it can be trained in parts. Standard library only."""

import json
import math
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

Counts = Counter[str]


def count(text: str, order: int) -> Counts:
    """How often each run of `order` + 1 characters occurs; the text is taken to begin after empty lines."""
    padded = "\n" * order + text
    return Counter(padded[start : start + order + 1] for start in range(len(text)))


def count_files(paths: Iterable[Path], order: int) -> Counts:
    """Counts over UTF-8 files. Raises ValueError that names a file which is none."""
    total: Counts = Counter()
    for path in paths:
        try:
            total.update(count(path.read_text(encoding="utf-8"), order))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text at byte {error.start}") from None
    return total


def save(counts: Counts, path: Path) -> None:
    path.write_text(json.dumps(counts, sort_keys=True))


def load(path: Path) -> Counts:
    return Counter(json.loads(path.read_text()))


class Model:
    """Probabilities from counts, with `smoothing` added to each; `order` is the number of characters it looks back."""

    def __init__(self, counts: Counts, order: int, smoothing: float = 0.01) -> None:
        self.order, self.smoothing = order, smoothing
        self.next: dict[str, Counts] = {}
        for gram, times in counts.items():
            self.next.setdefault(gram[:-1], Counter())[gram[-1]] += times
        self.totals = {context: following.total() for context, following in self.next.items()}
        # One more for all characters that were never seen.
        self.alphabet = len({gram[-1] for gram in counts}) + 1

    def perplexity(self, texts: Iterable[str]) -> float:
        """2 to the mean number of bits for a character: 1 is a perfect guess, the alphabet's size is no idea."""
        bits = characters = 0.0
        for text in texts:
            padded = "\n" * self.order + text
            for place in range(len(text)):
                context, character = padded[place : place + self.order], padded[place + self.order]
                seen = self.next.get(context, Counter())[character] + self.smoothing
                bits -= math.log2(seen / (self.totals.get(context, 0) + self.smoothing * self.alphabet))
            characters += len(text)
        return 2 ** (bits / characters)

    def sample(self, length: int, seed: int) -> str:
        """Text of this length, drawn from the counts; the same seed gives the same text."""
        chance = random.Random(seed)
        text = "\n" * self.order
        while len(text) < length + self.order:
            following = self.next.get(text[-self.order :])
            # Only a context that ends the corpus has nothing after it.
            text += chance.choices(*zip(*sorted(following.items()), strict=True))[0] if following else "\n"
        return text[self.order :]
