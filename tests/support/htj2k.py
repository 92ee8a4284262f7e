"""Made images in High-Throughput JPEG 2000 (ISO/IEC 15444-15), which pydicom can decode and not encode.

A CT of 16 by 16 pixels, encoded by OpenJPH 0.26: without loss, and with some.
"""

from io import BytesIO

from pydicom import dcmread, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2K, UID, HTJ2KLossless, HTJ2KLosslessRPCL

from tests.support import images

_LOSSLESS = (
    "ff4fff5100294000000000100000001000000000000000000000001000000010000000000000000000010f0101ff50000800020000000aff"
    "52000c00020001000504044001ff5c00132088909090909090909090909090888888ff64001700014f70656e4a50482056657220302e3236"
    "2e332eff90000a0000000002010001ff93c0002629f00507740000c00012c0001340001280540187740094fc028774006c01877400c00015"
    "5000054c0001544832815c11fe00a19400a2ed7840d40143340083b28431a8e100c19400c00016dc00016fc00016f08a0a235cfd56362aed"
    "2016c004278f7e1447d7f718388c400b97000a62468d1260a822134331a6c75ab643fa9b9289df3f98d9001a2140d1b700b092ed41197264"
    "cfcc02499002d3013bf8d812b28a96d7010a4a40229700c0002f6b80005edb0000bd84f892af75fe8f3a2c18b1facf3ac6973a31586f0063"
    "a3b02ccb11f4c4686841cc90755d8841149cc4124c418048ce164c9044f81ae482279801be8ccf44e51bcb460343d600100832917c494c4e"
    "b0933a485c41e00b8318ea26fd0064cc68106f23f8068a50110a40305101f2852f24064b120ccba86341d649f08201e144115c3ecaf7c410"
    "1b06955f30ec133cf691a7724844cefbcfc4ff2f7c24aece0c2b388258277c99380cce37755a27ff2b900cc28040ca8b04112905d13e2c57"
    "fa2c970e05b1a2f1d5540a4a55680d44d2810c94800414a044b101e44bbe2cff7fc16e06fb9fff31a2f235030c62d0ff7e9f414d9c41ff27"
    "06308889fe2f83fe57feff517c64229707066162ff27beb0033b67e0ff64d7ff7d3f06c120ff2f0651be19c8e0f259c90b0177ec8a00e257"
    "8f166d8990a01b0a50105401ffd9"
)
_LOSSY = (
    "ff4fff5100294000000000100000001000000000000000000000001000000010000000000000000000010f0101ff500008000200000023ff"
    "52000c00020001000504044000ff5c0023227f747f457f457f17775c775c773d6faa6faa6fc2583558355878501a501a5fbfff6400170001"
    "4f70656e4a50482056657220302e32362e332eff90000a0000000001120001ff93c0009807fe0407740000c001240012c00120fc277300ea"
    "00077400fc277300c00268004f0009409078fe319300e0cbfe000a74002345319300c00ac8015f002b40a335833dcb8e459629085600d8d7"
    "2050b92514334c03a854d1b6001c2e642a8ccbccfe229bb3b500c0175f005dac00bae066ae8826c95c0ab121194d320c120e14034c897e89"
    "d08a1c97c419630280e70c79956fa5838b07c60d121d44b05001c440849c2539599331e8a3040ab4935a7cf4eb144a2a44a3d125f90883c8"
    "9cc4059772d2fe015f0317406292a29503a48214d4b001883169cf8811aae2638290ca7cccd2c4212e1806027642483d3a147bfb008bb722"
    "de34104a1c5fd666a365105101ffd9"
)

# By how much the second one differs from the pixels at most.
LOSS = 167
SYNTAXES = (HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)


def pixel(row: int, column: int) -> int:
    """Return a pixel as it was before it was encoded."""
    return (column * 97 + row * 1031 + row * column % 7 * 300) % 4096


def plain() -> bytes:
    """Return the pixels as they were, 16 bits each in little endian."""
    values = [pixel(row, column) for row in range(16) for column in range(16)]
    return b"".join(value.to_bytes(2, "little") for value in values)


def ct(syntax: UID) -> bytes:
    """Make a CT in one of the transfer syntaxes."""
    made = dcmread(BytesIO(images.ct(BitsStored=16, HighBit=15)))
    made.PixelData = encapsulate([bytes.fromhex(_LOSSY if syntax == HTJ2K else _LOSSLESS)])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = syntax
    output = BytesIO()
    dcmwrite(output, made, enforce_file_format=True)
    return output.getvalue()
