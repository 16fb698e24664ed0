#!/bin/sh
# A container on this machine's own root: `container.sh DIRECTORY LIBRARY COMMAND...` becomes COMMAND as its PID 1, with LIBRARY in /chrek.
# Run it by: unshare --mount --pid --net --uts --ipc --fork --kill-child sh container.sh ...
# The root is an overlay whose changes go to DIRECTORY/upper; other mounts, such as the driver's, are the machine's.
set -eu
directory=$1
library=$2
shift 2
mount --make-rprivate /
points=$(cut -d' ' -f5 /proc/self/mountinfo)
mkdir -p "$directory/upper" "$directory/inner" "$directory/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/inner" "$directory/root"
cd "$directory/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs dev/shm
mount --rbind /sys sys
for point in $points; do
    case $point in / | /proc | /proc/* | /dev | /dev/* | /sys | /sys/* | "$directory"*) continue ;; esac
    case $directory in "$point"/*) continue ;; esac
    [ ! -e ".$point" ] || mount --rbind "$point" ".$point"
done
mkdir -p checkpoint-signal chrek bench
mount -t tmpfs tmpfs checkpoint-signal
mount -t tmpfs tmpfs chrek
[ ! -e "$library" ] || cp "$library" chrek/
mkdir -p old
pivot_root . old
umount -l /old
rmdir /old
cd /
python3 - <<'LOOPBACK'
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
    fcntl.ioctl(end, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))
LOOPBACK
hostname container
exec "$@" </dev/null
