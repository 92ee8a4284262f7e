"""Sources of images for load: made ones of a given mix of kinds, or files."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from hapacs.dicom import NotSendable, Sample, marks, read_sample
from hapacs.dicom.client import MAXIMUM_CONTEXTS
from hapacs.errors import UsageError
from hapacs.load import made
from hapacs.load.images import Image
from hapacs.load.modality import Source
from hapacs.load.wire import Kind

_CT_ROWS = 512


@dataclass(frozen=True)
class _Recipe:
    """How a study of one kind is made, and how many images it has."""

    sop_class: UID
    make: Callable[..., Dataset]
    images: int


_RECIPES: Mapping[str, _Recipe] = {
    "ct": _Recipe(CTImageStorage, made.made_ct, 50),
    "cr": _Recipe(ComputedRadiographyImageStorage, made.made_cr, 2),
    "us": _Recipe(UltrasoundMultiFrameImageStorage, made.made_us, 3),
    "mr": _Recipe(EnhancedMRImageStorage, made.made_mr, 2),
    "sr": _Recipe(BasicTextSRStorage, made.made_sr, 1),
}
DEFAULT = "ct=80,cr=4,us=6,mr=4,sr=6"
"""Shares of images, about as in a hospital."""


def parse(text: str) -> dict[str, int]:
    """Read the shares of a mix, as ``ct=80,sr=20``; a kind without a number has the share 1.

    Raises
    ------
    UsageError
        When a kind is unknown or a share is no positive number.
    """
    shares: dict[str, int] = {}
    for part in text.split(","):
        kind, _, share = part.strip().partition("=")
        if kind not in _RECIPES or not (share or "1").isdecimal() or share == "0":
            raise UsageError(f"{part.strip()!r} is no part of a mix.", f"Kinds: {', '.join(_RECIPES)}; as {DEFAULT}.")
        shares[kind] = int(share or 1)
    return shares


def made_images(shares: Mapping[str, int], *, rows: int = _CT_ROWS) -> Source:
    """Return a source of made studies; over time each kind gets its share of the images.

    Parameters
    ----------
    rows
        Rows and columns of a CT image; 512 give 0.5 MB.
    """

    def source(_connection: int) -> Iterator[Image]:
        sent = dict.fromkeys(shares, 0)
        while True:
            # The kind that is furthest behind its share.
            kind = min(shares, key=lambda one: sent[one] / shares[one])
            for image in _study(_RECIPES[kind], {"rows": rows} if kind == "ct" else {}):
                sent[kind] += 1
                yield image

    return source


def kinds() -> list[Kind]:
    """Return what made images are, for the negotiation of an association."""
    return [(recipe.sop_class, ExplicitVRLittleEndian) for recipe in _RECIPES.values()]


def _study(recipe: _Recipe, options: Mapping[str, int]) -> Iterator[Image]:
    study, series, patient = generate_uid(), generate_uid(), f"{marks.LOAD}{secrets.token_hex(6).upper()}"
    for number in range(1, recipe.images + 1):
        dataset = recipe.make(study, series, number, seed=secrets.randbits(64), **options)
        dataset.PatientID = patient
        sop_instance = str(dataset.SOPInstanceUID)
        yield Image(sop_instance, study, series, patient, made.encoded(dataset), recipe.sop_class)


@dataclass(frozen=True)
class Files:
    """Files of a directory that can be sent.

    Attributes
    ----------
    samples
        One for each SOP instance.
    skipped
        The others, each with its reason.
    """

    samples: Sequence[Sample]
    skipped: Sequence[NotSendable]

    @classmethod
    def below(cls, directory: Path) -> Files:
        """Read a directory and those below.

        Raises
        ------
        UsageError
            When no file can be sent.
        """
        samples: dict[str, Sample] = {}
        skipped = []
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            item = read_sample(path)
            if isinstance(item, NotSendable):
                skipped.append(item)
            elif item.refusal:
                skipped.append(NotSendable(path, item.refusal))
            elif item.sop_instance in samples:
                skipped.append(NotSendable(path, f"the same SOP instance as {samples[item.sop_instance].path}"))
            else:
                samples[item.sop_instance] = item
        if not samples:
            raise UsageError(f"No file below {directory} can be sent.", "Give a directory with DICOM files (PS3.10).")
        found = cls(list(samples.values()), skipped)
        if len(found.kinds) > MAXIMUM_CONTEXTS:
            raise UsageError(
                f"The files have {len(found.kinds)} pairs of SOP class and transfer syntax.",
                f"An association can negotiate {MAXIMUM_CONTEXTS}: send them in parts.",
            )
        return found

    @property
    def kinds(self) -> list[Kind]:
        """Their pairs of SOP class and transfer syntax."""
        return list(dict.fromkeys((one.sop_class, one.transfer_syntax) for one in self.samples))

    @property
    def source(self) -> Source:
        """A source that sends each file once, over all connections, with a marked patient."""
        left = iter(self.samples)
        lock = threading.Lock()

        def source(_connection: int) -> Iterator[Image]:
            while True:
                with lock:
                    sample = next(left, None)
                if sample is None:
                    return
                yield marked(sample)

        return source


def marked(sample: Sample) -> Image:
    """Return a file as it is sent: only its patient's mark is added."""
    return Image(
        str(sample.sop_instance),
        sample.study,
        sample.series,
        marks.LOAD + sample.patient_id,
        marks.mark(sample.path.read_bytes()[sample.offset :], sample.transfer_syntax, marks.LOAD),
        sample.sop_class,
        sample.transfer_syntax,
        str(sample.path),
    )
