"""A two-way connection for pickled messages with tensors: the descriptors of their memory go beside the message.

One message is one write: nothing else has to run at the sender until it is read, and a reader sees at once when the
other side has died. Python's own queues and pipes carry tensors too (`reductions`), by a thread of the sender.
"""

import array
import mmap
import os
import pickle
import select
import socket
import struct
from multiprocessing.reduction import ForkingPickler

import rtorch

from . import reductions

__all__ = ["Channel", "channel_pair"]

# Bytes of the pickle, number of descriptors, whether the last of them holds the pickle.
_HEADER = struct.Struct("<QI?")
# Longer pickles travel in shared memory: a socket's buffer holds some 200 KB, and nobody should wait for it.
_INLINE = 16 << 10
# The kernel refuses more in one control message.
_DESCRIPTORS = 253


class _Outgoing:
    """The storages of a message, each once."""

    def __init__(self):
        self._index, self.descriptors, self._kept = {}, [], []

    def add(self, storage, fd):
        index = self._index.get(storage._cdata)
        if index is None:
            index = self._index[storage._cdata] = len(self.descriptors)
            self.descriptors.append(fd)
            self._kept.append(storage)  # the descriptor is the storage's
        return index


class _Incoming:
    """The descriptors that came with a message; each becomes a storage once."""

    def __init__(self, descriptors):
        self._descriptors, self._storages = descriptors, {}

    def storage(self, index, size):
        found = self._storages.get(index)
        if found is None:
            fd, self._descriptors[index] = self._descriptors[index], -1
            # not handed on by descriptor: a program may keep thousands of batches, but not thousands of open files
            found = self._storages[index] = rtorch.UntypedStorage._new_shared_fd_cpu(fd, size, keep=False)
        return found

    def close(self):
        for fd in self._descriptors:
            if fd >= 0:
                os.close(fd)


class Channel:
    """One end. `fileno` and `multiprocessing.connection.wait` say when something can be read; it may be sent to a
    process that is being started, as an argument."""

    def __init__(self, sock):
        self._socket = sock

    def fileno(self):
        return self._socket.fileno()

    def writable(self):
        """Has the connection room for another message?"""
        return bool(select.select([], [self._socket], [], 0)[1])

    def close(self):
        """Ends the connection: the other side reads EOFError."""
        self._socket.close()

    def pack(self, message):
        """The message ready to be sent; errors of pickling are raised here."""
        outgoing = reductions._message.outgoing = _Outgoing()
        try:
            data = ForkingPickler.dumps(message, pickle.HIGHEST_PROTOCOL)
        finally:
            reductions._message.outgoing = None
        return data, outgoing

    def send(self, message):
        """Sends a message; BrokenPipeError where the other side is gone."""
        self.send_packed(self.pack(message))

    def send_packed(self, packed):
        data, outgoing = packed
        descriptors, own = list(outgoing.descriptors), None
        if len(data) > _INLINE:
            own = os.memfd_create("rtorch", os.MFD_CLOEXEC) if hasattr(os, "memfd_create") else None
        try:
            if own is not None:
                with open(own, "wb", closefd=False) as file:
                    file.write(data)
                descriptors.append(own)
            self._send_all(_HEADER.pack(len(data), len(descriptors), own is not None), descriptors)
            if own is None:
                self._socket.sendall(data)
        finally:
            if own is not None:
                os.close(own)

    def _send_all(self, header, descriptors):
        for start in range(0, max(len(descriptors), 1), _DESCRIPTORS):
            part = array.array("i", descriptors[start : start + _DESCRIPTORS])
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, part)] if part else []
            # further descriptors hang on one byte each
            self._socket.sendmsg([header if start == 0 else b"+"], control)

    def recv(self):
        """Waits for a message; EOFError where the other side is gone."""
        header, descriptors = self._receive(_HEADER.size, [])
        incoming = _Incoming(descriptors)
        try:
            length, count, in_file = _HEADER.unpack(header)
            while len(descriptors) < count:
                self._receive(1, descriptors)
            if in_file:
                with mmap.mmap(descriptors[-1], length, prot=mmap.PROT_READ) as data:
                    return self._loads(data, incoming)
            return self._loads(self._receive(length, descriptors)[0], incoming)
        finally:
            incoming.close()

    @staticmethod
    def _loads(data, incoming):
        before = getattr(reductions._message, "incoming", None)
        reductions._message.incoming = incoming
        try:
            return pickle.loads(data)
        finally:
            reductions._message.incoming = before

    def _receive(self, length, descriptors):
        """Exactly `length` bytes; descriptors that hang on them are appended."""
        data = bytearray()
        size = socket.CMSG_SPACE(_DESCRIPTORS * array.array("i").itemsize)
        while len(data) < length:
            part, control, _, _ = self._socket.recvmsg(length - len(data), size, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
            for level, kind, content in control:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    found = array.array("i")
                    found.frombytes(content[: len(content) - len(content) % found.itemsize])
                    descriptors.extend(found)
            if not part:
                raise EOFError("the other process has closed the connection")
            data += part
        return bytes(data), descriptors


def channel_pair():
    """Two connected ends."""
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(a), Channel(b)
