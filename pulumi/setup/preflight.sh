#!/bin/sh
# Can this machine run the lab? All reasons against it at once, in the first second, with nothing but a shell.
# Limits and places can be set from outside, which is how the tests fake a machine.
set -u

root=${HAPACS_ROOT_DIRECTORY:-}
cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hapacs}
memory_needed_kib=${HAPACS_MEMORY_NEEDED_KIB:-8388608}
# A lab that was made before has taken its disk already.
if [ -d "$cache/images" ]; then usual_kib=4194304; else usual_kib=20971520; fi
disk_needed_kib=${HAPACS_DISK_NEEDED_KIB:-$usual_kib}
reasons=""

against() {
    reasons="$reasons
  - $1"
}

existing() {
    path=$1
    while [ ! -d "$path" ]; do path=$(dirname "$path"); done
    printf '%s\n' "$path"
}

[ "$(id -u)" = 0 ] || against "You are not root, and the lab makes containers, loop devices and mounts. Run it with sudo or as root."
[ "$(id -u)" != 0 ] || unshare --mount sh -c 'mount -t tmpfs tmpfs /tmp' 2>/dev/null ||
    against "This root may not mount. Use the machine itself, a virtual machine, or a container started with --privileged."
[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
    against "This is $(uname -s) on $(uname -m); the lab needs Linux on x86_64, as its packages are built for it."
case "$(sed -n 's/^ID\(_LIKE\)\{0,1\}=//p' "$root/etc/os-release" 2>/dev/null | tr '\n"' '  ')" in
*debian* | *ubuntu*) ;;
*) against "This is neither Debian nor Ubuntu; set-up installs what it needs with apt. Use a Debian 12, Debian 13 or Ubuntu 24.04 machine." ;;
esac
release=$(sed -n 's/^VERSION_ID="\{0,1\}\([0-9]*\).*/\1/p' "$root/etc/os-release" 2>/dev/null)
case "$(sed -n 's/^ID=//p' "$root/etc/os-release" 2>/dev/null):$release" in
debian:[1-9] | debian:1[01] | ubuntu:1? | ubuntu:2[0-3])
    against "This system's release $release is too old: its podman has no netavark. Use Debian 12, Debian 13 or Ubuntu 24.04." ;;
esac
command -v apt-get >/dev/null || against "There is no apt-get, with which set-up installs what it needs."
memory=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' "$root/proc/meminfo" 2>/dev/null)
# Each container has one conmon: a lab that is up has its memory already.
[ "${memory:-0}" -ge "$memory_needed_kib" ] || grep -qsx conmon "$root"/proc/[0-9]*/comm ||
    against "$((${memory:-0} / 1024)) MiB of memory are free; the lab needs $((memory_needed_kib / 1024)) MiB. End other programs or use a larger machine."
place=$(existing "$cache")
disk=$(df -Pk "$place" 2>/dev/null | awk 'NR == 2 { print $4 }')
[ "${disk:-0}" -ge "$disk_needed_kib" ] ||
    against "$((${disk:-0} / 1024)) MiB are free at $place; images and the lab's disks need $((disk_needed_kib / 1024)) MiB. Free some, or set HAPACS_CACHE_DIR and HAPACS_STATE_DIR to another disk."
[ -c "$root/dev/loop-control" ] ||
    against "There is no /dev/loop-control; the lab's disks are loop devices. Load the kernel module 'loop', or give a container the device."
for module in overlay btrfs cgroup2; do
    grep -qw "$module" "$root/proc/filesystems" 2>/dev/null || modprobe "$module" 2>/dev/null ||
        against "The kernel has no file system '$module'. Install the kernel's extra modules (linux-modules-extra on Ubuntu)."
done
if [ "$(stat -f -c %T "$(existing /var/lib/containers)")" = overlayfs ]; then
    against "/var/lib/containers lies on an overlay file system, on which podman can't put its own. Give this container a volume there."
fi
if [ "$(id -u)" = 0 ] && command -v nft >/dev/null && ! nft list tables >/dev/null 2>&1; then
    against "The kernel has no nftables, or this root may not use it. Use the distribution's own kernel, and a privileged container if any."
fi

if [ -n "$reasons" ]; then
    printf 'This machine cannot run the lab:%s\n' "$reasons" >&2
    exit 1
fi
