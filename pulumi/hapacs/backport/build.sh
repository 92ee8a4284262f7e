#!/bin/sh
# Runs in a fresh Debian 13: builds one source package of Debian with a change of ours.
#   build.sh SOURCE UPSTREAM_VERSION SUFFIX PACKAGE...
# /SOURCE.sh is the change, a shell script that runs in the unpacked source. The packages end up in /out. Their version is Debian's with
# SUFFIX appended. apt checks Debian's signature of the lists of sources, and each file of the source against these lists.
# Lines that begin with "step: " are shown by `hapacs up`.
set -eu

source=$1 upstream=$2 suffix=$3
shift 3
processors=$(nproc)
export DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$processors" DEB_BUILD_PROFILES="nocheck nodoc"
mkdir -p /src /out
cd /src

echo "step: source of $source"
# Sources of Debian 13, and of the release that comes after it. A mirror may lag behind the date that the latter's list is valid until;
# the list only names sources, of one upstream version, that are signed all the same.
lists=/etc/apt/sources.list.d/sources.list
sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$lists"
sed -n 's/^deb \(\[\([^]]*\)\] \)\{0,1\}\([^ ]*\) trixie main.*$/deb-src [\2 check-valid-until=no] \3 forky main/p' \
    /etc/apt/sources.list >>"$lists"
apt-get update --quiet=2
versions=$(apt-cache showsrc --only-source "$source" | sed -n 's/^Version: //p' | grep -F "$upstream-" | sort --version-sort --reverse --unique)
for version in $versions; do
    # The newest that the mirror really has.
    if apt-get source --quiet=2 -o APT::Sandbox::User=root "$source=$version"; then break; fi
    rm -rf "${source}"[-_]*
done
cd "$source-$upstream" 2>/dev/null || {
    echo "The mirror has no source of $source $upstream (it lists: ${versions:-none})." >&2
    exit 1
}

sh -eu "/$source.sh"
{
    printf '%s (%s%s) trixie; urgency=medium\n\n  * Changed by hapacs.\n\n' "$source" "$version" "$suffix"
    # The time of Debian's own entry, so that the same source makes the same packages.
    printf ' -- hapacs <root@localhost>  %s\n\n' "$(dpkg-parsechangelog --show-field Date)"
    cat debian/changelog
} >debian/changelog.new
mv debian/changelog.new debian/changelog

echo "step: packages that $source is built with"
apt-get build-dep --quiet=2 --yes --no-install-recommends -o APT::Sandbox::User=root ./
echo "step: building $source $version"
dpkg-buildpackage --build=any --unsigned-source --unsigned-changes
for package in "$@"; do
    mv "../${package}_${version}${suffix}_amd64.deb" /out/
done
