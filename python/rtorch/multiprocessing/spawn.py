"""`spawn`: the same function in several processes; the first that fails ends the others, and its error is raised."""

import multiprocessing
import multiprocessing.connection
import signal
import sys
import time
import traceback
import warnings

from rtorch import _C

__all__ = [
    "ProcessContext",
    "ProcessException",
    "ProcessExitedException",
    "ProcessRaisedException",
    "SpawnContext",
    "spawn",
    "start_processes",
]

# Seconds that processes get to end after SIGTERM when another one failed, unless `grace_period` says otherwise.
_GRACE = 30.0


class ProcessException(Exception):
    """A process failed: `error_index` and `error_pid` say which."""

    def __init__(self, msg, error_index, pid):
        super().__init__(msg)
        self.msg, self.error_index, self.pid, self.error_pid = msg, error_index, pid, pid

    def __reduce__(self):
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """A process ended by an exception; the message holds its traceback."""


class ProcessExitedException(ProcessException):
    """A process ended by a signal or an exit code."""

    def __init__(self, msg, error_index, error_pid, exit_code, signal_name=None):
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self):
        return type(self), (self.msg, self.error_index, self.pid, self.exit_code, self.signal_name)


def _run(fn, i, args, errors):
    # whoever started us may be killed: then we end too
    _C._signal_when_parent_dies(signal.SIGINT)
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass  # the parent raises it
    except Exception:
        errors.send(traceback.format_exc())
        sys.exit(1)


class ProcessContext:
    """The processes that `start_processes` started."""

    def __init__(self, processes, errors):
        self.processes = processes
        self._errors = errors
        self._traces = {}
        self._left = {process.sentinel: i for i, process in enumerate(processes)}

    def pids(self):
        """Their process ids."""
        return [int(process.pid) for process in self.processes]

    def join(self, timeout=None, grace_period=None):
        """Waits for one or more to end. True when all have ended well; raises when one failed, after ending the others.

        timeout: seconds to wait. grace_period: seconds between SIGTERM and SIGKILL for the others.
        """
        if not self._left:
            return True
        failed = self._wait(timeout)
        if failed is None:
            return not self._left
        self._end_all(_GRACE if grace_period is None else grace_period)
        self._raise(failed)

    def _wait(self, timeout):
        """The index of a process that failed, or None."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            readers = {reader: i for i, reader in enumerate(self._errors) if reader is not None}
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = multiprocessing.connection.wait([*self._left, *readers], left)
            ended = [self._left.pop(s) for s in ready if s in self._left]
            for reader in ready:
                if reader in readers:
                    self._read(readers[reader])
            for i in ended:
                self.processes[i].join()
                if self.processes[i].exitcode != 0:
                    return i
            if ended or not ready:
                return None

    def _read(self, i):
        """Takes a process's traceback, if it sent one."""
        reader, self._errors[i] = self._errors[i], None
        try:
            self._traces[i] = reader.recv()
        except EOFError:
            pass
        finally:
            reader.close()

    def _end_all(self, grace_period):
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        deadline = time.monotonic() + grace_period
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                warnings.warn(f"process {process.pid} did not end after SIGTERM and is killed", stacklevel=4)
                process.kill()
            process.join()

    def _raise(self, i):
        process = self.processes[i]
        if self._errors[i] is not None and self._errors[i].poll():
            self._read(i)
        if i in self._traces:
            text = f"\n\n-- Process {i:d} terminated with the following error:\n{self._traces[i]}"
            raise ProcessRaisedException(text, i, process.pid)
        code = process.exitcode
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = f"<Unknown signal {-code}>"
            raise ProcessExitedException(f"process {i:d} terminated with signal {name}", i, process.pid, code, name)
        raise ProcessExitedException(f"process {i:d} terminated with exit code {code:d}", i, process.pid, code)


class SpawnContext(ProcessContext):
    """What `spawn(join=False)` answers."""


def start_processes(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn"):
    """Runs `fn(i, *args)` for i in 0..nprocs in processes of their own; see `spawn`."""
    return _start(ProcessContext, fn, args, nprocs, join, daemon, start_method)


def _start(cls, fn, args, nprocs, join, daemon, start_method):
    mp = multiprocessing.get_context(start_method)
    processes, errors = [], []
    for i in range(nprocs):
        reader, writer = mp.Pipe(duplex=False)
        process = mp.Process(target=_run, args=(fn, i, args, writer), daemon=daemon)
        process.start()
        writer.close()
        processes.append(process)
        errors.append(reader)
    context = cls(processes, errors)
    if not join:
        return context
    while not context.join():
        pass
    return None


def spawn(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn"):
    """Runs `fn(i, *args)` for i in 0..nprocs in processes of their own.

    join: wait for all, and raise ProcessRaisedException (with the traceback) or ProcessExitedException for the first
    that fails; else a context with `join` and `pids` is returned. fn must be importable from the new process.
    """
    if start_method != "spawn":
        warnings.warn(
            f"This method only supports start_method=spawn (got: {start_method}).\n"
            "To use a different start_method use:\n\t\t torch.multiprocessing.start_processes(...)",
            FutureWarning,
            stacklevel=2,
        )
    return _start(SpawnContext, fn, args, nprocs, join, daemon, "spawn")
