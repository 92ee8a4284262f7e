"""The library that limits nested sequences, in front of a stand-in for DCMTK with the same names."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hapacs import backport

LIMIT = 128
HEADER = """
#include <cstdio>
#include <cstdlib>
struct DcmInputStream {};
enum E_TransferSyntax {};
enum E_GrpLenEncoding {};
struct OFConditionConst { unsigned short theModule, theCode; int theStatus; const char *theText; };
struct OFCondition {
    OFConditionConst theCondition; bool ownsText;
    OFCondition() : theCondition{0, 0, 0, "Normal"}, ownsText(false) {}
    OFCondition(const OFCondition &other) : theCondition(other.theCondition), ownsText(other.ownsText) {}
    ~OFCondition() { if (ownsText) abort(); }
};
struct DcmSequenceOfItems {
    unsigned levels; bool throws; unsigned *deepest;
    DcmSequenceOfItems(unsigned, bool, unsigned *);
    virtual ~DcmSequenceOfItems();
    virtual OFCondition read(DcmInputStream &, E_TransferSyntax, E_GrpLenEncoding, unsigned);
};
"""
# A sequence that has another one until `levels` are open, as in dcmdata/libsrc/dcsequen.cc.
LIBRARY = """
#include "dcmtk.h"
DcmSequenceOfItems::DcmSequenceOfItems(unsigned l, bool t, unsigned *d) : levels(l), throws(t), deepest(d) {}
DcmSequenceOfItems::~DcmSequenceOfItems() {}
OFCondition DcmSequenceOfItems::read(DcmInputStream &s, E_TransferSyntax x, E_GrpLenEncoding g, unsigned m) {
    if (m != 4096) abort();
    ++*deepest;
    if (levels > 1) {
        DcmSequenceOfItems *inner = new DcmSequenceOfItems(levels - 1, throws, deepest);
        return inner->read(s, x, g, m);
    }
    if (throws) throw 1;
    return OFCondition();
}
"""
PROGRAM = """
#include "dcmtk.h"
int main(int, char **words) {
    for (char **word = words + 1; *word; ++word) {
        bool throws = **word == '!';
        unsigned deepest = 0;
        DcmInputStream stream;
        DcmSequenceOfItems *sequence = new DcmSequenceOfItems(atoi(*word + throws), throws, &deepest);
        try {
            OFCondition got = sequence->read(stream, E_TransferSyntax(), E_GrpLenEncoding(), 4096);
            printf("%u %s\\n", deepest, got.theCondition.theStatus ? got.theCondition.theText : "read");
        } catch (int) { printf("%u thrown\\n", deepest); }
    }
}
"""
REFUSED = f"{LIMIT} Sequences are nested too deeply"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("it needs a C++ compiler: apt install g++")
    directory = tmp_path_factory.mktemp("nesting")
    for name, text in {"dcmtk.h": HEADER, "dcmtk.cc": LIBRARY, "program.cc": PROGRAM}.items():
        (directory / name).write_text(text)
    (built,) = backport.PROGRAMS
    for words in (
        ["g++", "-shared", "-fPIC", "-o", "libdcmtk.so", "dcmtk.cc"],
        ["g++", "-o", "program", "program.cc", "-L.", "-ldcmtk", "-Wl,-rpath,$ORIGIN"],
        ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fexceptions", "-o", "limit.so",
         str(built.files[1])],
    ):  # fmt: skip
        subprocess.run(words, cwd=directory, check=True)
    return directory / "program"


def read(program: Path, *levels: str) -> list[str]:
    environment = os.environ | {"LD_PRELOAD": str(program.with_name("limit.so"))}
    done = subprocess.run([program, *levels], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_sequences_up_to_the_limit_are_read(program: Path) -> None:
    assert read(program, "1", str(LIMIT)) == ["1 read", f"{LIMIT} read"]


@pytest.mark.parametrize("levels", [LIMIT + 1, 600, 20_000])
def test_deeper_ones_are_refused_before_they_are_read(program: Path, levels: int) -> None:
    assert read(program, str(levels)) == [REFUSED]


def test_thread_counts_from_nothing_after_each_data_set(program: Path) -> None:
    # Also after one that was refused, and after one for which there was no memory.
    assert read(program, "600", "!100", str(LIMIT)) == [REFUSED, "100 thrown", f"{LIMIT} read"]
