"""Path data of lines with gaps."""

from collections.abc import Iterable, Iterator, Sequence

#: A place in the picture: x to the right, y downwards.
Corner = tuple[int, int]


def path(pieces: Iterable[Sequence[Corner]], *, dash: int) -> str:
    """Join the corners of each piece. A lone one, which would not be seen, becomes a dash."""
    return "".join(_piece(piece, dash) for piece in pieces)


def pieces(xs: Sequence[int], ys: Sequence[int | None]) -> Iterator[list[Corner]]:
    """The line through these places, cut where one has no value."""
    piece: list[Corner] = []
    for x, y in zip(xs, ys, strict=True):
        if y is not None:
            piece.append((x, y))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _piece(corners: Sequence[Corner], dash: int) -> str:
    (first_x, first_y), *rest = corners
    return f"M{first_x} {first_y}" + ("".join(f"L{x} {y}" for x, y in rest) or f"h{dash}")
