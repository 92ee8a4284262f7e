#!/bin/sh
# Runs in a fresh Debian 13: compiles nesting.c, and packs it.
#   nesting.sh SUFFIX PACKAGE
# The package ends up in /out. Lines that begin with "step: " are shown by `hapacs up`.
set -eu

suffix=$1 package=$2
version=1$suffix
mkdir -p /out /made/DEBIAN /made/usr/lib/hapacs

echo "step: building $package"
cc -std=c11 -O2 -Wall -Wextra -Werror -shared -fPIC -fexceptions -fvisibility=hidden -Wl,-z,relro,-z,now \
    -o /made/usr/lib/hapacs/libnesting.so /nesting.c
cat >/made/DEBIAN/control <<END
Package: $package
Version: $version
Architecture: amd64
Maintainer: hapacs <root@localhost>
Depends: libc6, libgcc-s1
Description: Limit of nested sequences for DCMTK
 Orthanc is started with it (LD_PRELOAD), and refuses data sets that would use up its stack.
END
dpkg-deb --root-owner-group --build /made "/out/${package}_${version}_amd64.deb"
