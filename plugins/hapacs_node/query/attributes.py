"""The attributes that can be searched, the level that each belongs to, and those that every answer has.

The sets follow PS3.18 tables 10.6.1-5 and 10.6.3-3 to 10.6.3-5, and the modules that describe a study, a series and an
instance in PS3.3.
"""

from enum import IntEnum

from pydicom.datadict import dictionary_VR, keyword_dict


class Level(IntEnum):
    """Level of an attribute or of a search; a lower level has the larger number."""

    STUDY = 1
    SERIES = 2
    INSTANCE = 3


_STUDY = """
    StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence ReferringPhysicianName
    ReferringPhysicianIdentificationSequence TimezoneOffsetFromUTC StudyDescription ProcedureCodeSequence
    PhysiciansOfRecord NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription PatientName PatientID
    IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs OtherPatientIDsSequence
    OtherPatientNames PatientAge PatientSize PatientWeight EthnicGroup Occupation AdditionalPatientHistory
    PatientComments StudyInstanceUID StudyID RequestingPhysician RequestingService RequestedProcedureDescription
    RequestedProcedureCodeSequence AdmissionID
"""
_SERIES = """
    Modality SeriesDate SeriesTime SeriesDescription SeriesDescriptionCodeSequence StationName InstitutionName
    InstitutionalDepartmentName Manufacturer ManufacturerModelName SoftwareVersions DeviceSerialNumber
    PerformingPhysicianName OperatorsName BodyPartExamined PatientPosition ProtocolName SeriesInstanceUID SeriesNumber
    Laterality FrameOfReferenceUID PerformedProcedureStepStartDate PerformedProcedureStepStartTime
    PerformedProcedureStepID PerformedProcedureStepDescription RequestAttributesSequence
"""
_INSTANCE = """
    SOPClassUID SOPInstanceUID InstanceNumber ContentDate ContentTime AcquisitionDate AcquisitionTime
    AcquisitionDateTime AcquisitionNumber InstanceCreationDate InstanceCreationTime ImageType Rows Columns
    BitsAllocated BitsStored NumberOfFrames SamplesPerPixel PhotometricInterpretation SliceLocation
    ContrastBolusAgent ContentLabel ContentDescription ConceptNameCodeSequence CompletionFlag VerificationFlag
    DocumentTitle ContentTemplateSequence
"""


def _tags(keywords: str) -> tuple[int, ...]:
    return tuple(keyword_dict[keyword] for keyword in keywords.split())


LEVELS: dict[int, Level] = {
    tag: level
    for level, keywords in ((Level.STUDY, _STUDY), (Level.SERIES, _SERIES), (Level.INSTANCE, _INSTANCE))
    for tag in _tags(keywords)
}
"""The indexed attributes with the level of each."""

COMPUTED: dict[int, Level] = {
    **dict.fromkeys(
        _tags("ModalitiesInStudy SOPClassesInStudy NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances"),
        Level.STUDY,
    ),
    **dict.fromkeys(_tags("NumberOfSeriesRelatedInstances"), Level.SERIES),
    **dict.fromkeys(_tags("RetrieveURL RetrieveAETitle InstanceAvailability"), Level.STUDY),
}
"""Attributes of an answer that no file has."""

REQUIRED: dict[Level, frozenset[int]] = {
    Level.STUDY: frozenset(
        _tags(
            "StudyDate StudyTime AccessionNumber ModalitiesInStudy ReferringPhysicianName TimezoneOffsetFromUTC "
            "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID NumberOfStudyRelatedSeries "
            "NumberOfStudyRelatedInstances RetrieveURL RetrieveAETitle InstanceAvailability StudyDescription "
            "SOPClassesInStudy"
        )
    ),
    Level.SERIES: frozenset(
        _tags(
            "Modality TimezoneOffsetFromUTC SeriesDescription StudyInstanceUID SeriesInstanceUID SeriesNumber "
            "NumberOfSeriesRelatedInstances PerformedProcedureStepStartDate PerformedProcedureStepStartTime "
            "RequestAttributesSequence RetrieveURL RetrieveAETitle InstanceAvailability SeriesDate SeriesTime "
            "BodyPartExamined Laterality"
        )
    ),
    Level.INSTANCE: frozenset(
        _tags(
            "SOPClassUID SOPInstanceUID TimezoneOffsetFromUTC InstanceNumber Rows Columns BitsAllocated "
            "NumberOfFrames StudyInstanceUID SeriesInstanceUID RetrieveURL RetrieveAETitle InstanceAvailability"
        )
    ),
}
"""Attributes that an answer of a level has even when the request names none."""


DECIMALS = frozenset({"DS", "FL", "FD"})
INTEGERS = frozenset({"IS", "SL", "SS", "UL", "US", "SV", "UV"})
NUMBERS = DECIMALS | INTEGERS
"""Value representations of numbers; the first two sets by how JSON writes them."""


def key(tag: int) -> str:
    """Return a tag as the DICOM JSON model writes it."""
    return f"{tag:08X}"


def vr(tag: int) -> str:
    """Return the value representation of a tag; the first one where the dictionary has several, UN without one."""
    try:
        return dictionary_VR(tag).split()[0]
    except KeyError:
        return "UN"
