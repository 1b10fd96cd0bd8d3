"""Which name of a file each class has: by name where that is possible, by position where nothing speaks against it."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

from lift_jax.data.labels import whole_number
from lift_jax.data.matching import SPELLINGS, fold, match
from lift_jax.data.name_files import Reading
from lift_jax.data.shown import some
from lift_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Names:
    """A file of names, which can be read in several ways.

    Attributes:
        where: what messages call it.
        tables: the ways to read it, see `name_files.read`.
    """

    where: str
    tables: Sequence[Sequence[Reading]]

    def by_name(self, labels: Sequence[str], thing: str, spaced: bool = True) -> tuple[str, ...] | None:
        """Names each label by the first table in which all labels are found; None if there is no such table.

        Args:
            labels: distinct names, folders or numbers.
            thing: what messages call a label.
            spaced: whether the first words of the lines are labels if they can be, though they may be parts of names.

        Raises:
            UserError: if two columns of the table have all labels, so that either may be the names; or if the first
                words are all labels, and `spaced` does not say that this is meant.
        """
        for table, spelling in itertools.product(self.tables, SPELLINGS):
            matched = (_names_of(reading, labels, spelling) for reading in table)
            found = list(dict.fromkeys(names for names in matched if names is not None))
            if len(found) > 1:
                one, other = found[:2]
                raise UserError(
                    f"{self.where} can be read in two ways, since two of its columns have all {thing}s ({some(one)}; "
                    f"or {some(other)}); write label,class_name as its first line if the second one has the names."
                )
            if found and not spaced and table[0].spaced:
                raise UserError(
                    f"{self.where} can be read in two ways, since its lines are names, or begin with the {thing}s "
                    f"({some(labels)}); write a line `{thing},name` or `label,name` for each label."
                )
            if found:
                return found[0]
        return None

    def by_number(self, labels: Sequence[int]) -> dict[int, str] | None:
        """Names each number, in order, if the keys are the labels, or are gapless from 0 or 1 and have them all.

        Args:
            labels: distinct, ascending.
        """
        for named in self._numbered():
            gapless = list(named) in (list(range(len(named))), list(range(1, len(named) + 1)))
            if list(named) == list(labels) or (gapless and named.keys() >= set(labels)):
                return named
        return None

    def is_numbered(self) -> bool:
        """Tells whether the keys are numbers without a gap: labels or positions, and no part of the names."""
        return any(max(named) - min(named) == len(named) - 1 for named in self._numbered())

    def is_ordered(self) -> bool:
        """Tells whether the file may mean the classes by their order."""
        return any(reading.ordered for reading in self._readings())

    def in_order(self, count: int) -> tuple[str, ...]:
        """Gives the names by their order in the file, which `is_ordered`; if possible, `count` of them."""
        ordered = [reading.names for reading in self._readings() if reading.ordered]
        return next((names for names in ordered if len(names) == count), ordered[0])

    def check_order(self, labels: Sequence[str], thing: str, strict: bool) -> None:
        """Checks that the names can be meant by position.

        Args:
            labels: in label order.
            thing: what messages call a label.
            strict: whether one name that is a label is enough to doubt it; else it must be in another label's place.

        Raises:
            UserError: if they cannot.
        """
        places = {fold(label): place for place, label in enumerate(labels)}
        overlaps = [
            place == places[fold(key)]
            for reading in self._readings()
            for place, key in enumerate(reading.keys)
            if fold(key) in places
        ]
        if overlaps and (strict or not all(overlaps)):
            raise self.misfit(labels, thing)

    def overlap(self, labels: Sequence[str]) -> int:
        """Counts the labels that are in the file, by the reading that has the most."""
        return len(set(map(fold, labels)) & set(map(fold, self._nearest(labels).keys)))

    def misfit(self, labels: Sequence[str], thing: str) -> UserError:
        """Says that the names are not those of the labels, with both lists side by side."""
        keys = self._nearest(labels).keys
        given = set(map(fold, keys))
        missing = [label for label in labels if fold(label) not in given]
        if missing and len(missing) < len(labels):
            said = f"has {len(keys):,} names but none for {thing} {some(missing)}"
        elif len(keys) != len(labels):
            said = f"has {len(keys):,} class names, but there are {len(labels):,} {thing}s"
        else:
            said = f"has names that cannot be told to be those of the {thing}s"
        return UserError(
            f"{self.where} {said} (in the file: {some(keys)}; {thing}s: {some(labels)}); write a line `{thing},name` "
            f"for each {thing}."
        )

    def _readings(self) -> Iterator[Reading]:
        return (reading for table in self.tables for reading in table if reading.keys)

    def _nearest(self, labels: Sequence[str]) -> Reading:
        wanted = set(map(fold, labels))
        return max(self._readings(), key=lambda reading: len(wanted & set(map(fold, reading.keys))))

    def _numbered(self) -> Iterator[dict[int, str]]:
        """Gives the numbers of each reading whose keys are distinct numbers, in order, with their names."""
        for reading in self._readings():
            numbers = [whole_number(key) for key in reading.keys]
            named = {number: name for number, name in zip(numbers, reading.names, strict=True) if number is not None}
            if not (reading.ordered or reading.spaced) and len(named) == len(numbers):
                yield dict(sorted(named.items()))


def _names_of(reading: Reading, labels: Sequence[str], spelling: Callable[[str], str]) -> tuple[str, ...] | None:
    if reading.ordered and len(reading.keys) != len(labels):
        return None
    places = match(labels, reading.keys, [spelling])
    return None if places is None else tuple(reading.names[place] for place in places)
