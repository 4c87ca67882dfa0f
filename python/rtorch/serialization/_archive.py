"""Zip archives as PyTorch writes them: a reader that believes nothing, and a writer.

The reader takes names, places and sizes from the central directory, checks that every record lies inside the file and
overlaps no other, and inflates at most `INFLATED_MIN` bytes or `INFLATED_RATIO` times the file's size in all. What the
records mean is in `_reading.py` and `_saving.py`.
"""

import io
import struct
import zlib

END, END64, LOCATOR64, ENTRY, LOCAL = (
    struct.Struct(form) for form in ("<4s4H2LH", "<4sQ2H2L4Q", "<4sLQL", "<4s6H3L5H2L", "<4s5H3L2H")
)
LARGE = 0xFFFFFFFF
STORED, DEFLATED = 0, 8
MAX_COMMENT = 0xFFFF
MAX_PICKLE_INFLATED = 1 << 26
INFLATED_MIN, INFLATED_RATIO = 1 << 26, 16
CHUNK = 1 << 20


class Source:
    """A seekable binary file from its current position on; reads are bounded by its size."""

    def __init__(self, file):
        self.file, self.start = file, file.tell()
        self.size = file.seek(0, io.SEEK_END) - self.start
        file.seek(self.start)

    def read_at(self, offset, n):
        """Exactly `n` bytes."""
        if offset < 0 or n < 0 or offset + n > self.size:
            raise corrupt("a record lies outside of the file")
        self.file.seek(self.start + offset)
        data = self.file.read(n)
        if len(data) != n:
            raise corrupt("the file ends early")
        return data

    def read_into(self, offset, memory):
        """Fills `memory` (a writable memoryview of bytes)."""
        n = len(memory)
        if offset < 0 or offset + n > self.size:
            raise corrupt("a record lies outside of the file")
        self.file.seek(self.start + offset)
        fill(self.file, memory)


def fill(file, memory):
    """Reads until `memory` is full; raises if the file ends before."""
    done, readinto = 0, getattr(file, "readinto", None)
    while done < len(memory):
        if readinto is not None:
            got = readinto(memory[done:])
        else:
            data = file.read(min(len(memory) - done, CHUNK))
            got = len(data)
            memory[done : done + got] = data
        if not got:
            raise EOFError("the file ends within a storage")
        done += got


def corrupt(why):
    """The exception for a file that is no good archive."""
    return RuntimeError(f"PytorchStreamReader failed reading zip archive: {why}")


class Record:
    """One entry of the central directory."""

    __slots__ = ("name", "method", "packed", "size", "offset", "limit")


class Archive:
    """The records of an archive by name, without the folder that all of them are in."""

    def __init__(self, source):
        self.source = source
        entries, start, size = self._find_directory()
        self.records = {}
        self._parse(source.read_at(start, size), entries, start)
        self.inflated = 0

    def _find_directory(self):
        source = self.source
        tail = source.read_at(max(0, source.size - END.size - MAX_COMMENT), min(source.size, END.size + MAX_COMMENT))
        at = tail.rfind(b"PK\5\6")
        while at >= 0:
            if len(tail) - at >= END.size and END.unpack_from(tail, at)[7] == len(tail) - at - END.size:
                break
            at = tail.rfind(b"PK\5\6", 0, at + 3)
        if at < 0:
            raise corrupt("failed finding central directory")
        _, disk, start_disk, here, entries, size, start, _ = END.unpack_from(tail, at)
        end = source.size - len(tail) + at
        if end >= LOCATOR64.size:
            mark, _, end64, _ = LOCATOR64.unpack(source.read_at(end - LOCATOR64.size, LOCATOR64.size))
            if mark == b"PK\6\7":
                fields = END64.unpack(source.read_at(end64, END64.size))
                if fields[0] != b"PK\6\6" or end64 + END64.size > end - LOCATOR64.size:
                    raise corrupt("invalid header or archive is corrupted")
                disk, start_disk, here, entries, size, start = fields[4:]
                end = end64
        if disk or start_disk or here != entries or start + size != end or entries * ENTRY.size > size:
            raise corrupt("invalid header or archive is corrupted")
        return entries, start, size

    def _parse(self, directory, entries, directory_start):
        at, found, root = 0, [], None
        for _ in range(entries):
            record, at = _entry(directory, at)
            folder, slash, name = record.name.partition("/")
            root = folder if root is None else root
            if not slash:
                raise RuntimeError(f"file in archive is not in a subdirectory: {record.name}")
            if folder != root or ".." in record.name.split("/"):
                raise RuntimeError(f"file in archive is not in a subdirectory {root}/: {record.name}")
            if name in self.records:
                raise corrupt(f"two records are called {record.name}")
            self.records[name] = record
            found.append(record)
        found.sort(key=lambda record: record.offset)
        for record, following in zip(found, [*found[1:], None]):
            record.limit = directory_start if following is None else following.offset
            if record.offset + LOCAL.size + len(record.name.encode()) + record.packed > record.limit:
                raise corrupt(f"the record {record.name} overlaps what follows it")

    def __contains__(self, name):
        return name in self.records

    def place(self, name):
        """(record, offset of its data): checks the local header."""
        record = self.records.get(name)
        if record is None:
            raise RuntimeError(f"PytorchStreamReader failed locating file {name}: file not found")
        header = self.source.read_at(record.offset, LOCAL.size)
        mark, _, flags, method, _, _, _, _, _, name_length, extra = LOCAL.unpack(header)
        start = record.offset + LOCAL.size + name_length + extra
        if mark != b"PK\3\4" or method != record.method or start + record.packed > record.limit:
            raise RuntimeError(f"PytorchStreamReader failed reading file {name}: invalid header")
        if self.source.read_at(record.offset + LOCAL.size, name_length) != record.name.encode():
            raise RuntimeError(f"PytorchStreamReader failed reading file {name}: its local header has another name")
        return record, start

    def read(self, name):
        """The bytes of a record that is not a storage."""
        record, start = self.place(name)
        if record.method == STORED:
            return self.source.read_at(start, record.size)
        if record.size > MAX_PICKLE_INFLATED:
            raise corrupt(f"the record {name} inflates to {record.size} bytes")
        data = bytearray(record.size)
        self._inflate(record, start, memoryview(data))
        return bytes(data)

    def read_into(self, name, memory):
        """A record of exactly the size of `memory`."""
        record, start = self.place(name)
        if record.method == STORED:
            self.source.read_into(start, memory)
        else:
            self._inflate(record, start, memory)

    def size(self, name):
        """How many bytes a record has; what is packed counts towards the limit of the whole file."""
        record, _ = self.place(name)
        if record.method == DEFLATED and self.inflated + record.size > self.allowance():
            raise corrupt(f"the record {name} inflates to {record.size} bytes, more than a file of this size may")
        return record.size

    def allowance(self):
        """How many bytes may come out of packed records."""
        return max(INFLATED_MIN, INFLATED_RATIO * self.source.size)

    def _inflate(self, record, start, memory):
        self.inflated += record.size
        if self.inflated > self.allowance():
            raise corrupt(f"the record {record.name} inflates to more than a file of this size may")
        stream, done, at = zlib.decompressobj(-15), 0, 0
        pending = b""
        while done < record.size:
            if not pending:
                if at == record.packed:
                    break
                pending = self.source.read_at(start + at, min(CHUNK, record.packed - at))
                at += len(pending)
            try:
                data = stream.decompress(pending, min(CHUNK, record.size - done))
            except zlib.error as e:
                raise corrupt(f"the record {record.name} does not inflate: {e}") from None
            if not data and stream.eof:
                break
            memory[done : done + len(data)] = data
            done += len(data)
            pending = stream.unconsumed_tail
        if done != record.size:
            raise RuntimeError(f"PytorchStreamReader failed reading file {record.name}: unexpected decompressed size")


def _entry(directory, at):
    """The record at this place of the directory, and the place of the next."""
    if at + ENTRY.size > len(directory):
        raise corrupt("invalid header or archive is corrupted")
    fields = ENTRY.unpack_from(directory, at)
    mark, _, _, flags, method, _, _, _, packed, size, name_length, extra_length, comment, disk, _, _, offset = fields
    name_at = at + ENTRY.size
    following = name_at + name_length + extra_length + comment
    if mark != b"PK\1\2" or following > len(directory) or disk:
        raise corrupt("invalid header or archive is corrupted")
    record = Record()
    try:
        record.name = directory[name_at : name_at + name_length].decode("utf-8")
    except UnicodeDecodeError:
        raise corrupt("a record's name is not UTF-8") from None
    if "\0" in record.name or "\\" in record.name:
        raise corrupt(f"a record is called {record.name!r}")
    extra = directory[name_at + name_length : name_at + name_length + extra_length]
    size, packed, offset = _large(extra, size, packed, offset)
    if flags & 1 or method not in (STORED, DEFLATED):
        raise corrupt(f"the record {record.name} is packed with an unsupported method")
    if method == STORED and size != packed:
        raise corrupt(f"the record {record.name} has two sizes")
    record.method, record.packed, record.size, record.offset = method, packed, size, offset
    return record, following


def _large(extra, *values):
    """The values of an entry, those that do not fit into 32 bits from its zip64 field."""
    at = 0
    while at + 4 <= len(extra) and LARGE in values:
        tag, n = struct.unpack_from("<2H", extra, at)
        if tag == 1:
            field, values = io.BytesIO(extra[at + 4 : at + 4 + n]), list(values)
            for i, value in enumerate(values):
                if value == LARGE:
                    eight = field.read(8)
                    if len(eight) != 8:
                        raise corrupt("invalid header or archive is corrupted")
                    values[i] = int.from_bytes(eight, "little")
            return values
        at += 4 + n
    return values


class Writer:
    """Writes an archive to `file` (anything with `write`); every record's data starts at a multiple of `alignment`."""

    def __init__(self, file, folder, alignment=64, checksums=True):
        self.file, self.folder, self.alignment, self.checksums = file, folder, alignment, checksums
        self.at, self.directory = 0, []

    def _write(self, data):
        self.file.write(data)
        self.at += len(data)

    def record(self, name, data):
        """Adds a record; `data` is bytes or a memoryview of bytes."""
        path = f"{self.folder}/{name}".encode()
        size, start = len(data), self.at
        crc = zlib.crc32(data) if self.checksums else 0
        wide = struct.pack("<2H2Q", 1, 16, size, size) if size >= LARGE else b""
        head = start + LOCAL.size + len(path) + len(wide)
        padding = -(head + 4) % self.alignment
        extra = wide + struct.pack("<2s1H", b"FB", padding) + b"Z" * padding
        shown = min(size, LARGE)
        fields = (0, 0x800, STORED, 0, 0x21, crc, shown, shown, len(path))
        self._write(LOCAL.pack(b"PK\3\4", *fields, len(extra)) + path + extra)
        for part in range(0, size, CHUNK * 64):
            self._write(data[part : part + CHUNK * 64])
        self.directory.append((path, fields, size, start))

    def finish(self):
        """Writes the directory."""
        start = self.at
        for path, fields, size, offset in self.directory:
            large = [value for value in (size, size, offset) if value >= LARGE]
            extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
            tail = (len(extra), 0, 0, 0, 0, min(offset, LARGE))
            self._write(ENTRY.pack(b"PK\1\2", 0, *fields, *tail) + path + extra)
        end, n = self.at, len(self.directory)
        if n >= 0xFFFF or end >= LARGE:
            self._write(END64.pack(b"PK\6\6", END64.size - 12, 0, 0, 0, 0, n, n, end - start, start))
            self._write(LOCATOR64.pack(b"PK\6\7", 0, end, 1))
        few = min(n, 0xFFFF)
        self._write(END.pack(b"PK\5\6", 0, 0, few, few, min(end - start, LARGE), min(start, LARGE), 0))
