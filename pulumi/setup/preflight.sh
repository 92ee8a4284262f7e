#!/bin/sh
# Can this machine run the lab? All reasons against it at once, in the first second, with nothing but a shell.
# Limits and places can be set from outside, which is how the tests fake a machine.
set -u

root=${HAPACS_ROOT_DIRECTORY:-}
cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hapacs}
memory_needed_kib=${HAPACS_MEMORY_NEEDED_KIB:-8388608}
disk_needed_kib=${HAPACS_DISK_NEEDED_KIB:-20971520}
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
[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
    against "This is $(uname -s) on $(uname -m); the lab needs Linux on x86_64, as its packages are built for it."
case "$(sed -n 's/^ID\(_LIKE\)\{0,1\}=//p' "$root/etc/os-release" 2>/dev/null | tr '\n"' '  ')" in
*debian* | *ubuntu*) ;;
*) against "This is neither Debian nor Ubuntu; set-up installs what it needs with apt. Use a Debian 12, Debian 13 or Ubuntu 24.04 machine." ;;
esac
memory=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' "$root/proc/meminfo" 2>/dev/null)
[ "${memory:-0}" -ge "$memory_needed_kib" ] ||
    against "$((${memory:-0} / 1024)) MiB of memory are free; the lab needs $((memory_needed_kib / 1024)) MiB. End other programs or use a larger machine."
place=$(existing "$cache")
disk=$(df -Pk "$place" 2>/dev/null | awk 'NR == 2 { print $4 }')
[ "${disk:-0}" -ge "$disk_needed_kib" ] ||
    against "$((${disk:-0} / 1024)) MiB are free at $place; images and the lab's disks need $((disk_needed_kib / 1024)) MiB. Free some, or set HAPACS_CACHE_DIR and HAPACS_STATE_DIR to another disk."
[ -c "$root/dev/loop-control" ] ||
    against "There is no /dev/loop-control; the lab's disks are loop devices. Load the kernel module 'loop', or give a container the device."
for module in overlay btrfs; do
    grep -qw "$module" "$root/proc/filesystems" 2>/dev/null || modprobe "$module" 2>/dev/null ||
        against "The kernel has no file system '$module'. Install the kernel's extra modules (linux-modules-extra on Ubuntu)."
done

if [ -n "$reasons" ]; then
    printf 'This machine cannot run the lab:%s\n' "$reasons" >&2
    exit 1
fi
