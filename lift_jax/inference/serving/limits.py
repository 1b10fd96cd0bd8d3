"""What the service accepts."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of a service.

    Attributes:
        images: the most images of one request.
        request_bytes: the most bytes of one request.
        waiting: the most images that wait for the model; what comes then is answered with 503.
        read_seconds: how long the bytes of a request may take to come.
        answer_seconds: how long a request may wait for its answer.
    """

    images: int = 64
    request_bytes: int = 64 << 20
    waiting: int = 1024
    read_seconds: float = 60.0
    answer_seconds: float = 120.0
