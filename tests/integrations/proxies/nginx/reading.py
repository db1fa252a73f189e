"""A small independent reader of nginx's syntax (http://nginx.org/en/docs/dev/development_guide.html: configuration tokens)."""

from __future__ import annotations

from typing import NamedTuple


class Token(NamedTuple):
    """A word, or one of `;`, `{`, `}` that structure the text."""

    text: str
    is_mark: bool = False


def tokens(text: str) -> list[Token]:
    """Return words and marks. Raises ValueError for an open quote."""
    found: list[Token] = []
    place = 0
    while place < len(text):
        char = text[place]
        if char in " \t\r\n":
            place += 1
        elif char == "#":
            place = (text + "\n").index("\n", place)
        elif char in ";{}":
            found.append(Token(char, is_mark=True))
            place += 1
        else:
            token, place = quoted(text, place) if char in "\"'" else bare(text, place)
            found.append(Token(token))
    return found


def quoted(text: str, place: int) -> tuple[str, int]:
    """Return a quoted word and where it ends."""
    mark, word = text[place], ""
    place += 1
    while text[place : place + 1] != mark:
        if place >= len(text):
            raise ValueError("open quote")
        if text[place] == "\\" and text[place + 1] in "\"'\\":
            place += 1
        word += text[place]
        place += 1
    return word, place + 1


def bare(text: str, place: int) -> tuple[str, int]:
    """Return a bare word and where it ends; `${…}` belongs to it."""
    begin = place
    while place < len(text) and text[place] not in " \t\r\n;":
        if text[place] == "$" and text[place + 1 : place + 2] == "{":
            place = text.index("}", place)
        elif text[place] == "{":
            break
        place += 1
    return text[begin:place], place


def shape(text: str) -> list[tuple[int, str]]:
    """Return the depth and first word of every directive."""
    found: list[tuple[int, str]] = []
    depth, is_first = 0, True
    for token in tokens(text):
        if token.is_mark:
            depth += {"{": 1, "}": -1, ";": 0}[token.text]
            is_first = True
        elif is_first:
            found.append((depth, token.text))
            is_first = False
    return found
