#!/bin/sh
# Debian packages of the controller, and those that are named besides: installs the missing ones, touches nothing else.
#   packages.sh [PACKAGE...]
set -eu

# What podman and mmdebstrap only recommend is named; Ubuntu has no Debian keys of its own.
packages="age btrfs-progs ca-certificates crun curl dcmtk debian-archive-keyring aardvark-dns git iproute2 iptables kmod
mmdebstrap netavark nftables openssh-client pgbackrest podman postgresql procps python3 python3-venv util-linux $*"
missing=""
for package in $packages; do
    case "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)" in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

# The tests use PostgreSQL's programs on a directory of their own: no cluster of the machine is made for them.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
install() {
    apt-get install --yes --quiet=2 --no-install-recommends -o Dpkg::Options::=--force-confold \
        -o DPkg::Lock::Timeout=300 $missing >/dev/null
}
# A fresh machine has no package lists, an old one has lists that name files which are gone.
install 2>/dev/null || {
    # An earlier installation may have been cut off.
    dpkg --configure -a --force-confold >/dev/null
    apt-get update --quiet=2
    install
}
