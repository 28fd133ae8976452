"""The content of a file: its bytes, unpacked, and its text, in pieces, so that a large one need not fit into memory."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seqloom.core import durable
from seqloom.core.errors import ConfigError, DataError, bad_line

LEAST, LOOKED_AT = 64, 1 << 12
"""Bytes by which it is told whether a text is UTF-16: at least, and at most."""
PIECE = 1 << 20
"""Bytes of a file that are read at once."""
PACKED = (".gz", ".zst")
"""Endings of the names of packed files."""
UTF8 = "utf-8"
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
UTF16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
_SPACE = re.compile(r"[ \t\n\r]*")
ENCODINGS = "say what it is (codec.encoding=latin-1), or read it as it is with codec=bytes"
"""What to do about a text that is not UTF-8."""


def raw(path: Path, begin: int = 0, encoding: str = UTF8) -> Iterator[bytes]:
    """The bytes of a file in pieces, unpacked where its name ends in `.gz` or `.zst`, and as UTF-8.

    DataError where it cannot be read. Of text in another `encoding` positions are those of what it is in UTF-8.
    """
    if encoding != UTF8:
        yield from _after(_in_utf8(raw(path), encoding, path), begin)
        return
    try:
        if path.suffix == ".zst":
            yield from _after(_from_zst(path), begin)
            return
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if begin:
                file.seek(begin)
            while piece := file.read(PIECE):
                yield piece
    except FileNotFoundError:
        raise DataError("there is no such file", path=path, hint="see that the path is right") from None
    except IsADirectoryError:
        raise DataError("this is a folder, where a file is wanted", path=path) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"the file is not whole gzip data: {error}", path=path, hint="fetch it again, or unpack it by hand"
        ) from None
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror or error}", path=path) from None


def _from_zst(path: Path) -> Iterator[bytes]:
    """The bytes of a file packed by Zstandard, in one frame or several."""
    import zstandard

    frame, begun = zstandard.ZstdDecompressor().decompressobj(), False
    try:
        with path.open("rb") as file:
            while rest := file.read(PIECE >> 6):
                while rest:
                    if piece := frame.decompress(rest):
                        yield piece
                    begun, rest = not frame.eof, frame.unused_data
                    if frame.eof:
                        frame = zstandard.ZstdDecompressor().decompressobj()
        if begun:
            raise zstandard.ZstdError("it ends too early")
    except zstandard.ZstdError as error:
        raise DataError(
            f"the file is not whole Zstandard data: {error}", path=path, hint="fetch it again, or unpack it by hand"
        ) from None


def _in_utf8(pieces: Iterable[bytes], encoding: str, path: Path) -> Iterator[bytes]:
    """Text in another encoding as UTF-8; an error where there is no such encoding, or the text is not in it."""
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
    except LookupError:
        hint = "such as latin-1, cp1252, utf-16 or shift_jis"
        raise ConfigError(f"there is no encoding {encoding!r}", path="codec.encoding", hint=hint) from None
    done = 0
    for piece in _ending_empty(pieces):
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            offset, byte = done - pending + error.start, error.object[error.start]
            message = f"the text is not {encoding}: byte 0x{byte:02x} at offset {offset}"
            raise DataError(message, path=path, hint="give the codec.encoding that it is in") from None
        done += len(piece)
        if text:
            yield text.encode("utf-8", "surrogatepass")


def _after(pieces: Iterable[bytes], begin: int) -> Iterator[bytes]:
    """The pieces without so many bytes at their beginning."""
    for piece in pieces:
        if begin < len(piece):
            yield piece[begin:]
        begin = max(0, begin - len(piece))


def digest_of(path: Path) -> tuple[str, int]:
    """The hash of a file's content, unpacked as far as it can be, and how many bytes it is."""
    digest, size = hashlib.sha256(), 0
    try:
        for piece in raw(path):
            digest.update(piece)
            size += len(piece)
    except DataError:  # a packed file that is broken is an error where it is read
        if not path.is_file():
            raise
    return digest.hexdigest(), size


def digest_of_text(text: str) -> str:
    """The hash of a text, whatever surrogates stand in it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def unpacked_name(path: Path) -> str:
    """The name of a file in lower case, without what says how it is packed."""
    name = path.name.lower()
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return name


def lines_of(path: Path, encoding: str = UTF8, setting: str = "codec=characters codec.encoding") -> Iterator[bytes]:
    """The lines of a file without their ends, and without a byte-order mark.

    DataError where it looks like UTF-16; the `setting` says what it is in.
    """
    rest, first = b"", True
    for piece in raw(path, encoding=encoding):
        if first:
            if form := "utf-16" if piece.startswith(UTF16) else utf16_in(piece[:LOOKED_AT]):
                hint = f"say what it is ({setting}={form}), or write it in UTF-8"
                raise DataError("the file is not UTF-8, and looks like UTF-16", path=path, hint=hint)
            piece, first = piece.removeprefix(BOM.encode()), False
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
    if rest:
        yield rest.removesuffix(b"\r")


def is_utf8(path: Path) -> bool:
    """Whether a file is UTF-8 with characters beyond ASCII, which text in another encoding never is by chance."""
    decoder, beyond = codecs.getincrementaldecoder(UTF8)(), False
    try:
        for piece in raw(path):
            beyond = beyond or not piece.isascii()
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return beyond


def objects_of(path: Path, example: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines, each with its line, blank lines passed over; `example` is for the hint."""
    for one in tried_objects(path, example):
        if isinstance(one, DataError):
            raise one
        yield one


def tried_objects(path: Path, example: str, encoding: str = UTF8) -> Iterator[tuple[int, dict[str, Any]] | DataError]:
    """The same, and in place of each line that holds none what is wrong with it."""
    hint = f"write one object a line, such as {example}"
    for number, line in enumerate(lines_of(path, encoding), 1):
        if not line.strip():
            continue
        try:
            thing = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            yield bad_line(error, hint, path=path, line=number)
            continue
        if isinstance(thing, dict):
            yield number, thing
        else:
            yield DataError("the line is no object", path=path, line=number, hint=hint)


def cell_of(value: Any) -> str:
    """What JSON or a frame has in a cell as text: nothing for null and for what is no number, JSON for other things."""
    if isinstance(value, str):
        return value
    return "" if value is None or value != value else json.dumps(value, ensure_ascii=False, default=str)


def lines_of_elements(text: str) -> list[int]:
    """The line that each element of an array of JSON, which is known to be one, begins in."""
    decode, lines, line, seen, at = json.JSONDecoder().raw_decode, list[int](), 1, 0, text.index("[") + 1
    while text[at := _SPACE.match(text, at).end()] != "]":  # type: ignore[union-attr]
        line, seen = line + text.count("\n", seen, at), at
        lines.append(line)
        at = _SPACE.match(text, decode(text, at)[1]).end()  # type: ignore[union-attr]
        at += text[at] == ","
    return lines


def check_utf8(text: str, hint: str = ENCODINGS) -> None:
    """DataError where a text has bytes that are no UTF-8, or half a character: either stands in it as a surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        if "\udc80" <= text[error.start] <= "\udcff":
            raise DataError("the text is not UTF-8", hint=hint) from None
        message = "the text holds half a character"
        raise DataError(message, hint="mend its escapes of the form \\ud83d") from None


def between(path: Path, begin: int, end: int | None, encoding: str = UTF8) -> Iterator[bytes]:
    """The bytes of a file from one position to another, each moved on to where a character begins."""
    if begin == 0 and end is None:
        yield from raw(path, encoding=encoding)
        return
    begin, end = edge(path, begin, encoding), None if end is None else edge(path, end, encoding)
    remaining = None if end is None else end - begin
    for piece in raw(path, begin, encoding):
        yield piece if remaining is None else piece[:remaining]
        if remaining is not None:
            remaining -= len(piece)
            if remaining <= 0:
                return


def edge(path: Path, position: int, encoding: str = UTF8) -> int:
    """The first position from here on in a file at which a character begins."""
    if not position:
        return 0
    around = b""
    for piece in raw(path, position - 1, encoding):
        around += piece
        if len(around) >= 6:
            break
    return position - 1 + edge_in(around[:6], 1)


def edge_in(data: bytes, position: int) -> int:
    """The first position from here on at which a character begins: no tail byte of UTF-8, no LF after a CR."""
    begin = position
    while begin < min(position + 3, len(data)) and data[begin] & 0xC0 == 0x80:
        begin += 1
    return begin + 1 if begin and data[begin - 1 : begin + 1] == b"\r\n" else begin


def decoded(pieces: Iterable[bytes], path: Path | str = "", *, mend: bool = True, start: int = 0) -> Iterator[str]:
    """UTF-8 text from its bytes, in pieces; with `mend` without a byte-order mark, and with CR LF as LF.

    DataError where it is not UTF-8, naming the offset of the first bad byte; `start` is that of the first piece.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    carriage_return, decoded_bytes, first = "", start, start == 0
    for piece in _ending_empty(pieces):
        pending = len(decoder.getstate()[0])
        if form := utf16_in(piece[:LOOKED_AT]) if decoded_bytes == 0 else "":
            hint = f"such is UTF-16 without a mark: codec.encoding={form}, or codec=bytes reads it as it is"
            raise DataError("every other byte is zero", path=path, hint=hint)
        try:
            text = carriage_return + decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            offset, byte = decoded_bytes - pending + error.start, error.object[error.start]
            hint = ENCODINGS
            if first and error.object.startswith(UTF16):
                hint = "it begins as UTF-16 does: codec.encoding=utf-16"
            elif b"\0" in error.object:
                hint = "read are texts, tables, conversations and drawings; codec=bytes takes any file, a symbol a byte"
                raise DataError("the file is no text: it holds zero bytes", path=path, hint=hint) from None
            raise DataError(
                f"the text is not UTF-8: byte 0x{byte:02x} at offset {offset}", path=path, hint=hint
            ) from None
        decoded_bytes += len(piece)
        if mend:
            if first and text:
                text, first = text.removeprefix(BOM), False
            carriage_return = "\r" if text.endswith("\r") and piece else ""
            text = (text[:-1] if carriage_return else text).replace("\r\n", "\n")
        if text:
            yield text


def utf16_in(data: bytes) -> str:
    """The form of UTF-16 that a text without a mark is most likely in, by its zeros; or nothing."""
    if data.startswith(UTF16):
        return ""
    even, odd = data[::2].count(0), data[1::2].count(0)
    if len(data) < LEAST or max(even, odd) * 2.5 < len(data) or min(even, odd) * 10 > max(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _ending_empty(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces that are not empty, and then an empty one."""
    yield from filter(None, pieces)
    yield b""


def write_bytes(data: bytes, path: Path) -> None:
    """A file with this content, whole or not at all; packed where its name ends in `.gz` or `.zst`."""
    durable.write_bytes(path, packed(data, path))


def packed(data: bytes, path: Path) -> bytes:
    """Some bytes as a file of this name has them."""
    if path.suffix == ".gz":
        return gzip.compress(data, mtime=0)
    if path.suffix == ".zst":
        import zstandard

        return zstandard.ZstdCompressor().compress(data)
    return data
