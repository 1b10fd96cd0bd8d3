"""The way of images to the model: many requests ask, and one thread answers them, a batch at a time."""

import dataclasses
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple, TypeAlias

from lift_jax.inference.answers import Answers
from lift_jax.inference.model import Model
from lift_jax.inference.predictions import Prediction
from lift_jax.workdir.logs import Logs

_LOGGER = logging.getLogger(__name__)


class FullError(Exception):
    """Raised if too many images wait for the model."""


class NamedImage(NamedTuple):
    """An image as it came.

    Attributes:
        name: what the sender calls it; it is shown, and never opened.
        content: the bytes of its file.
    """

    name: str
    content: bytes


@dataclasses.dataclass(frozen=True)
class ImagesInMemory:
    """Images whose files are in memory, as a source for `lift_jax.data.Dataset`."""

    images: Sequence[NamedImage]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> bytes:
        return self.images[index].content

    def path(self, index: int) -> str:
        """Names the image in messages."""
        return self.images[index].name


def predict(model: Model, answers: Answers, images: Sequence[NamedImage], tte: bool | None) -> list[Prediction]:
    """Gives the prediction of each image, or its problem; the sentences are those of `lift_jax predict`.

    Args:
        model: the run's classifier.
        answers: what is said of the probabilities.
        images: the images, of any sizes.
        tte: whether the views of test-time ensembling are averaged; None does as the run did.
    """
    loader = model.loader(model.dataset(ImagesInMemory(images), "images"), tte=tte)
    found: dict[int, Prediction] = {}
    for each in answers.rows(model, loader, Logs(None, enabled=False)):
        places = each.index.tolist()
        names = [images[place].name for place in places]
        found |= zip(places, answers(names, each.probabilities, each.energies, each.features), strict=True)
    unread = {place: Prediction(images[place].name, [], [], why) for place, why in loader.problems.items()}
    return [(found | unread)[place] for place in range(len(images))]


_Waiting: TypeAlias = "tuple[NamedImage, Future[Prediction]]"


class Batcher:
    """Joins images that wait for the model into batches, which a thread of its own answers.

    Args:
        answer: gives the predictions of images, in their order; the thread makes one call at a time.
        batch_size: the most images of a call.
        most: the most images that wait.
    """

    def __init__(self, answer: Callable[[Sequence[NamedImage]], list[Prediction]], batch_size: int, most: int):
        self._answer = answer
        self._batch_size = batch_size
        self._most = most
        self._admission = threading.Lock()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many images wait now."""
        return self._queue.qsize()

    def submit(self, images: Sequence[NamedImage]) -> "list[Future[Prediction]]":
        """Lets images wait for the model: all of them, or none.

        Raises:
            FullError: if there is no room for all of them.
        """
        futures: list[Future[Prediction]] = [Future() for _ in images]
        with self._admission:
            if self.waiting + len(images) > self._most:
                raise FullError
            for each in zip(images, futures, strict=True):
                self._queue.put(each)
        return futures

    def close(self) -> None:
        """Ends the thread, after the images that wait."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            # Those whose request has given up need no answer.
            wanted = [each for each in batch if each[1].set_running_or_notify_cancel()]
            if wanted:
                self._answer_batch(wanted)

    def _next_batch(self) -> list[_Waiting]:
        """Waits for an image and gives what else waits with it; nothing at the end."""
        batch: list[_Waiting] = []
        while len(batch) < self._batch_size and (not batch or not self._queue.empty()):
            first = self._queue.get()
            if first is None:
                if batch:
                    self._queue.put(None)
                break
            batch.append(first)
        return batch

    def _answer_batch(self, batch: Sequence[_Waiting]) -> None:
        try:
            answered = self._answer([image for image, _ in batch])
        except Exception as error:  # whatever it is, the other batches are to be answered
            _LOGGER.exception("A batch of %d images has failed.", len(batch))
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), prediction in zip(batch, answered, strict=True):
                future.set_result(prediction)
