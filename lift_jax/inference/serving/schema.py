"""What the service answers, as openapi.json describes it; the keys are those of `lift_jax predict --format jsonl`."""

from typing import Any

import pydantic


class Class(pydantic.BaseModel):
    """A class of the run."""

    label: int
    name: str = pydantic.Field(alias="class")


class ProbableClass(Class):
    """A class and its probability, 0 to 1."""

    probability: float


class Neighbour(Class):
    """A training image that is like the image, and its class."""

    path: str = pydantic.Field(description="its file from the root of the training data")
    similarity: float = pydantic.Field(description="the cosine of the features of both, -1 to 1")
    picture: str | None = pydantic.Field(None, description="a small JPEG of it as a data: link, if it can be read")


class Result(pydantic.BaseModel):
    """What is said of an image: its classes, the most probable first, or why it could not be read."""

    path: str = pydantic.Field(description="what the sender calls the image")
    predictions: list[ProbableClass] | None = None
    error: str | None = None
    unknown: bool | None = pydantic.Field(None, description="whether it is of no known class; of calibrated runs")
    members: list[Class] | None = pydantic.Field(
        None, alias="set", description="the classes that it may be of, the most probable first; of calibrated runs"
    )
    nearest: list[Neighbour] | None = pydantic.Field(
        None, description="the training images that are most like it, the most similar first; of serve --nearest"
    )


class Results(pydantic.BaseModel):
    """What is said of the images of a request, in their order."""

    results: list[Result]


class Problem(pydantic.BaseModel):
    """Why there is no answer."""

    error: str


class Health(pydantic.BaseModel):
    """The state of the service."""

    status: str
    version: str
    classes: int
    waiting: int = pydantic.Field(description="images that wait for the model now")
    max_images: int = pydantic.Field(description="the most images of one request")
    max_request_bytes: int = pydantic.Field(description="the most bytes of one request")
    nearest: int = pydantic.Field(description="training images that are shown beside an image")
    no_nearest: str | None = pydantic.Field(description="why there are none, where they were asked for")


_FILES = {
    "type": "object",
    "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
}

REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": _FILES}, "image/*": {"schema": {"type": "string"}}},
    }
}
"""The body of a prediction's request: files of a form, or the bytes of one image."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "no image, or a broken form"},
    408: {"model": Problem, "description": "the bytes come too slowly"},
    413: {"model": Problem, "description": "too many images or bytes"},
    422: {"model": Results, "description": "not one of the images can be read"},
    500: {"model": Problem, "description": "a mistake of the program"},
    503: {"model": Problem, "description": "too many images wait, or the answer took too long"},
}
"""The answers of a prediction besides its results."""
