"""A short run of the checkpoint fuzzer, and that it can fail."""

import fuzz_checkpoints as fuzz


def test_mutated_files_load_or_raise():
    failure, seen = fuzz.run(0, 1500)
    assert failure is None, failure
    assert sum(seen.values()) == 1500 and seen[None] > 20 and len(seen) > 5


def test_a_file_has_a_number():
    files = list(fuzz.seeds())
    assert fuzz.mutated(7, files) == fuzz.mutated(7, files) != fuzz.mutated(8, files)
    assert fuzz.read("pt", files[0][1]) is None and fuzz.read("pt", b"") == "EOFError"
